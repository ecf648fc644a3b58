# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Weights as the CPU kernels take them: structures of pointers, mirrored from the C++ sources.

What they point to must be kept elsewhere, for as long as they are used.
"""

from __future__ import annotations

import ctypes
from typing import Literal

from torch import Tensor

Activation = Literal["none", "relu", "gelu"]

ACTIVATIONS: dict[Activation, int] = {"none": 0, "relu": 1, "gelu": 2}

_POINTER, _INDEX = ctypes.c_void_p, ctypes.c_int64


class LinearWeights(ctypes.Structure):
    """``LinearWeights`` of linear_layer.h; what it points to must be kept elsewhere."""

    _fields_ = (
        ("packed", _POINTER),
        ("bias", _POINTER),
        ("inputs", _INDEX),
        ("outputs", _INDEX),
    )


class NormWeights(ctypes.Structure):
    """``NormWeights`` of linear_layer.h; a null weight stands for no normalisation."""

    _fields_ = (("weight", _POINTER), ("bias", _POINTER), ("epsilon", ctypes.c_float))


def linear_weights(packed: Tensor, bias: Tensor | None, outputs: int, inputs: int) -> LinearWeights:
    """A layer whose weight (outputs, inputs) is laid out as `FusedKernel.pack_linear` does it."""
    return LinearWeights(
        packed.data_ptr(), None if bias is None else bias.data_ptr(), inputs, outputs
    )


def norm_weights(weight: Tensor, bias: Tensor, epsilon: float) -> NormWeights:
    """A layer normalisation of contiguous weights."""
    return NormWeights(weight.data_ptr(), bias.data_ptr(), epsilon)


class FeedForwardWeights(ctypes.Structure):
    """``FeedForwardWeights`` of blocks.h."""

    _fields_ = (
        ("before", NormWeights),
        ("first", LinearWeights),
        ("activation", _INDEX),
        ("second", LinearWeights),
        ("after", NormWeights),
    )


class AttentionWeights(ctypes.Structure):
    """``AttentionWeights`` of blocks.h."""

    _fields_ = (
        ("located", LinearWeights),
        ("source", LinearWeights),
        ("output", LinearWeights),
        ("after", NormWeights),
        ("heads", _INDEX),
    )


class DeformableAttentionWeights(ctypes.Structure):
    """``DeformableAttentionWeights`` of blocks.h."""

    _fields_ = (
        ("located", LinearWeights),
        ("value", LinearWeights),
        ("output", LinearWeights),
        ("after", NormWeights),
        ("heads", _INDEX),
        ("points", _INDEX),
    )


class WindowAttentionWeights(ctypes.Structure):
    """``WindowAttentionWeights`` of blocks.h."""

    _fields_ = (
        ("before", NormWeights),
        ("projection", LinearWeights),
        ("output", LinearWeights),
        ("window_cells", _POINTER),
        ("regions", _POINTER),
        ("bias", _POINTER),
        ("windows", _INDEX),
        ("size", _INDEX),
        ("heads", _INDEX),
    )
