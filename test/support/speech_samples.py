# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic speech for tests: the recordings in test/data/speech, and noise to add."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from repository import TESTS
from scipy.io import wavfile

from referdino_core.voice import RATE, read_wav

SPEECH = TESTS / "data" / "speech"
needs_pocketsphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None,
    reason="pocketsphinx is not installed: pip install '.[voice]'",
)


def recording(name: str) -> np.ndarray:
    """A recording by name, (N,) int16 at 16 kHz."""
    return read_wav(SPEECH / f"{name}.wav")


def hush(seconds: float, seed: int = 0) -> np.ndarray:
    """The sound of a quiet room, (N,) int16."""
    noise = np.random.default_rng(seed).normal(0.0, 5.0, round(seconds * RATE))
    return noise.astype(np.int16)


def in_a_room(samples: np.ndarray) -> np.ndarray:
    """The recording with a bit of near silence before and after it, as an utterance is cut out."""
    return np.concatenate([hush(0.3, 1), samples, hush(0.2, 2)])


def with_noise(samples: np.ndarray, decibels: float, seed: int = 0) -> np.ndarray:
    """The recording with white noise that is so much weaker than its speech."""
    speech = samples.astype(np.float64)
    power = np.mean(np.square(speech[np.abs(speech) > 300]))
    noise = np.random.default_rng(seed).normal(0.0, 1.0, len(speech))
    noisy = speech + noise * np.sqrt(power / 10 ** (decibels / 10))
    return np.clip(np.rint(noisy), -32768, 32767).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """A WAV file of samples."""
    wavfile.write(path, rate, samples)
    return path
