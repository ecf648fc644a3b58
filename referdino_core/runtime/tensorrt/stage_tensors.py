# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Names, axes and types of what goes into the three exported stages and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from referdino_core.errors import EngineError

COMMANDS, FRAMES = "N", "T"
"""The axes whose sizes may change from call to call."""

LOW = "low"
"""The type of the export's precision."""


@dataclass(frozen=True)
class AxisRange:
    """The sizes that an axis may have, all at least 1; engines are fastest at the optimum."""

    minimum: int
    optimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise ValueError(f"{self} is no range of sizes")


@dataclass(frozen=True)
class StageTensor:
    """One input or output of a stage.

    axes: a size, or a letter that means the same size everywhere: N commands, T frames of the
    window, H and W the image, L text tokens, S image tokens, Q queries, d their width, C, h and w
    the finest map of the backbone. type: float32, bool, int32, or `LOW`.
    """

    name: str
    axes: tuple[int | str, ...]
    type: str


@dataclass(frozen=True)
class Stage:
    """What a stage takes and gives; `handed_on` are inputs that an earlier stage gives."""

    name: str
    inputs: tuple[StageTensor, ...]
    outputs: tuple[StageTensor, ...]
    handed_on: frozenset[str] = frozenset()


_TOKENS = StageTensor("tokens", (1, "S", "d"), LOW)
_FINEST = StageTensor("finest", (1, "C", "h", "w"), LOW)
_TEXT_PADDING = StageTensor("text_padding", ("N", "L"), "bool")
_QUERIES = StageTensor("queries", ("N", "Q", "d"), "float32")
_REFERENCES = StageTensor("references", ("N", "Q", 4), "float32")
_MASK_FEATURES = StageTensor("mask_features", ("N", "d", "h", "w"), LOW)

STAGES: Mapping[str, Stage] = MappingProxyType(
    {
        stage.name: stage
        for stage in (
            Stage(
                "image_encoder",
                (StageTensor("pixels", (1, 3, "H", "W"), "float32"),),
                (_TOKENS, _FINEST),
            ),
            Stage(
                "grounder",
                (
                    _TOKENS,
                    _FINEST,
                    StageTensor("text", ("N", "L", "d"), "float32"),
                    _TEXT_PADDING,
                    StageTensor("text_attention", ("N", "L", "L"), "bool"),
                    StageTensor("text_positions", ("N", "L"), "int32"),
                ),
                (
                    _QUERIES,
                    _REFERENCES,
                    StageTensor("fused_text", ("N", "L", "d"), "float32"),
                    _MASK_FEATURES,
                ),
                frozenset({"tokens", "finest"}),
            ),
            Stage(
                "readout",
                (
                    StageTensor("queries", ("N", "T", "Q", "d"), "float32"),
                    _REFERENCES,
                    StageTensor("text", ("N", "T", "L", "d"), "float32"),
                    _TEXT_PADDING,
                    StageTensor("ages", ("N", "T"), "float32"),
                    _MASK_FEATURES,
                ),
                (
                    StageTensor("scores", ("N", "T", "Q"), "float32"),
                    StageTensor("boxes", ("N", "Q", 4), "float32"),
                    StageTensor("mask_embeddings", ("N", "Q", "d"), "float32"),
                ),
                frozenset({"mask_features"}),
            ),
        )
    }
)


def match_shape(
    tensor: StageTensor,
    shape: Sequence[int],
    ranges: Mapping[str, AxisRange],
    sizes: MutableMapping[str, int],
) -> None:
    """Check the shape that a network or an engine declares, -1 where it may change.

    Args:
        tensor: what it should have.
        shape: what it has.
        ranges: the sizes that the dynamic axes may have.
        sizes: the sizes known so far, by axis; those of new axes are added.

    Raises:
        EngineError: the shape does not fit, or contradicts what another tensor said.
    """
    if len(shape) != len(tensor.axes):
        raise EngineError(
            f"{tensor.name} has {len(shape)} axes, {len(tensor.axes)} were expected: "
            "export the network again and rebuild the engines."
        )
    for axis, size in zip(tensor.axes, shape, strict=True):
        expected = _expected_size(tensor, axis, size, ranges, sizes)
        if size != expected:
            raise EngineError(
                f"{tensor.name} is {_text(shape)}, but axis {axis} should be "
                f"{'dynamic' if expected < 0 else expected}: export the network again and rebuild "
                "the engines."
            )


def _expected_size(
    tensor: StageTensor,
    axis: int | str,
    size: int,
    ranges: Mapping[str, AxisRange],
    sizes: MutableMapping[str, int],
) -> int:
    if isinstance(axis, int):
        return axis
    if axis in ranges:
        only_size = ranges[axis].minimum == ranges[axis].maximum == size
        return size if only_size else -1
    if size < 0:
        raise EngineError(
            f"axis {axis} of {tensor.name} has no fixed size: export the network again; "
            "only the numbers of commands and of frames may change."
        )
    return sizes.setdefault(axis, size)


def _text(shape: Sequence[int]) -> str:
    return "x".join("?" if size < 0 else str(size) for size in shape)
