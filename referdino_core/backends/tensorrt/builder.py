# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Builds a serialized TensorRT engine from an ONNX file, always strongly typed.

The element types of a network's tensors are those of its ONNX file. TensorRT 10 has to be asked for
that, TensorRT 11 knows nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from referdino_core.backends.tensorrt import rtx
from referdino_core.backends.tensorrt.build_progress import BuildObserver, Heartbeat
from referdino_core.backends.tensorrt.engine_file import write_for_speed
from referdino_core.backends.tensorrt.library import (
    TENSORRT,
    forget_errors,
    last_errors,
    load_tensorrt,
    loaded_library,
    parse_version,
    trt,
)
from referdino_core.backends.tensorrt.networks import AxisRange, check_network, make_profile
from referdino_core.errors import BuildError
from referdino_core.export.stage_io import StageSpec
from referdino_core.ops.deformable_attention import ONNX_OPERATOR
from referdino_core.progress import ProgressMonitor

_BYTES_PER_GIB = 1 << 30
_PARSER_ERRORS_SHOWN = 5

_log = logging.getLogger("referdino.tensorrt")


@dataclass(frozen=True)
class BuilderOptions:
    """User options for building engines.

    Attributes:
        workspace_gib: most scratch memory of a layer, GiB; None leaves it to TensorRT.
        tf32: let float32 matrix multiplications round their inputs to TF32, which is faster and
            less exact.
    """

    workspace_gib: float | None = None
    tf32: bool = False

    def parts(self) -> dict[str, Any]:
        """The options by name, for the key of an engine."""
        return asdict(self)


def strong_typing_flags() -> int:
    """The flags of `create_network` for a strongly typed network in this release."""
    major, _ = parse_version(str(load_tensorrt().__version__))
    if loaded_library() is TENSORRT and major >= 11:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def build_engine(
    onnx: Path,
    stage: StageSpec,
    ranges: Mapping[str, AxisRange],
    options: BuilderOptions,
    logger: trt.ILogger,
    *,
    low_precision: torch.dtype,
    capability: str | None = None,
    timing_cache: Path | None = None,
    monitor: ProgressMonitor | None = None,
) -> bytes:
    """Build the engine of one stage.

    This takes minutes, and leaves Python's other threads running.

    Args:
        onnx: the network; external weights are in the same folder.
        stage: its inputs and outputs.
        ranges: of the dynamic axes' sizes.
        options: of the build.
        logger: TensorRT's logger.
        low_precision: the element type of the export's precision.
        capability: compute capability of the target GPUs, such as "8.9", which TensorRT for RTX
            requires; None is the current GPU.
        timing_cache: file of TensorRT's own measurements, used and added to.
        monitor: for progress of this build, in TensorRT's phases, and cancellation.

    Raises:
        BuildError: TensorRT does not understand the network, or cannot build it.
        Cancelled: building was cancelled.
    """
    monitor = monitor or ProgressMonitor()
    task = f"Building the {stage.name} engine"
    monitor.check(task)
    forget_errors(logger)
    builder: trt.Builder = _make_builder(logger)
    network: trt.INetworkDefinition = builder.create_network(flags=strong_typing_flags())
    # The parser owns weights that the network points to: it must live until the engine is built.
    _parser: trt.OnnxParser = _parse(onnx, network, logger)
    check_network(network, stage, low_precision, ranges)
    config: trt.IBuilderConfig = _make_config(builder, network, stage, ranges, options)
    if capability is not None:
        rtx.set_capability(config, capability)
    cache: trt.ITimingCache | None = _attach_timing_cache(config, timing_cache)
    observer = BuildObserver(monitor)
    tensorrt_monitor = observer.for_tensorrt()  # it must outlive the build
    config.progress_monitor = tensorrt_monitor
    with Heartbeat(lambda: f"building the {stage.name} engine: {observer.text}"):
        engine = builder.build_serialized_network(network, config)
    if observer.failure is not None:
        raise observer.failure
    monitor.check(task)
    if engine is None:
        raise BuildError(f"TensorRT cannot build the {stage.name} engine: {last_errors(logger)}.")
    if timing_cache is not None and cache is not None:
        write_for_speed(timing_cache, bytes(cache.serialize()))
    return bytes(engine)


def _make_builder(logger: trt.ILogger) -> trt.Builder:
    try:
        return trt.Builder(logger)
    except TypeError as error:  # which is how the bindings say that there is none
        raise BuildError(f"TensorRT cannot start building: {last_errors(logger)}.") from error


def _make_config(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    stage: StageSpec,
    ranges: Mapping[str, AxisRange],
    options: BuilderOptions,
) -> trt.IBuilderConfig:
    config: trt.IBuilderConfig = builder.create_builder_config()
    apply_options(options, config)
    profile = make_profile(builder, network, stage, ranges)
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise BuildError(f"TensorRT refuses the ranges of the {stage.name} network's inputs.")
    return config


def _parse(onnx: Path, network: trt.INetworkDefinition, logger: trt.ILogger) -> trt.OnnxParser:
    parser: trt.OnnxParser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        reasons = _parser_errors(parser, logger)
        raise BuildError(f"TensorRT does not understand {onnx}: {reasons}.")
    return parser


def _parser_errors(parser: trt.OnnxParser, logger: trt.ILogger) -> str:
    """Errors of the parser, and errors of our plugin from the log, which the parser omits."""
    lines = [line for line in getattr(logger, "errors", ()) if line.startswith(ONNX_OPERATOR)]
    for index in range(parser.num_errors):
        error: trt.ParserError = parser.get_error(index)
        where = f"node {error.node()}"
        if error.node_operator() or error.node_name():
            where += f" ({' '.join(filter(None, (error.node_operator(), error.node_name())))})"
        lines.append(f"{where}: {' '.join(error.desc().split())}")
    shown = lines[:_PARSER_ERRORS_SHOWN]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    return "; ".join(shown) or "its parser gave no reason"


def apply_options(options: BuilderOptions, config: trt.IBuilderConfig) -> None:
    """Set the user's options, and those whose defaults in TensorRT differ from ours."""
    if options.workspace_gib is not None:
        size = int(options.workspace_gib * _BYTES_PER_GIB)
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)


def _attach_timing_cache(config: trt.IBuilderConfig, path: Path | None) -> trt.ITimingCache | None:
    if path is None:
        return None
    content = path.read_bytes() if path.is_file() else b""
    cache: trt.ITimingCache | None = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        _log.warning("%s is not used: TensorRT does not accept it; starting it afresh", path.name)
        fresh: trt.ITimingCache = config.create_timing_cache(b"")
        config.set_timing_cache(fresh, ignore_mismatch=False)
        return fresh
    return cache
