# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded results of the paper's reference implementation and the inputs that led to them.

`data/goldens` stores results only. The weights and frames are made anew, bit for bit, by
`state_dict` and `frames`; the metadata of a golden says which ones it used.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from repository import DATA
from scipy.ndimage import gaussian_filter

import referdino_core as rd
from referdino_core.network.uninitialised_weights import UninitialisedWeights

DIRECTORY = DATA / "goldens"
FRAME_MARGIN = 64
DRIFT_LEFT, DRIFT_UP = 5, 3


@dataclass(frozen=True)
class Golden:
    """One recorded run: result arrays by name, and how they came about."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    def model(self, **changes: Any) -> rd.ReferDINO:
        """The model of the run, made anew, which takes seconds.

        Args:
            changes: settings in which it differs from the recorded one.
        """
        recorded = self.metadata
        settings = {key: recorded[key] for key in ("num_queries", "keep_ratio")}
        name = recorded["config"].removeprefix("ytvos_")
        with UninitialisedWeights():
            model = rd.build(name, **settings | changes)
        weights = state_dict(name, recorded["weight_seed"], recorded["num_queries"])
        rd.load_checkpoint(model, weights)
        return model

    @property
    def pixels(self) -> torch.Tensor:
        """(T, 3, H, W) float32: the normalised frames of the run."""
        recorded = self.metadata
        return frames(
            recorded["num_frames"], recorded["height"], recorded["width"], recorded["frame_seed"]
        )

    @property
    def target_masks(self) -> torch.Tensor:
        """(T, H, W) bool: the training ground truth of the run, at image resolution."""
        shape = (self.metadata["num_frames"], self.metadata["height"], self.metadata["width"])
        bits = np.unpackbits(self.arrays["train_target_masks"])
        return torch.from_numpy(bits.reshape(shape).astype(bool))


def load(name: str) -> Golden:
    """The golden of that file name, without its ending."""
    with np.load(DIRECTORY / f"{name}.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    metadata = json.loads(str(arrays.pop("meta")))
    arrays.pop("text", None)
    return Golden(arrays, metadata)


def weights_of(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Float32 values that follow from a tensor's name, its shape and the seed alone."""
    shape = tuple(shape)
    generator = np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), seed]))
    noise = generator.standard_normal(shape).astype(np.float32)
    kind = name.rpartition(".")[2]
    if kind == "weight" and len(shape) == 1:
        return 1 + 0.1 * noise
    if kind == "weight" and "embedding" in name:
        return noise * 0.05
    if kind == "weight":
        return noise / np.sqrt(math.prod(shape[1:]))
    if kind in ("lora_A", "lora_B"):
        return noise / np.sqrt(shape[1])
    if kind.startswith("gamma"):
        return 0.3 + 0.1 * noise
    return (0.5 if kind == "level_embed" else 0.1) * noise


def state_dict(model: str, seed: int = 0, num_queries: int = 900) -> dict[str, torch.Tensor]:
    """Every float tensor of a released checkpoint of "swint" or "swinb", filled by `weights_of`.

    Tensors that share storage in a checkpoint hold the same values here; integer buffers are left
    out. Those who ask for a tensor again get the same one, to read.
    """
    made = tensors_of(seed)
    listing = json.loads((DIRECTORY / f"state_dict_{model}.json").read_text(encoding="utf-8"))
    tensors: dict[str, torch.Tensor] = {}
    for name, shape, dtype, *shared_with in listing["tensors"]:
        if not dtype.startswith("float"):
            continue
        if shared_with:
            tensors[name] = tensors[shared_with[0]]
            continue
        rows = num_queries if name == "transformer.tgt_embed.weight" else None
        key = (name, *(shape if rows is None else (rows, *shape[1:])))
        if key not in made:
            values = weights_of(name, key[1:], seed)
            made[key] = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        tensors[name] = made[key]
    return tensors


@lru_cache(maxsize=1)
def tensors_of(seed: int) -> dict[tuple[Any, ...], torch.Tensor]:
    """What was made with the seed so far, by name and shape: Swin-T and Swin-B share most of it."""
    return {}


def frames(count: int, height: int, width: int, seed: int) -> torch.Tensor:
    """(count, 3, height, width) float32: a smooth texture that drifts to the left and upwards."""
    generator = np.random.Generator(np.random.PCG64(seed))
    size = (3, height + FRAME_MARGIN, width + FRAME_MARGIN)
    noise = generator.standard_normal(size).astype(np.float32)
    texture = np.stack([gaussian_filter(channel, 4) for channel in noise])
    texture /= texture.std()
    views = [
        texture[:, DRIFT_UP * t : DRIFT_UP * t + height, DRIFT_LEFT * t : DRIFT_LEFT * t + width]
        for t in range(count)
    ]
    return torch.from_numpy(np.stack(views))
