# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Exported sets whose networks only the simulated TensorRT understands, and inputs for them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from simulated_tensorrt import SIZES, WINDOW

from referdino_core.export.stage_io import LOW_PRECISION, STAGES
from referdino_core.precision import PRECISIONS


def write_exported_set(folder: Path, precision: str = "fp16") -> Path:
    """A folder as `referdino export` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = {}
    for stage in STAGES:
        content = network_content(stage, precision)
        path = folder / f"{stage}.onnx"
        path.write_text(json.dumps(content))
        stages[stage] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    description = {
        "format": 2,
        "referdino": "0.1.0",
        "model": "swint",
        "checkpoint": "0" * 64,
        "height": SIZES["H"],
        "width": SIZES["W"],
        "tokens": SIZES["L"],
        "precision": precision,
        "deformable_attention": "gather",
        "window": WINDOW,
        "stages": stages,
    }
    (folder / "export.json").write_text(json.dumps(description))
    return folder


def stage_inputs(stage: str, commands: int = 1, frames: int = 1) -> dict[str, torch.Tensor]:
    """Inputs of a stage in the shapes that those networks have."""
    sizes = SIZES | {"N": commands, "T": frames}
    return {
        tensor.name: torch.zeros(tensor.shape(sizes), dtype=tensor.dtype(torch.float16))
        for tensor in STAGES[stage].inputs
    }


def network_content(stage: str, precision: str = "fp16") -> dict[str, Any]:
    """A simulated ONNX file: inputs and outputs with shapes, -1 where they may change."""

    def describe(tensors: Any) -> dict[str, Any]:
        return {
            tensor.name: [
                [SIZES.get(axis, -1) if isinstance(axis, str) else axis for axis in tensor.axes],
                PRECISIONS[precision].element_type
                if tensor.element_type == LOW_PRECISION
                else tensor.element_type,
            ]
            for tensor in tensors
        }

    described = STAGES[stage]
    inputs, outputs = describe(described.inputs), describe(described.outputs)
    return {"stage": stage, "inputs": inputs, "outputs": outputs}
