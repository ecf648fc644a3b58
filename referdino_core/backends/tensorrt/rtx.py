# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Functions for TensorRT for RTX alone, except for opening it (rtx_links.py).

It builds for GPUs of a compute capability, on any machine, in two steps: the engine, which needs no
GPU, and kernels, which are compiled when the engine is loaded and run, and stored in a runtime
cache. It measures nothing during the build and therefore needs no timing cache. It records CUDA
graphs itself, since it replaces kernels at run time.
"""

from __future__ import annotations

import logging
import re
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.backends.tensorrt.engine_file import write_for_speed
from referdino_core.backends.tensorrt.library import last_errors, trt
from referdino_core.errors import EngineError, TensorRTUnavailable

if TYPE_CHECKING:
    import tensorrt_rtx as rtx
else:
    rtx = trt

_ARCHITECTURE = re.compile(r"(?:sm_?)?(\d{1,2})\.?(\d)", re.IGNORECASE)

_log = logging.getLogger("referdino.tensorrt")


def capabilities() -> dict[str, rtx.ComputeCapability]:
    """The supported compute capabilities such as "8.9", in ascending order."""
    found = {}
    for name in dir(rtx.ComputeCapability):
        match = _ARCHITECTURE.fullmatch(name)
        if match:
            member: rtx.ComputeCapability = getattr(rtx.ComputeCapability, name)
            found[f"{match[1]}.{match[2]}"] = member
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def architecture(capability: str) -> str:
    """The name of a compute capability's architecture: sm_89 for 8.9."""
    return f"sm_{capability.replace('.', '')}"


def required_capability(name: str) -> str:
    """The compute capability, "8.9", that sm_89 or 8.9 stands for.

    Raises:
        TensorRTUnavailable: TensorRT for RTX does not build for it; the message lists what it does.
    """
    known = capabilities()
    match = _ARCHITECTURE.fullmatch(name.strip())
    capability = f"{match[1]}.{match[2]}" if match else None
    if capability not in known:
        raise TensorRTUnavailable(
            f"TensorRT for RTX {rtx.__version__} builds for "
            f"{', '.join(architecture(one) for one in known)}, not for {name!r}: other GPUs need "
            "TensorRT itself, which builds on the machine that has the GPU."
        )
    return capability


def set_capability(config: rtx.IBuilderConfig, capability: str) -> None:
    """Build for GPUs of one compute capability, whatever GPU this machine has, if any."""
    config.num_compute_capabilities = 1
    config.set_compute_capability(capabilities()[capability], 0)


def make_context(
    engine: rtx.ICudaEngine, kernels: Path, logger: rtx.ILogger
) -> rtx.IExecutionContext | None:
    """An execution context that loads compiled kernels from a file, and saves new ones at the end.

    Args:
        engine: that it runs.
        kernels: the file; kernels of another GPU or release are not used.
        logger: TensorRT's logger.

    Raises:
        EngineError: TensorRT for RTX cannot make what a context needs.
    """
    config: rtx.IRuntimeConfig | None = engine.create_runtime_config()
    cache: rtx.IRuntimeCache | None = None if config is None else config.create_runtime_cache()
    if config is None or cache is None:
        raise EngineError(f"TensorRT for RTX cannot prepare an engine: {last_errors(logger)}.")
    content = kernels.read_bytes() if kernels.is_file() else b""
    if content and not cache.deserialize(content):
        _log.info("%s is not used: TensorRT does not accept it", kernels.name)
    config.set_runtime_cache(cache)
    config.cuda_graph_strategy = rtx.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    context: rtx.IExecutionContext | None = engine.create_execution_context(config)
    if context is not None:
        keep_kernels(cache, kernels)
        weakref.finalize(context, keep_kernels, cache, kernels)
    return context


def keep_kernels(cache: rtx.IRuntimeCache, path: Path) -> None:
    """Write the kernels that were compiled so far to a file, without which loading takes longer."""
    content: rtx.IHostMemory | None = cache.serialize()
    if content is not None:
        write_for_speed(path, bytes(content))
