# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of networks and engines against their stage, and the profile of their dynamic axes."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import torch

from referdino_core.backends.tensorrt.library import sizes_of, trt
from referdino_core.errors import BuildError, EngineError
from referdino_core.export.stage_io import StageSpec, TensorSpec


@dataclass(frozen=True)
class AxisRange:
    """Range of the sizes of a dynamic axis, from 1; engines are fastest at the optimum."""

    minimum: int
    optimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise ValueError(f"{self} is not a range of sizes")


def torch_type(data_type: trt.DataType) -> torch.dtype | None:
    """PyTorch's element type for one of TensorRT; None for one that no stage uses."""
    types = {
        trt.DataType.FLOAT: torch.float32,
        trt.DataType.HALF: torch.float16,
        trt.DataType.BF16: torch.bfloat16,
        trt.DataType.INT32: torch.int32,
        trt.DataType.BOOL: torch.bool,
    }
    return types.get(data_type)


def match_shape(
    tensor: TensorSpec,
    shape: Sequence[int],
    ranges: Mapping[str, AxisRange],
    sizes: MutableMapping[str, int],
) -> None:
    """Check the shape that a network or an engine declares, -1 on dynamic axes.

    Args:
        tensor: the expected input or output.
        shape: the declared shape.
        ranges: of the dynamic axes' sizes.
        sizes: known sizes of the static axes; those of further axes are added.

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
    tensor: TensorSpec,
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


def check_network(
    network: trt.INetworkDefinition,
    stage: StageSpec,
    low_precision: torch.dtype,
    ranges: Mapping[str, AxisRange],
) -> None:
    """Check names, types and shapes of a parsed network, before minutes go into building.

    Args:
        network: as the parser read it.
        stage: the expected inputs and outputs.
        low_precision: the element type of the export's precision.
        ranges: of the dynamic axes' sizes.

    Raises:
        BuildError: it is the network of another stage, or was exported otherwise.
    """
    inputs, outputs = _inputs(network), _outputs(network)
    sizes: dict[str, int] = {}
    for verb, found, expected in (
        ("takes", inputs, stage.inputs),
        ("gives", outputs, stage.outputs),
    ):
        names = sorted(tensor.name for tensor in expected)
        if sorted(found) != names:
            raise BuildError(
                f"the {stage.name} network {verb} {', '.join(sorted(found))}, but "
                f"{', '.join(names)} were expected: export it again."
            )
        for tensor in expected:
            data_type = torch_type(found[tensor.name].dtype)
            if data_type != tensor.dtype(low_precision):
                raise BuildError(
                    f"{tensor.name} of the {stage.name} network is {data_type}, "
                    f"{tensor.dtype(low_precision)} was expected: export it again."
                )
            try:
                match_shape(tensor, sizes_of(found[tensor.name].shape), ranges, sizes)
            except EngineError as error:
                raise BuildError(f"the {stage.name} network does not fit: {error}") from error


def make_profile(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    stage: StageSpec,
    ranges: Mapping[str, AxisRange],
) -> trt.IOptimizationProfile | None:
    """The optimization profile of the inputs with dynamic axes; None if all are static.

    Args:
        builder: creates the profile.
        network: checked by `check_network`.
        stage: its inputs.
        ranges: of the dynamic axes' sizes.
    """
    found = _inputs(network)
    profile: trt.IOptimizationProfile = builder.create_optimization_profile()
    has_dynamic_axis = False
    for tensor in stage.inputs:
        shape = sizes_of(found[tensor.name].shape)
        if min(shape, default=0) >= 0:
            continue
        has_dynamic_axis = True
        bounds = [
            AxisRange(size, size, size) if size >= 0 else ranges[str(axis)]
            for axis, size in zip(tensor.axes, shape, strict=True)
        ]
        least, usual, most = (
            trt.Dims([getattr(bound, end) for bound in bounds])
            for end in ("minimum", "optimum", "maximum")
        )
        profile.set_shape(tensor.name, min=least, opt=usual, max=most)
    return profile if has_dynamic_axis else None


def _inputs(network: trt.INetworkDefinition) -> dict[str, trt.ITensor]:
    tensors: list[trt.ITensor] = [network.get_input(i) for i in range(network.num_inputs)]
    return {tensor.name: tensor for tensor in tensors}


def _outputs(network: trt.INetworkDefinition) -> dict[str, trt.ITensor]:
    tensors: list[trt.ITensor] = [network.get_output(i) for i in range(network.num_outputs)]
    return {tensor.name: tensor for tensor in tensors}
