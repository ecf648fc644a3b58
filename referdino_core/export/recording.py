# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Records the stages of a model as static ONNX graphs with PyTorch's exporter."""

from __future__ import annotations

import copy
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.export.constant_folding import OPSET, fold_constants
from referdino_core.export.stage_io import GROUNDER, IMAGE_ENCODER, READOUT, StageSpec
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

_FILL = {"references": 0.5, "text_attention": 1}
"""Values of example inputs that are not zeros."""


def exportable_stages(model: ReferDINO, size: Shape, precision: torch.dtype) -> OptimizedStages:
    """The stages in operators that every runtime supports, on the CPU; the model is unchanged."""
    with torch.inference_mode(False), torch.no_grad():
        # Without the text encoder, which is large and not exported.
        copied = copy.deepcopy(model, {id(model.text_encoder): None}).requires_grad_(False).cpu()
        stages = copy_stages(copied, size, precision)
        replace_swin_stages(stages.image.encoder.backbone, size, CachedSwinStage)
        for stage in (stages.image, stages.grounding, stages.readout):
            replace_modules(stage, {BidirectionalAttention: FoldedBidirectionalAttention})
    return stages


def module_of(stages: OptimizedStages, stage: StageSpec) -> nn.Module:
    """The module of a stage."""
    modules = {
        IMAGE_ENCODER.name: stages.image,
        GROUNDER.name: stages.grounding,
        READOUT.name: stages.readout,
    }
    return modules[stage.name]


def axis_sizes(configuration: NetworkConfiguration, size: Shape, tokens: int) -> dict[str, int]:
    """Sizes of the static axes of `stage_io`, by letter.

    Args:
        configuration: of the network.
        size: (height, width) of the images in pixels.
        tokens: length that texts are padded to.
    """
    levels, (height, width) = level_shapes(size, configuration.levels)
    image_tokens = sum(rows * columns for rows, columns in levels)
    return {
        "H": size[0],
        "W": size[1],
        "L": tokens,
        "S": image_tokens,
        "d": configuration.width,
        "Q": min(configuration.surviving_queries[-1], image_tokens),
        "C": configuration.swin.channels[0],
        "h": height,
        "w": width,
    }


def example_inputs(
    stage: StageSpec, sizes: Mapping[str, int], low_precision: torch.dtype
) -> tuple[Tensor, ...]:
    """Inputs of a stage, of the right shapes and element types."""
    return tuple(
        torch.full(
            tensor.shape(sizes), _FILL.get(tensor.name, 0), dtype=tensor.dtype(low_precision)
        )
        for tensor in stage.inputs
    )


@torch.no_grad()
def record(module: nn.Module, stage: StageSpec, inputs: tuple[Tensor, ...]) -> onnx.ModelProto:
    """A stage as a graph for inputs of exactly these shapes, with constants folded."""
    file = io.BytesIO()
    options: dict[str, object] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with _quiet():
        torch.onnx.export(
            module,
            inputs,
            file,  # type: ignore[arg-type]
            opset_version=OPSET,
            input_names=list(stage.input_names),
            output_names=list(stage.output_names),
            custom_opsets={} if stage is IMAGE_ENCODER else {ONNX_DOMAIN: 1},
            **options,  # type: ignore[arg-type]
        )
    model = onnx.load_model_from_string(file.getvalue())
    add_missing_inputs(model, stage.input_names, inputs)
    return fold_constants(model)


def add_missing_inputs(
    model: onnx.ModelProto, names: tuple[str, ...], tensors: tuple[Tensor, ...]
) -> None:
    """Declare all inputs of a stage, also those that this model does not use."""
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
    """Suppress the exporter's warnings: shapes are static on purpose, and checked afterwards."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
