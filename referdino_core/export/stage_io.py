# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of the three exported stages: names, axes and element types.

This table is shared by recording, ONNX Runtime, TensorRT, the parity check and docs/export.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")

COMMANDS, FRAMES = "N", "T"
"""The dynamic axes: commands, and frames of the window; all other axes are static."""

LOW_PRECISION = "low"
"""Placeholder for the element type of the export's precision."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a stage.

    Attributes:
        name: name in the ONNX graph.
        axes: sizes, or letters for sizes that all tensors share: N commands, T frames of the
            window, H and W the image, L text tokens, S image tokens, Q queries, d their width,
            C, h and w channels and sides of the backbone's stride-4 features.
        element_type: "float32", "bool", "int32" or `LOW_PRECISION`.
    """

    name: str
    axes: tuple[int | str, ...]
    element_type: str

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape for sizes of the lettered axes."""
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.axes)

    def dtype(self, low_precision: torch.dtype) -> torch.dtype:
        """PyTorch's element type in an export of this precision."""
        import torch

        if self.element_type == LOW_PRECISION:
            return low_precision
        dtype: torch.dtype = getattr(torch, self.element_type)
        return dtype


@dataclass(frozen=True)
class StageSpec:
    """A stage with its inputs and outputs, in the order of its arguments and results.

    Attributes:
        chained: names of the inputs that are outputs of an earlier stage, unchanged.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    chained: frozenset[str] = frozenset()

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return tuple(tensor.name for tensor in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(tensor.name for tensor in self.outputs)

    @property
    def dynamic_axes(self) -> dict[str, tuple[str, int]]:
        """The dynamic axes by letter: the first input that has the axis, and its index there."""
        found: dict[str, tuple[str, int]] = {}
        for tensor in self.inputs:
            for index, axis in enumerate(tensor.axes):
                if axis in (COMMANDS, FRAMES):
                    found.setdefault(str(axis), (tensor.name, index))
        return found

    def named_inputs(self, *values: Value) -> dict[str, Value]:
        """Inputs by name, given in order."""
        return dict(zip(self.input_names, values, strict=True))

    def ordered_outputs(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        """Outputs in order, given by name."""
        return tuple(values[name] for name in self.output_names)


_TOKENS = TensorSpec("tokens", (1, "S", "d"), LOW_PRECISION)
_FINEST = TensorSpec("finest", (1, "C", "h", "w"), LOW_PRECISION)
_TEXT_PADDING = TensorSpec("text_padding", ("N", "L"), "bool")
_MASK_FEATURES = TensorSpec("mask_features", ("N", "d", "h", "w"), LOW_PRECISION)

IMAGE_ENCODER = StageSpec(
    "image_encoder",
    inputs=(TensorSpec("pixels", (1, 3, "H", "W"), "float32"),),
    outputs=(_TOKENS, _FINEST),
)
"""Pixels to multi-scale features."""

GROUNDER = StageSpec(
    "grounder",
    inputs=(
        _TOKENS,
        _FINEST,
        TensorSpec("text", ("N", "L", "d"), "float32"),
        _TEXT_PADDING,
        TensorSpec("text_attention", ("N", "L", "L"), "bool"),
        TensorSpec("text_positions", ("N", "L"), "int32"),
    ),
    outputs=(
        TensorSpec("queries", ("N", "Q", "d"), "float32"),
        TensorSpec("references", ("N", "Q", 4), "float32"),
        TensorSpec("fused_text", ("N", "L", "d"), "float32"),
        _MASK_FEATURES,
    ),
    chained=frozenset({"tokens", "finest"}),
)
"""Features and encoded sentences to surviving queries and mask features."""

READOUT = StageSpec(
    "readout",
    inputs=(
        TensorSpec("queries", ("N", "T", "Q", "d"), "float32"),
        TensorSpec("references", ("N", "T", "Q", 4), "float32"),
        TensorSpec("text", ("N", "T", "L", "d"), "float32"),
        _TEXT_PADDING,
        TensorSpec("ages", ("N", "T"), "float32"),
        _MASK_FEATURES,
    ),
    outputs=(
        TensorSpec("scores", ("N", "T", "Q"), "float32"),
        TensorSpec("boxes", ("N", "Q", 4), "float32"),
        TensorSpec("mask_embeddings", ("N", "Q", "d"), "float32"),
    ),
    chained=frozenset({"mask_features"}),
)
"""Windows of object memories to scores, boxes and mask embeddings."""

STAGES: Mapping[str, StageSpec] = MappingProxyType(
    {stage.name: stage for stage in (IMAGE_ENCODER, GROUNDER, READOUT)}
)
"""The stages by name, in the order in which they run."""
