# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural, tileable grey textures for the floor and the walls."""

from __future__ import annotations

import numpy as np

TEXTURE_SIZE = 128
TEXTURE_COUNT = 32
_SEED = 20260


def build_textures() -> np.ndarray:
    """The fixed set of textures, (TEXTURE_COUNT, TEXTURE_SIZE, TEXTURE_SIZE, 3) uint8.

    Each mixes a pattern (none, checks, planks, tiles or stripes) with noise whose spectrum falls as
    a power of frequency. They are nearly grey: a surface gets its hue from its own tint.
    """
    patterns = (_plain, _checks, _planks, _tiles, _stripes)
    textures = []
    for number in range(TEXTURE_COUNT):
        rng = np.random.default_rng((_SEED, number))
        grey = patterns[number % len(patterns)](rng)
        grey = grey + rng.uniform(0.03, 0.12) * _noise(rng, rng.uniform(0.6, 1.8))
        hue = 1.0 + rng.uniform(-0.05, 0.05, 3) * _noise(rng, 1.5)[..., None]
        textures.append(np.clip(grey[..., None] * hue, 0.25, 1.0))
    return np.round(np.stack(textures) * 255).astype(np.uint8)


def _noise(rng: np.random.Generator, falloff: float) -> np.ndarray:
    """Periodic noise of unit variance whose amplitude falls as frequency ** -falloff."""
    vertical = np.fft.fftfreq(TEXTURE_SIZE)[:, None]
    horizontal = np.fft.rfftfreq(TEXTURE_SIZE)[None]
    frequency = np.hypot(vertical, horizontal)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)))
    field = np.fft.irfft2(spectrum * frequency**-falloff, s=(TEXTURE_SIZE, TEXTURE_SIZE))
    return field / field.std()


def _bands(count: int) -> np.ndarray:
    return np.arange(TEXTURE_SIZE) * count // TEXTURE_SIZE


def _plain(rng: np.random.Generator) -> np.ndarray:
    return np.full((TEXTURE_SIZE, TEXTURE_SIZE), rng.uniform(0.7, 0.85))


def _checks(rng: np.random.Generator) -> np.ndarray:
    bands = _bands(int(rng.choice([2, 4, 8])))
    odd = (bands[:, None] + bands[None]) % 2
    return 0.8 - rng.uniform(0.08, 0.25) * odd


def _planks(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.choice([4, 8]))
    shades = rng.uniform(0.65, 0.9, count)[_bands(count)]
    joint = np.arange(TEXTURE_SIZE) % (TEXTURE_SIZE // count) < 2
    column = np.where(joint, 0.45, shades)
    grain = _noise(rng, 1.2).mean(axis=0) * 0.4
    return np.broadcast_to(column[:, None], (TEXTURE_SIZE, TEXTURE_SIZE)) + 0.3 * grain[None]


def _tiles(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.choice([2, 4]))
    bands = _bands(count)
    shades = rng.uniform(0.7, 0.88, (count, count))[bands[:, None], bands[None]]
    joint = np.arange(TEXTURE_SIZE) % (TEXTURE_SIZE // count) < 3
    return np.where(joint[:, None] | joint[None], rng.uniform(0.4, 0.55), shades)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    phase = 2 * np.pi * np.arange(TEXTURE_SIZE) / TEXTURE_SIZE * int(rng.choice([2, 4, 6]))
    wave = 0.75 + rng.uniform(0.04, 0.14) * np.sign(np.sin(phase))
    return np.broadcast_to(wave[None], (TEXTURE_SIZE, TEXTURE_SIZE))
