# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The table of the stages' inputs and outputs, against exported graphs and the documentation."""

from __future__ import annotations

from inspect import signature

import onnx
import pytest
import torch
from onnx_exports import SIZE, TOKENS, nano, nano_export
from repository import REPOSITORY

from referdino_core.export.recording import axis_sizes, exportable_stages, module_of
from referdino_core.export.stage_io import (
    COMMANDS,
    FRAMES,
    STAGES,
    StageSpec,
    TensorSpec,
)

ELEMENT_TYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BOOL: torch.bool,
    onnx.TensorProto.INT32: torch.int32,
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize(
    ("precision", "low_precision"), [("fp32", torch.float32), ("fp16", torch.float16)]
)
def test_exported_graphs_have_the_inputs_and_outputs_of_the_table(
    stage: StageSpec, precision: str, low_precision: torch.dtype
) -> None:
    graph = onnx.load(nano_export(precision, "plugin").files[stage.name]).graph
    sizes = axis_sizes(nano().configuration, SIZE, TOKENS)
    for infos, tensors in ((graph.input, stage.inputs), (graph.output, stage.outputs)):
        assert [info.name for info in infos] == [tensor.name for tensor in tensors]
        for info, tensor in zip(infos, tensors, strict=True):
            kind = info.type.tensor_type
            assert ELEMENT_TYPES[kind.elem_type] == tensor.dtype(low_precision)
            expected = [sizes.get(str(axis), axis) for axis in tensor.axes]
            assert [dim.dim_param or dim.dim_value for dim in kind.shape.dim] == expected


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_takes_its_inputs_in_the_order_of_the_table(stage: StageSpec) -> None:
    module = module_of(exportable_stages(nano(), SIZE, torch.float32), stage)
    assert tuple(signature(module.forward).parameters) == stage.input_names


def test_chained_inputs_are_outputs_of_an_earlier_stage() -> None:
    seen: dict[str, TensorSpec] = {}
    for stage in STAGES.values():
        for tensor in stage.inputs:
            if tensor.name in stage.chained:
                assert seen[tensor.name] == tensor
        seen |= {tensor.name: tensor for tensor in stage.outputs}


def test_dynamic_axes_are_read_from_the_first_input_that_has_them() -> None:
    assert {name: stage.dynamic_axes for name, stage in STAGES.items()} == {
        "image_encoder": {},
        "grounder": {COMMANDS: ("text", 0)},
        "readout": {COMMANDS: ("queries", 0), FRAMES: ("queries", 1)},
    }


def described(tensors: tuple[TensorSpec, ...]) -> str:
    """A cell of the documentation's table."""
    cells = []
    for tensor in tensors:
        axes = ", ".join(map(str, tensor.axes))
        kind = "" if tensor.element_type == "float32" else f" {tensor.element_type}"
        cells.append(f"`{tensor.name}` ({axes}){kind}")
    return "; ".join(cells)


def test_the_documentation_has_the_table() -> None:
    lines = (REPOSITORY / "docs" / "export.md").read_text().splitlines()
    for name, stage in STAGES.items():
        row = f"| `{name}.onnx` | {described(stage.inputs)} | {described(stage.outputs)} |"
        assert row in lines
