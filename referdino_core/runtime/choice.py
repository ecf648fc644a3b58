# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which runtime computes the network: the one that is asked for, or the fastest that is here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch

from referdino_core.configuration import PRECISIONS, RUNTIMES
from referdino_core.errors import RuntimeUnavailable
from referdino_core.kernels import fused_kernel
from referdino_core.network.referdino import ReferDINO
from referdino_core.runtime.stages import Stages, Watch
from referdino_core.user_files import user_path

logger = logging.getLogger("referdino.runtime")

GET_ONNXRUNTIME = "install it with: pip install onnx onnxruntime"


def open_stages(
    model: ReferDINO,
    runtime: str = "auto",
    precision: str = "fp32",
    exports: str | Path | None = None,
    watch: Watch | None = None,
) -> Stages:
    """The stages of a model on a runtime; what was chosen, and why, is in the log.

    Args:
        model: on its device.
        runtime: "torch", "onnxruntime", "tensorrt", or "auto" for the fastest that is here.
        precision: "fp32", "bf16" or "fp16", of the tensor stages.
        exports: folder that `referdino export` wrote; by default ONNX Runtime and TensorRT make
            and keep their own where none fits.
        watch: hears of progress where getting ready takes long, and can cancel it.

    Raises:
        ReferDINOError: the runtime cannot be had here, or not in this precision; the message says
            what is missing and how to get it.
    """
    if precision not in PRECISIONS:
        raise RuntimeUnavailable(
            f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}."
        )
    if runtime not in RUNTIMES:
        raise RuntimeUnavailable(
            f"There is no runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}."
        )
    folder = None if exports is None else user_path(exports)
    chosen, reason = runtime, "as asked"
    if runtime == "auto":
        chosen, reason = fastest(model.device, precision)
    stages = _OPENERS[chosen](model, precision, folder, watch or Watch())
    logger.info("Runtime: %s, %s, on %s (%s).", chosen, precision, stages.device, reason)
    return stages


def fastest(device: torch.device, precision: str) -> tuple[str, str]:
    """Name of the runtime that "auto" stands for, and why."""
    if device.type == "cuda" and find_spec("tensorrt") is None:
        return "torch", "TensorRT is not installed"
    if device.type == "cuda" and precision == "bf16":
        return "torch", "TensorRT is used for fp32 and fp16"
    if device.type == "cuda":
        return "tensorrt", "TensorRT is installed"
    if fused_kernel() is not None:
        return "torch", "with the fused CPU kernels it is the fastest on a CPU"
    if find_spec("onnxruntime") is None:
        return "torch", "neither the fused CPU kernels nor another runtime is here"
    if precision != "fp32":
        return "torch", "ONNX Runtime is used for fp32 on a CPU"
    return "onnxruntime", "the fused CPU kernels are not built"


def runtimes_here() -> dict[str, str]:
    """For every runtime by name: whether it is installed, or how to get it."""
    return {
        "torch": "yes",
        "onnxruntime": "yes" if find_spec("onnxruntime") else f"no; {GET_ONNXRUNTIME}",
        "tensorrt": "yes" if find_spec("tensorrt") else "no; it comes with JetPack, or from NVIDIA",
    }


def _torch(model: ReferDINO, precision: str, exports: Path | None, watch: Watch) -> Stages:
    from referdino_core.runtime.torch_stages import TorchStages

    if model.device.type == "cpu" and precision == "fp16":
        raise RuntimeUnavailable(
            "PyTorch computes in fp16 on GPUs only; on a CPU choose the precision bf16 or fp32."
        )
    return TorchStages(model, precision)


def _onnxruntime(model: ReferDINO, precision: str, exports: Path | None, watch: Watch) -> Stages:
    if find_spec("onnxruntime") is None:
        raise RuntimeUnavailable(f"ONNX Runtime is not installed; {GET_ONNXRUNTIME}")
    from referdino_core.runtime.onnx_stages import OnnxRuntimeStages

    return OnnxRuntimeStages(model, precision, exports, watch)


def _tensorrt(model: ReferDINO, precision: str, exports: Path | None, watch: Watch) -> Stages:
    if model.device.type != "cuda":
        raise RuntimeUnavailable(
            f"TensorRT runs on NVIDIA GPUs, and the device is {model.device}; choose device cuda, "
            "or the runtime torch or onnxruntime."
        )
    from referdino_core.runtime.tensorrt_stages import TensorRTRuntime

    return TensorRTRuntime(model, precision, exports, watch)


_OPENERS: dict[str, Callable[[ReferDINO, str, Path | None, Watch], Stages]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
}
