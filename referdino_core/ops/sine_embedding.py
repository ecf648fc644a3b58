# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sines and cosines of angles over wavelengths: formula and CPU kernel, for positions and boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from referdino_core.ops.library import KernelLibrary, inference_kernels_for


def sine_embedding(angles: Tensor, wavelengths: Tensor) -> Tensor:
    """Sines on even and cosines on odd features.

    Args:
        angles: (...) float32 or float64, radians.
        wavelengths: (W,), relative to the shortest.

    Returns:
        (..., 2 W).
    """
    library = inference_kernels_for(angles, wavelengths)
    if library is not None:
        return fused_sine_embedding(library, angles, wavelengths)
    angles = angles[..., None] / wavelengths
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def box_embedding(boxes: Tensor, wavelengths: Tensor) -> Tensor:
    """`sine_embedding` of boxes (..., 4) in [0, 1], a turn each, in the order y, x, w, h.

    Returns:
        (..., 8 W).
    """
    library = inference_kernels_for(boxes, wavelengths)
    if library is not None:
        return fused_box_embedding(library, boxes, wavelengths)
    x, y, size = boxes.split([1, 1, 2], dim=-1)
    angles = torch.cat((y, x, size), dim=-1) * (2 * math.pi)
    return sine_embedding(angles, wavelengths).flatten(-2)


def fused_sine_embedding(library: KernelLibrary, angles: Tensor, wavelengths: Tensor) -> Tensor:
    """`sine_embedding` of float32 angles through the CPU kernel; no gradients."""
    angles = angles.contiguous()
    pairs = len(wavelengths)
    embedding = angles.new_empty(*angles.shape, 2 * pairs)
    library.functions.referdino_sine_embedding(
        angles.data_ptr(), wavelengths.data_ptr(), angles.numel(), pairs, embedding.data_ptr()
    )
    return embedding


def fused_box_embedding(library: KernelLibrary, boxes: Tensor, wavelengths: Tensor) -> Tensor:
    """`box_embedding` of float32 boxes through the CPU kernel; no gradients."""
    boxes = boxes.contiguous()
    pairs = len(wavelengths)
    embedding = boxes.new_empty(*boxes.shape[:-1], 8 * pairs)
    library.functions.referdino_box_embedding(
        boxes.data_ptr(), wavelengths.data_ptr(), boxes.numel() // 4, pairs, embedding.data_ptr()
    )
    return embedding
