# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A network as TensorRT's parser read it: whether it is that of a stage, and its dynamic axes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from referdino_core.errors import BuildError, EngineError
from referdino_core.runtime.tensorrt.library import sizes_of, trt
from referdino_core.runtime.tensorrt.stage_tensors import AxisRange, Stage, match_shape
from referdino_core.runtime.tensorrt.tensor_types import expected_type, torch_type


def check_network(
    network: trt.INetworkDefinition,
    stage: Stage,
    low: torch.dtype,
    ranges: Mapping[str, AxisRange],
) -> None:
    """Check names, types and shapes before minutes go into building.

    Args:
        network: as it was read.
        stage: whose network it should be.
        low: the type of the export's precision.
        ranges: the sizes of the dynamic axes.

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
            if data_type != expected_type(tensor, low):
                raise BuildError(
                    f"{tensor.name} of the {stage.name} network is {data_type}, "
                    f"{expected_type(tensor, low)} was expected: export it again."
                )
            try:
                match_shape(tensor, sizes_of(found[tensor.name].shape), ranges, sizes)
            except EngineError as error:
                raise BuildError(f"the {stage.name} network does not fit: {error}") from error


def make_profile(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    stage: Stage,
    ranges: Mapping[str, AxisRange],
) -> trt.IOptimizationProfile | None:
    """The sizes of the inputs whose axes may change; None where all are fixed.

    Args:
        builder: what makes it.
        network: as it was read, and checked with `check_network`.
        stage: whose network it is.
        ranges: the sizes of the dynamic axes.
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
