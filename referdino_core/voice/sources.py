# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sources of audio that need no ROS: the microphone, and WAV files played in real time."""

from __future__ import annotations

import importlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.voice.audio import RATE, Resampler, mix_down, pcm16, read_wav
from referdino_core.voice.pocketsphinx_engine import VoiceUnavailable

TakeBlock = Callable[[np.ndarray], None]
"""Takes (N,) int16 samples at 16 kHz, in any thread."""
_BLOCK = 0.03


class Microphone:
    """The microphone, through PortAudio; opened on construction.

    Args:
        take: gets every block.
        device: a part of the device's name; "" for the default one.

    Raises:
        VoiceUnavailable: sounddevice, PortAudio or the device is missing.
    """

    def __init__(self, take: TakeBlock, device: str = "") -> None:
        package = _sounddevice()
        self._take = take
        try:
            chosen = package.query_devices(device or None, kind="input")
            rate = self._rate(package, chosen)
            self._resampler = Resampler(rate)
            self._stream = package.InputStream(
                samplerate=rate,
                blocksize=round(_BLOCK * rate),
                device=chosen["index"],
                channels=1,
                dtype="int16",
                callback=self._on_block,
            )
            self._stream.start()
        except (package.PortAudioError, ValueError) as error:
            raise VoiceUnavailable(
                f"The microphone {device or '(default)'} cannot be opened: {error}. "
                "List the devices with: python -m sounddevice"
            ) from error
        self.name = f"{chosen['name']}, {rate} Hz"

    @staticmethod
    def _rate(package: Any, device: Any) -> int:
        """16 kHz where the device has it, else the rate that it prefers."""
        try:
            package.check_input_settings(
                device=device["index"], channels=1, dtype="int16", samplerate=RATE
            )
        except (package.PortAudioError, ValueError):
            return round(device["default_samplerate"])
        return RATE

    def _on_block(self, block: np.ndarray, frames: int, when: Any, status: Any) -> None:
        self._take(pcm16(self._resampler.take(mix_down(block))))

    def close(self) -> None:
        """Let the device go."""
        self._stream.close()


def _sounddevice() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:  # OSError: the package without PortAudio's library
        raise VoiceUnavailable(
            f"The microphone cannot be used ({error}): pip install 'sounddevice>=0.4.6,<0.6' and, "
            "on Linux, apt install libportaudio2; or set audio to topic."
        ) from error


class FilePlayer:
    """Plays WAV files as if they were spoken now, and near silence between them.

    Args:
        take: gets every block, in real time.
    """

    def __init__(self, take: TakeBlock) -> None:
        self._take = take
        self._waiting: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self._over = threading.Event()
        self._noise = np.random.default_rng(0)
        self._thread = threading.Thread(
            target=self._play, name="referdino voice files", daemon=True
        )
        self._thread.start()
        self.name = "WAV files"

    def play(self, path: Path) -> float:
        """Play a file after those that wait already; returns its length in seconds.

        Raises:
            AudioError: the file cannot be read.
        """
        samples = read_wav(path)
        self._waiting.put(samples)
        return len(samples) / RATE

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def _play(self) -> None:
        step = round(_BLOCK * RATE)
        rest = np.zeros(0, np.int16)
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            if not len(rest) and not self._waiting.empty():
                rest = self._waiting.get()
            block, rest = rest[:step], rest[step:]
            hush = self._noise.integers(-2, 3, step - len(block)).astype(np.int16)
            self._take(np.concatenate([block, hush]))
            # After a stall of the machine it goes on from now, not faster than real time.
            due = max(due + _BLOCK, time.monotonic() - 10 * _BLOCK)
