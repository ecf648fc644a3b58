# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark of deformable attention on the CPU: portable version and fused kernel.

    python benchmarks/deformable_attention.py

Both versions alternate in one process; each figure is the minimum of all rounds, which is least
affected by other programs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from referdino_core.ops.deformable_attention import (
    SpatialShapes,
    fused_deformable_attention,
    portable_deformable_attention,
)
from referdino_core.ops.library import kernel_library, kernel_status

Operator = Callable[[Tensor, SpatialShapes, Tensor, Tensor], Tensor]
VERSIONS: dict[str, Operator] = {
    "portable": portable_deformable_attention,
    "fused": fused_deformable_attention,
}


@dataclass(frozen=True)
class Layer:
    """Self-attention of one encoder layer, with a query per token of every level."""

    name: str
    images: int
    spatial_shapes: SpatialShapes
    heads: int
    channels: int
    points: int = 4


LAYERS = (
    Layer("encoder, 360x640", 1, ((45, 80), (23, 40), (12, 20), (6, 10)), 8, 32),
    Layer("nano training, 48 frames", 48, ((15, 20), (8, 10), (4, 5), (2, 3)), 8, 16),
)


def layer_inputs(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """Value, locations and weights; locations deviate from the query's own by about 3 pixels."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.cat(
        [
            torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(-1)
            for h, w in layer.spatial_shapes
        ]
    )
    queries = len(centres)
    shape = (layer.images, queries, layer.heads, len(layer.spatial_shapes), layer.points)
    sizes = torch.tensor([(width, height) for height, width in layer.spatial_shapes])
    offsets = torch.randn(*shape, 2, generator=generator) * 3 / sizes[:, None]
    value = torch.randn(layer.images, queries, layer.heads, layer.channels, generator=generator)
    weights = torch.rand(shape, generator=generator).flatten(-2).softmax(-1).view(shape)
    return value, centres[:, None, None, None] + offsets, weights


def milliseconds(operator: Operator, layer: Layer, inputs: tuple, backward: bool) -> float:
    """Milliseconds of one call, optionally with its backward pass."""
    value, locations, weights = (x.detach().requires_grad_(backward) for x in inputs)
    start = time.perf_counter()
    output = operator(value, layer.spatial_shapes, locations, weights)
    if backward:
        output.backward(torch.ones_like(output))
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if kernel_library() is None:
        raise SystemExit(kernel_status())
    print(f"{arguments.threads} threads, best of {arguments.rounds} rounds, milliseconds")
    print(f"{'layer':28}{'pass':20}{'portable':>10}{'fused':>10}{'ratio':>8}")
    for layer in LAYERS:
        inputs = layer_inputs(layer)
        for backward in (False, True):
            best = dict.fromkeys(VERSIONS, float("inf"))
            for _ in tqdm(range(arguments.rounds), desc=layer.name, leave=False):
                for version, operator in VERSIONS.items():
                    taken = milliseconds(operator, layer, inputs, backward)
                    best[version] = min(best[version], taken)
            name = "forward + backward" if backward else "forward"
            ratio = best["portable"] / best["fused"]
            print(
                f"{layer.name:28}{name:20}{best['portable']:10.1f}{best['fused']:10.1f}{ratio:7.1f}x"
            )


if __name__ == "__main__":
    main()
