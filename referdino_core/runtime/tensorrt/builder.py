# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From an ONNX file to a serialized TensorRT engine, always strongly typed.

The types of a network's tensors are those that its ONNX file states. TensorRT 10 wants that asked
for, TensorRT 11 knows nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, SupportsInt

import torch

from referdino_core.errors import BuildCancelled, BuildError
from referdino_core.runtime.tensorrt import rtx
from referdino_core.runtime.tensorrt.libraries import TENSORRT
from referdino_core.runtime.tensorrt.library import (
    forget_errors,
    last_errors,
    load_tensorrt,
    loaded_library,
    parse_version,
    trt,
)
from referdino_core.runtime.tensorrt.networks import check_network, make_profile
from referdino_core.runtime.tensorrt.plugin import PLUGIN_NAME
from referdino_core.runtime.tensorrt.progress import Heartbeat, PhaseTree
from referdino_core.runtime.tensorrt.stage_tensors import AxisRange, Stage

_BYTES_PER_GIB = 1 << 30
_PARSER_ERRORS_SHOWN = 5

_log = logging.getLogger("referdino.tensorrt")

OnPhase = Callable[[float, str], None]
"""Called with the fraction of one build, 0..1, and the name of the phase."""


@dataclass(frozen=True)
class BuilderOptions:
    """What a user can change about building.

    workspace_gib: most memory that a layer may use as scratch, GiB; None leaves it to TensorRT.
    tf32: let float32 matrix products round their inputs to TF32, which is faster and less exact.
    """

    workspace_gib: float | None = None
    tf32: bool = False

    def parts(self) -> dict[str, Any]:
        """The options by name, for the key of an engine."""
        return asdict(self)


def strong_typing_flags() -> int:
    """What `create_network` wants in order to make a strongly typed network in this release."""
    major, _ = parse_version(str(load_tensorrt().__version__))
    if loaded_library() is TENSORRT and major >= 11:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def build_engine(
    onnx: Path,
    stage: Stage,
    ranges: Mapping[str, AxisRange],
    options: BuilderOptions,
    logger: trt.ILogger,
    *,
    low: torch.dtype,
    capability: str | None = None,
    timing_cache: Path | None = None,
    on_phase: OnPhase | None = None,
    cancelled: threading.Event | None = None,
) -> bytes:
    """Build the engine of one stage.

    This takes minutes and leaves Python's other threads running.

    Args:
        onnx: the network; weights outside of the file are found beside it.
        stage: its inputs and their axes.
        ranges: the sizes of the dynamic axes.
        options: see there.
        logger: what TensorRT reports to.
        low: the type of the export's precision.
        capability: of the GPUs that it is for, such as "8.9", which TensorRT for RTX wants; None
            is the GPU that is current.
        timing_cache: a file of TensorRT's own measurements, used and added to.
        on_phase: called as building goes on, from any thread; what it raises ends the build.
        cancelled: set to stop building.

    Raises:
        BuildError: TensorRT does not understand the network, or cannot build it.
        BuildCancelled: `cancelled` was set.
    """
    cancelled = cancelled or threading.Event()
    _check_not_cancelled(stage, cancelled)
    forget_errors(logger)
    builder: trt.Builder = _make_builder(logger)
    network: trt.INetworkDefinition = builder.create_network(flags=strong_typing_flags())
    # The parser owns weights that the network points to: it must live until the engine is built.
    parser: trt.OnnxParser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        reasons = _parser_errors(parser, logger)
        raise BuildError(f"TensorRT does not understand {onnx}: {reasons}.")
    check_network(network, stage, low, ranges)
    config: trt.IBuilderConfig = builder.create_builder_config()
    apply_options(options, config)
    if capability is not None:
        rtx.set_capability(config, capability)
    profile = make_profile(builder, network, stage, ranges)
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise BuildError(f"TensorRT refuses the ranges of the {stage.name} network's inputs.")
    cache = _attach_timing_cache(config, timing_cache)
    monitor = _Monitor(on_phase, cancelled)
    tensorrt_monitor = monitor.for_tensorrt()  # it must outlive the build
    config.progress_monitor = tensorrt_monitor
    with Heartbeat(lambda: f"building the {stage.name} engine: {monitor.text}"):
        engine = builder.build_serialized_network(network, config)
    if monitor.failure is not None:
        raise monitor.failure
    _check_not_cancelled(stage, cancelled)
    if engine is None:
        raise BuildError(f"TensorRT cannot build the {stage.name} engine: {last_errors(logger)}.")
    if timing_cache is not None and cache is not None:
        _write_timing_cache(cache, timing_cache)
    return bytes(engine)


def _make_builder(logger: trt.ILogger) -> trt.Builder:
    try:
        return trt.Builder(logger)
    except TypeError as error:  # which is how the bindings say that there is none
        raise BuildError(f"TensorRT cannot start building: {last_errors(logger)}.") from error


def _check_not_cancelled(stage: Stage, cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise BuildCancelled(f"Building the {stage.name} engine was cancelled.")


def _parser_errors(parser: trt.OnnxParser, logger: trt.ILogger) -> str:
    """What the parser says, and what our plugin told the logger, which the parser leaves out."""
    lines = [line for line in getattr(logger, "errors", ()) if line.startswith(PLUGIN_NAME)]
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
    """Set what a user chose, and all that TensorRT would choose otherwise than we do."""
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


def _write_timing_cache(cache: trt.ITimingCache, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(bytes(cache.serialize()))
        temporary.replace(path)
    except OSError as error:
        # The next build only takes longer without it.
        _log.warning("%s cannot be written: %s", path, error.strerror)


class _Monitor:
    """Follows one build: its phases, whether it is to stop, and what a callback raised."""

    def __init__(self, on_phase: OnPhase | None, cancelled: threading.Event) -> None:
        self.failure: BaseException | None = None
        self._tree = PhaseTree()
        self._phase = ""
        self._on_phase = on_phase
        self._cancelled = cancelled
        self._telling = threading.Lock()
        self._told: tuple[int, str] = (-1, "")

    @property
    def text(self) -> str:
        """Percentage and phase, for people."""
        return f"{self._tree.fraction:.0%}, {self._phase or 'starting'}"

    def for_tensorrt(self) -> trt.IProgressMonitor:
        """What TensorRT calls, from any of its threads. Nothing may be raised out of it."""
        follower = self

        class Monitor(trt.IProgressMonitor):
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(
                self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt
            ) -> None:
                follower._tree.start(phase_name, parent_phase, int(num_steps))
                follower._tell(phase_name)

            def phase_finish(self, phase_name: str) -> None:
                follower._tree.finish(phase_name)
                follower._tell(None)

            def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
                follower._tree.complete_step(phase_name, int(step))
                follower._tell(phase_name)
                return not follower._cancelled.is_set() and follower.failure is None

        return Monitor()

    def _tell(self, phase: str | None) -> None:
        with self._telling:
            self._phase = phase or self._phase
            news = (int(1000 * self._tree.fraction), self._phase)
            if self._on_phase is None or self.failure is not None or news == self._told:
                return
            self._told = news
            try:
                self._on_phase(self._tree.fraction, self._phase)
            except BaseException as error:
                self.failure = error
