# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Raw audio of any format, rate and channel count to 16 kHz mono."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from referdino_core.voice import RATE, AudioError, AudioFormat, Resampler, decode, pcm16, read_wav
from referdino_core.voice.audio import SAMPLE_FORMATS, level, to_pcm

WAVE = np.sin(np.linspace(0.0, 60.0, 480)) * 0.7


def encoded(values: np.ndarray, sample_format: str) -> bytes:
    """The bytes of samples in [-1, 1]."""
    bits = int(sample_format[1:3].rstrip("LBE"))
    order = ">" if sample_format.endswith("BE") else "<"
    if sample_format[0] == "F":
        return values.astype(f"{order}f{bits // 8}").tobytes()
    whole = np.round(values * (2 ** (bits - 1) - 1)).astype(np.int64)
    if sample_format == "U8":
        return (whole + 128).astype(np.uint8).tobytes()
    if bits == 24:
        return whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return whole.astype(f"{order}i{bits // 8}").tobytes()


def tone(frequency: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("sample_format", SAMPLE_FORMATS)
def test_every_sample_format_decodes_to_the_same_wave(sample_format: str) -> None:
    decoded = decode(encoded(WAVE, sample_format), AudioFormat(sample_format))
    assert decoded.dtype == np.float32
    assert np.abs(decoded - WAVE).max() < (0.02 if "8" in sample_format else 1e-4)


def test_channels_are_mixed_by_their_mean() -> None:
    both = np.stack([WAVE, -WAVE, WAVE], axis=1)
    decoded = decode(encoded(both.ravel(), "S16LE"), AudioFormat("S16LE", channels=3))
    assert np.abs(decoded - WAVE / 3).max() < 1e-4


def test_samples_that_are_no_numbers_are_silent() -> None:
    data = np.array([0.5, np.nan, np.inf, -0.5, 7.0], "<f4").tobytes()
    assert decode(data, AudioFormat("F32LE")).tolist() == [0.5, 0.0, 0.0, -0.5, 1.0]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"sample_format": "mp3"}, "'mp3'"),
        ({"rate": 0}, "0 samples per second"),
        ({"channels": 0}, "0 channels"),
    ],
)
def test_a_format_that_cannot_be_read_is_refused(fields: dict[str, object], word: str) -> None:
    with pytest.raises(AudioError, match=word):
        AudioFormat(**fields)  # type: ignore[arg-type]


def test_half_a_sample_is_refused_and_names_the_format() -> None:
    with pytest.raises(AudioError, match="7 bytes is no whole number of S16LE"):
        decode(bytes(7), AudioFormat("S16LE"))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44100, 48000, 96000])
def test_a_stream_is_resampled_as_its_whole(rate: int) -> None:
    samples = tone(440.0, rate) + np.random.default_rng(0).normal(0, 0.01, rate)
    whole = Resampler(rate).take(samples)
    stream, parts, at = Resampler(rate), [], 0
    sizes = np.random.default_rng(1).integers(1, 1500, 10_000)
    for size in sizes:
        parts.append(stream.take(samples[at : at + size]))
        at += size
        if at >= len(samples):
            break
    joined = np.concatenate(parts)
    assert len(joined) == len(whole)
    assert abs(len(whole) - RATE) <= 2
    np.testing.assert_allclose(joined, whole, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampling_keeps_a_tone_and_its_place(rate: int) -> None:
    resampled = to_pcm(tone(1000.0, rate), rate) / 32768.0
    expected = tone(1000.0, RATE)
    assert len(resampled) == RATE
    inner = slice(400, -400)
    np.testing.assert_allclose(resampled[inner], expected[inner], atol=2e-3)


def test_what_16_khz_cannot_hold_is_removed() -> None:
    resampled = Resampler(48000).take(tone(11_000.0, 48000))
    assert np.abs(resampled[400:]).max() < 1e-3


def test_a_wav_file_of_another_kind_is_read(tmp_path: Path) -> None:
    stereo = np.stack([tone(500.0, 44100), tone(500.0, 44100)], axis=1).astype(np.float32)
    wavfile.write(tmp_path / "stereo.wav", 44100, stereo)
    samples = read_wav(tmp_path / "stereo.wav")
    assert samples.dtype == np.int16 and len(samples) == RATE
    assert np.abs(samples[400:-400] - 32768 * tone(500.0, RATE)[400:-400]).max() < 100


@pytest.mark.parametrize("content", [None, b"", b"ID3 no wave", b"RIFF\x24\x00\x00\x00WAVE"])
def test_a_file_that_is_no_wav_is_told_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        read_wav(path)
    assert "broken.wav" in str(caught.value) and "\n" not in str(caught.value)


def test_loudness() -> None:
    assert level(np.full(100, 32767, np.int16)) == pytest.approx(0.0, abs=0.01)
    assert level(pcm16(np.full(100, 0.1))) == pytest.approx(-20.0, abs=0.01)
    assert level(np.zeros(100, np.int16)) == -np.inf
