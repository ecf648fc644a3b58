# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Audio as recognisers take it, mono, 16 kHz, 16 bits, from any raw format, rate and channels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import firwin, upfirdn

from referdino_core.errors import ReferDINOError

RATE = 16_000
"""Samples per second of everything after the input."""

MAX_RATE = 384_000
MAX_CHANNELS = 64


class AudioError(ReferDINOError):
    """Audio has a format that cannot be read, or does not fit the format that it declares."""


_TYPES = {
    "U8": "u1",
    "S8": "i1",
    "S16LE": "<i2",
    "S16BE": ">i2",
    "S24LE": "",
    "S32LE": "<i4",
    "S32BE": ">i4",
    "F32LE": "<f4",
    "F32BE": ">f4",
    "F64LE": "<f8",
}
SAMPLE_FORMATS = tuple(_TYPES)
"""Names of raw sample formats, as GStreamer calls them; S24LE is packed in three bytes."""


@dataclass(frozen=True)
class AudioFormat:
    """Layout of raw audio: the format of a sample, samples per second, interleaved channels.

    Raises:
        AudioError: a field has a value that cannot be read.
    """

    sample_format: str = "S16LE"
    rate: int = RATE
    channels: int = 1

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.sample_format not in _TYPES:
            raise AudioError(
                f"Audio has samples of format {self.sample_format!r}; these are read: "
                f"{', '.join(SAMPLE_FORMATS)}."
            )
        if not 1_000 <= self.rate <= MAX_RATE:
            raise AudioError(
                f"Audio has {self.rate} samples per second; 1,000 to 384,000 are read."
            )
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioError(f"Audio has {self.channels} channels; 1 to {MAX_CHANNELS} are read.")


def decode(data: bytes | memoryview | np.ndarray, layout: AudioFormat) -> np.ndarray:
    """The mean of the channels of raw audio: (N,) float32 in [-1, 1].

    Samples that are no number become 0.

    Raises:
        AudioError: the data do not hold whole samples of every channel.
    """
    raw = np.frombuffer(data, np.uint8)
    width = (
        3 if layout.sample_format == "S24LE" else np.dtype(_TYPES[layout.sample_format]).itemsize
    )
    if raw.size % (width * layout.channels):
        raise AudioError(
            f"A block of {raw.size} bytes is no whole number of {layout.sample_format} samples of "
            f"{layout.channels} channels: its format is not the declared one."
        )
    if layout.sample_format == "S24LE":
        wide = np.zeros((raw.size // 3, 4), np.uint8)
        wide[:, 1:] = raw.reshape(-1, 3)
        values = wide.reshape(-1).view("<i4")
    else:
        values = raw.view(_TYPES[layout.sample_format])
    return mix_down(values.reshape(-1, layout.channels))


def mix_down(values: np.ndarray) -> np.ndarray:
    """The mean of (N, channels) samples of any type: (N,) float32 in [-1, 1]."""
    if values.dtype == np.uint8:
        scaled = (values.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(values.dtype, np.integer):
        scaled = values.astype(np.float32) / -float(np.iinfo(values.dtype).min)
    else:
        scaled = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(scaled.mean(axis=1, dtype=np.float32), -1.0, 1.0)


def pcm16(samples: np.ndarray) -> np.ndarray:
    """(N,) int16 of (N,) floats in [-1, 1]; what is beyond is clipped."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


class Resampler:
    """Conversion of a stream to 16 kHz, block by block: the same as of the whole at once.

    A low-pass filter removes what 16 kHz cannot hold. It delays the stream by `delay` seconds.

    Args:
        rate: samples per second of the input.
    """

    _ZEROS = 12
    """Zero crossings of the filter on each side."""

    def __init__(self, rate: int) -> None:
        common = gcd(rate, RATE)
        self._up, self._down = RATE // common, rate // common
        widest = max(self._up, self._down)
        half = self._ZEROS * widest
        self._filter = firwin(2 * half + 1, 0.95 / widest, window=("kaiser", 8.0)) * self._up
        self._taps = -(-len(self._filter) // self._up)  # input samples under the filter
        self._tail = np.zeros(0, np.float32)
        self._origin = 0  # index of the tail's first sample in the stream
        self._emitted = 0
        self.delay = 0.0 if self._up == self._down else half / (RATE * self._down)

    def take(self, samples: np.ndarray) -> np.ndarray:
        """What a block adds: (N,) floats in, (M,) float32 out; M may be 0."""
        if self._up == self._down:
            return np.asarray(samples, np.float32)
        buffer = np.concatenate([self._tail, np.asarray(samples, np.float32)])
        end = self._origin + len(buffer)
        if not len(buffer):
            return np.zeros(0, np.float32)
        # Output n lies at input n * down / up; it needs the inputs up to there.
        ready = (end - 1) * self._up // self._down + 1
        first = self._origin * self._up // self._down
        filtered = upfirdn(self._filter, buffer, self._up, self._down)
        out = filtered[self._emitted - first : ready - first].astype(np.float32)
        self._emitted = max(self._emitted, ready)
        # Kept from a multiple of `down` on, so that the outputs stay on the same raster.
        needed = self._emitted * self._down // self._up - self._taps
        start = max(self._origin, needed // self._down * self._down)
        self._tail, self._origin = buffer[start - self._origin :], start
        return out


def to_pcm(samples: np.ndarray, rate: int) -> np.ndarray:
    """A whole recording of (N,) floats as (M,) int16 at 16 kHz, without the filter's delay."""
    resampler = Resampler(rate)
    lag = round(resampler.delay * RATE)
    padded = np.concatenate([samples, np.zeros(round(resampler.delay * rate) + 1, np.float32)])
    wanted = round(len(samples) * RATE / rate)
    return pcm16(resampler.take(padded)[lag : lag + wanted])


def read_wav(path: Path) -> np.ndarray:
    """A WAV file as (N,) int16 at 16 kHz: PCM of 8 to 32 bits or floats, any rate, mixed to mono.

    Raises:
        AudioError: the file is missing, or is no WAV file that can be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks without samples
            rate, values = wavfile.read(path)
    except FileNotFoundError:
        raise AudioError(f"There is no file {path}.") from None
    except (OSError, ValueError, EOFError) as error:
        raise AudioError(
            f"{path} cannot be read as WAV ({error}); convert it: "
            "ffmpeg -i IN -ar 16000 -ac 1 OUT.wav"
        ) from error
    columns = values.reshape(len(values), -1)
    if not columns.size:
        raise AudioError(f"{path} holds no samples.")
    layout = AudioFormat(rate=int(rate), channels=columns.shape[1])
    return to_pcm(mix_down(columns), layout.rate)


def level(samples: np.ndarray) -> float:
    """Root mean square of (N,) int16 samples, as decibels below full scale; -inf for silence."""
    power = float(np.mean(np.square(samples.astype(np.float64)))) if len(samples) else 0.0
    return 10.0 * float(np.log10(power / 32768.0**2)) if power else -np.inf
