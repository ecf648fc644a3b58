# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded results of the published SOC, and the weights, clips and targets that led to them.

`data/goldens/soc` stores results only; see the README there.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
from golden import DIRECTORY, Golden, frames
from golden import load as load_golden

LARGE = ("query_embed.weight", "fq_pos.weight", "level_embed")


def load(name: str) -> Golden:
    """The golden of that file name, without its ending."""
    return load_golden(f"soc/{name}")


def listed(model: str) -> Iterator[tuple[str, list[int], str, str | None]]:
    """Name, shape, type and alias of every tensor of a checkpoint of "tiny" or "base"."""
    path = DIRECTORY / "soc" / f"state_dict_soc_{model}.json"
    for name, shape, kind, *shared_with in json.loads(path.read_text())["tensors"]:
        yield name, shape, kind, shared_with[0] if shared_with else None


def random_generator(name: str, seed: int) -> np.random.Generator:
    """A generator that follows from a name and a seed."""
    return np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), seed]))


def weights_of(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Float32 values that follow from a tensor's name, its shape and the seed alone."""
    noise = random_generator(name, seed).standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith(LARGE):
        return np.float32(0.5) * noise
    if "_embeddings." in name:
        return np.float32(0.05) * noise
    if name.endswith("relative_position_bias_table"):
        return np.float32(0.2) * noise
    if name.endswith("weight") and len(shape) > 1:
        scale = 0.2 if name == "controller.layers.2.weight" else 1.0
        return noise * np.float32(scale / math.sqrt(math.prod(shape[1:])))
    if name.endswith("weight"):
        return (1 + 0.1 * noise).astype(np.float32)
    return np.float32(0.1) * noise


@cache
def text_weights_of(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """`weights_of` a tensor of the text encoder, which both sizes have."""
    return torch.from_numpy(weights_of(name, shape, seed))


def state_dict(model: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every float tensor of a released checkpoint of "tiny" or "base", filled by `weights_of`."""
    tensors: dict[str, torch.Tensor] = {}
    for name, shape, kind, shared_with in listed(model):
        if not kind.startswith("float"):
            continue
        if shared_with:
            tensors[name] = tensors[shared_with]
        elif name.startswith("text_encoder."):
            tensors[name] = text_weights_of(name, tuple(shape), seed)
        else:
            tensors[name] = torch.from_numpy(weights_of(name, shape, seed))
    return tensors


def clips(golden: Golden) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T, 3, H, W) pixels of a recorded case, zero on padding, and (B, H, W) bool padding."""
    count = golden.metadata["frames"]
    seeds, sizes = golden.metadata["frame_seeds"], golden.metadata["sizes"]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    pixels = torch.zeros(len(seeds), count, 3, height, width)
    padding = torch.ones(len(seeds), height, width, dtype=torch.bool)
    for clip, (seed, (rows, columns)) in enumerate(zip(seeds, sizes, strict=True)):
        pixels[clip, ..., :rows, :columns] = frames(count, rows, columns, seed)
        padding[clip, :rows, :columns] = False
    return pixels, padding


def drifting_ellipse(
    count: int, height: int, width: int, hidden: Sequence[int] = (), shift: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Masks (T, H, W) bool and boxes (T, 4) of an object, as SOC's data loaders make them.

    A box ends at its last pixel, not beyond it; frames in `hidden` have no object.
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    masks, boxes = np.zeros((count, height, width), bool), np.zeros((count, 4), np.float32)
    for t in set(range(count)) - set(hidden):
        cy, cx = height * 0.45 - 3 * t + shift, width * 0.55 - 5 * t + shift
        masks[t] = ((y - cy) / (height * 0.25)) ** 2 + ((x - cx) / (width * 0.2)) ** 2 <= 1
        rows, columns = np.where(masks[t].any(1))[0], np.where(masks[t].any(0))[0]
        left, right, top, bottom = columns[0], columns[-1], rows[0], rows[-1]
        boxes[t] = (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
    return masks, boxes


def contrastive_pair(
    batch: int, queries: int = 20, width: int = 256
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Video queries (B, Q, d), sentences (B, d) and the matched query (B,) of each clip."""
    draw = random_generator("contrastive", 0)
    video = (3 * draw.standard_normal((batch, queries, width))).astype(np.float32)
    text = (3 * draw.standard_normal((batch, width))).astype(np.float32)
    matched = draw.integers(0, queries, batch)
    return torch.from_numpy(video), torch.from_numpy(text), torch.from_numpy(matched)
