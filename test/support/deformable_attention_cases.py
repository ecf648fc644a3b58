# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs for deformable attention, and the comparison with its double-precision judge."""

from __future__ import annotations

import torch
from torch import Tensor

from referdino_core.ops.deformable_attention import SpatialShapes

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
Inputs = tuple[Tensor, SpatialShapes, Tensor, Tensor]

# images, levels, queries, heads, points, channels
CASES = {
    "encoder-like": (1, ((23, 40), (12, 20), (6, 10), (3, 5)), 60, 8, 4, 32),
    "mask decoder-like": (2, ((30, 40),), 15, 8, 16, 32),
    "nano-like": (5, ((15, 20), (8, 10), (4, 5)), 33, 8, 4, 16),
    "odd sizes": (3, ((7, 9), (5, 1)), 11, 3, 4, 24),
    "one cell": (2, ((1, 1),), 4, 2, 4, 32),
    "any channels": (2, ((6, 5), (1, 7)), 9, 3, 5, 13),
    "many samples": (1, ((9, 7), (5, 4), (3, 2)), 6, 5, 16, 16),
}


def make_inputs(
    images: int,
    shapes: SpatialShapes,
    queries: int,
    heads: int,
    points: int,
    channels: int,
    seed: int = 0,
) -> Inputs:
    """Random inputs whose locations lie inside, on the border of and well outside the levels."""
    generator = torch.Generator().manual_seed(seed)
    cells = sum(height * width for height, width in shapes)
    value = torch.randn(images, cells, heads, channels, generator=generator)
    place = (images, queries, heads, len(shapes), points)
    locations = torch.rand(*place, 2, generator=generator) * 2 - 0.5
    weights = torch.randn(*place, generator=generator).flatten(-2).softmax(-1).view(place)
    return value, shapes, locations, weights


def output_and_gradients(operator, inputs: Inputs, output_gradient: Tensor, precision=None):
    value, shapes, locations, weights = inputs
    leaves = [
        x.detach().clone().to(precision or x.dtype).requires_grad_()
        for x in (value, locations, weights)
    ]
    output = operator(leaves[0], shapes, leaves[1], leaves[2])
    output.backward(output_gradient.to(output.dtype))
    return output.detach(), *(leaf.grad for leaf in leaves)


def gradient_for(inputs: Inputs) -> Tensor:
    value, _, locations, _ = inputs
    images, queries, heads = locations.shape[:3]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(images, queries, heads * value.shape[-1], generator=generator)


def assert_agrees(found, judge, shapes: SpatialShapes) -> None:
    """Output and gradients within 1e-5; those of locations per cell moved, not per whole level."""
    sizes = torch.tensor([(width, height) for height, width in shapes]).double()[:, None]
    units = {"output": 1.0, "value": 1.0, "locations": sizes, "weights": 1.0}
    for (name, unit), one, other in zip(units.items(), found, judge, strict=True):
        assert one.dtype == torch.float32 and other.dtype == torch.float64
        torch.testing.assert_close(
            one.double() / unit,
            other / unit,
            **TOLERANCE,
            msg=lambda text, name=name: f"{name}: {text}",
        )
