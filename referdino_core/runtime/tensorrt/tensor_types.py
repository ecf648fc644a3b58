# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The types of a stage's tensors, in PyTorch's terms and TensorRT's."""

from __future__ import annotations

import torch

from referdino_core.runtime.tensorrt.library import trt
from referdino_core.runtime.tensorrt.stage_tensors import LOW, StageTensor

_TYPES = {"float32": torch.float32, "bool": torch.bool, "int32": torch.int32}


def expected_type(tensor: StageTensor, low: torch.dtype) -> torch.dtype:
    """The type that a tensor has in an export whose precision is `low`."""
    return low if tensor.type == LOW else _TYPES[tensor.type]


def torch_type(data_type: trt.DataType) -> torch.dtype | None:
    """PyTorch's name of a TensorRT type; None for one that no stage uses."""
    names = {
        trt.DataType.FLOAT: torch.float32,
        trt.DataType.HALF: torch.float16,
        trt.DataType.BF16: torch.bfloat16,
        trt.DataType.INT32: torch.int32,
        trt.DataType.BOOL: torch.bool,
    }
    return names.get(data_type)
