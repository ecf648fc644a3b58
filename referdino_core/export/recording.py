# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of a model as static ONNX graphs, recorded by PyTorch's exporter."""

from __future__ import annotations

import copy
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn

from referdino_core.export.simplification import OPSET, simplify
from referdino_core.network.fusion_encoder import BidirectionalAttention
from referdino_core.network.image_geometry import Shape, level_shapes
from referdino_core.network.referdino import ReferDINO
from referdino_core.ops.deformable_attention import ONNX_DOMAIN
from referdino_core.optimize.folded_fusion import FoldedBidirectionalAttention
from referdino_core.optimize.optimization import (
    OptimizedStages,
    copy_stages,
    replace_modules,
    replace_swin_stages,
)
from referdino_core.optimize.swin_stage import CachedSwinStage

STAGES = {
    "image_encoder": (("pixels",), ("tokens", "finest")),
    "grounder": (
        ("tokens", "finest", "text", "text_padding", "text_attention", "text_positions"),
        ("queries", "references", "fused_text", "mask_features"),
    ),
    "readout": (
        ("queries", "references", "text", "text_padding", "ages", "mask_features"),
        ("scores", "boxes", "mask_embeddings"),
    ),
}
"""Names of every stage's inputs and outputs, in their order."""


@dataclass(frozen=True)
class Sizes:
    """Of a recording: image in pixels, text tokens, commands, frames."""

    image: Shape
    tokens: int
    commands: int
    frames: int


def exportable_stages(model: ReferDINO, size: Shape, precision: torch.dtype) -> OptimizedStages:
    """The stages in operators that every runtime knows, on the CPU; the model stays as it is."""
    with torch.inference_mode(False), torch.no_grad():
        # The text encoder is not exported, and large.
        twin = copy.deepcopy(model, {id(model.text_encoder): None}).requires_grad_(False).cpu()
        stages = copy_stages(twin, size, precision)
        replace_swin_stages(stages.image.encoder.backbone, size, CachedSwinStage)
        for stage in (stages.image, stages.grounding, stages.readout):
            replace_modules(stage, {BidirectionalAttention: FoldedBidirectionalAttention})
    return stages


def stage_of(stages: OptimizedStages, name: str) -> nn.Module:
    """A stage by its name in `STAGES`."""
    return {
        "image_encoder": stages.image,
        "grounder": stages.grounding,
        "readout": stages.readout,
    }[name]


def example_inputs(
    model: ReferDINO, name: str, sizes: Sizes, precision: torch.dtype
) -> tuple[Tensor, ...]:
    """Inputs of a stage that are of the right shapes and types."""
    c = model.configuration
    levels, (height, width) = level_shapes(sizes.image, c.levels)
    cells = sum(rows * columns for rows, columns in levels)
    count, frames, length = sizes.commands, sizes.frames, sizes.tokens
    queries = min(c.surviving_queries[-1], cells)
    padding = torch.zeros(count, length, dtype=torch.bool)
    mask_features = torch.zeros(count, c.width, height, width, dtype=precision)
    if name == "image_encoder":
        return (torch.zeros(1, 3, *sizes.image),)
    if name == "grounder":
        return (
            torch.zeros(1, cells, c.width, dtype=precision),
            torch.zeros(1, c.swin.channels[0], height, width, dtype=precision),
            torch.zeros(count, length, c.width),
            padding,
            torch.ones(count, length, length, dtype=torch.bool),
            torch.zeros(count, length, dtype=torch.int32),
        )
    return (
        torch.zeros(count, frames, queries, c.width),
        torch.full((count, queries, 4), 0.5),
        torch.zeros(count, frames, length, c.width),
        padding,
        torch.zeros(count, frames),
        mask_features,
    )


@torch.no_grad()
def record(stage: nn.Module, name: str, inputs: tuple[Tensor, ...]) -> onnx.ModelProto:
    """A stage as a graph for inputs of exactly these shapes, simplified."""
    names, outputs = STAGES[name]
    file = io.BytesIO()
    options: dict[str, object] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with _quiet():
        torch.onnx.export(
            stage,
            inputs,
            file,  # type: ignore[arg-type]
            opset_version=OPSET,
            input_names=list(names),
            output_names=list(outputs),
            custom_opsets={} if name == "image_encoder" else {ONNX_DOMAIN: 1},
            **options,  # type: ignore[arg-type]
        )
    model = onnx.load_model_from_string(file.getvalue())
    add_missing_inputs(model, names, inputs)
    return simplify(model)


def add_missing_inputs(
    model: onnx.ModelProto, names: tuple[str, ...], tensors: tuple[Tensor, ...]
) -> None:
    """Give every stage all its inputs, also those that this model does not look at."""
    known = {info.name: info for info in model.graph.input}
    complete = []
    for name, tensor in zip(names, tensors, strict=True):
        if name in known:
            complete.append(known[name])
        else:
            element = onnx.helper.np_dtype_to_tensor_dtype(tensor.numpy().dtype)
            complete.append(onnx.helper.make_tensor_value_info(name, element, tensor.shape))
    del model.graph.input[:]
    model.graph.input.extend(complete)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings: shapes are fixed on purpose, and checked afterwards."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
