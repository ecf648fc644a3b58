# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The engines of an exported network, for this machine's GPU or others, built where missing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from referdino_core.errors import TensorRTUnavailable
from referdino_core.export.exported_set import PRECISIONS, ExportedSet, read_exported_set
from referdino_core.runtime.tensorrt import plugin, rtx
from referdino_core.runtime.tensorrt.builder import BuilderOptions, OnPhase, build_engine
from referdino_core.runtime.tensorrt.engine_cache import (
    CachedEngine,
    EngineCache,
    engine_directory,
    network_checksum,
)
from referdino_core.runtime.tensorrt.engine_key import EngineKey
from referdino_core.runtime.tensorrt.libraries import TENSORRT_RTX
from referdino_core.runtime.tensorrt.library import (
    forwarding_logger,
    load_tensorrt,
    loaded_library,
    trt,
)
from referdino_core.runtime.tensorrt.progress import BuildProgress, OnProgress
from referdino_core.runtime.tensorrt.stage_tensors import COMMANDS, FRAMES, STAGES, AxisRange

DEFAULT_MAX_COMMANDS = 8

SHIPPED_FOLDER = "engines"
"""Within an exported network: engines that were built ahead of time and come along with it."""

_log = logging.getLogger("referdino.tensorrt")


@dataclass(frozen=True)
class Target:
    """What engines are built for.

    capability: the compute capability, such as "8.9". gpu: its name, None for all GPUs of the
    capability. device: this machine's GPU; None where they are to run on another machine.
    """

    capability: str
    gpu: str | None
    device: torch.device | None


@dataclass(frozen=True)
class EngineProvider:
    """Loads or builds the engines of one exported network, one after the other.

    exported: the network. cache: where engines are kept. ranges: the sizes of the dynamic axes.
    options: how to build. target: what for. logger: what TensorRT reports to.
    """

    exported: ExportedSet
    cache: EngineCache
    ranges: Mapping[str, AxisRange]
    options: BuilderOptions
    target: Target
    logger: trt.ILogger

    def provide_all(
        self,
        *,
        force: bool = False,
        on_progress: OnProgress | None = None,
        cancelled: threading.Event | None = None,
    ) -> dict[str, CachedEngine]:
        """The engines of all stages by name.

        Args:
            force: build them even where they are there.
            on_progress: called as building goes on, from any thread; what it raises ends it.
            cancelled: set to stop; engines that are complete are kept.

        Raises:
            BuildCancelled: `cancelled` was set.
            BuildError: TensorRT does not understand or cannot build a network.
            EngineCacheError: the cache cannot be read or written.
        """
        engines = {}
        for index, name in enumerate(STAGES):

            def tell(fraction: float, phase: str, name: str = name, index: int = index) -> None:
                if on_progress is not None:
                    on_progress(BuildProgress((index + fraction) / len(STAGES), name, phase))

            tell(0.0, "")
            engines[name] = self._provide(name, force, tell, cancelled)
            tell(1.0, "")
        return engines

    def rebuild(
        self,
        name: str,
        *,
        on_progress: OnProgress | None = None,
        cancelled: threading.Event | None = None,
    ) -> CachedEngine:
        """Build the engine of one stage, whatever the cache holds; as `provide_all` otherwise."""

        def tell(fraction: float, phase: str) -> None:
            if on_progress is not None:
                on_progress(BuildProgress(fraction, name, phase))

        return self._provide(name, True, tell, cancelled)

    def _provide(
        self,
        name: str,
        force: bool,
        tell: OnPhase,
        cancelled: threading.Event | None,
    ) -> CachedEngine:
        onnx = self.exported.files[name]
        key = self._key(name)

        def build() -> bytes:
            is_here = self.target.device is not None
            with torch.cuda.device(self.target.device) if is_here else nullcontext():
                return build_engine(
                    onnx,
                    STAGES[name],
                    self.ranges,
                    self.options,
                    self.logger,
                    low=getattr(torch, PRECISIONS[self.exported.precision]),
                    capability=self.target.capability if self._is_rtx else None,
                    timing_cache=None if self._is_rtx else self._timing_cache(key),
                    on_phase=tell,
                    cancelled=cancelled,
                )

        engine = self.cache.provide(key, onnx, build, force=force, cancelled=cancelled)
        _log.info("%s engine: %s %s", name, "built" if engine.was_built else "using", engine.path)
        return engine

    def kernels(self, engine: CachedEngine) -> Path | None:
        """Where the kernels of an engine are kept that the library compiles as it loads and runs.

        None where it compiles none.
        """
        return self.cache.folder / f"{engine.path.stem}.kernels" if self._is_rtx else None

    @property
    def _is_rtx(self) -> bool:
        return loaded_library() is TENSORRT_RTX

    def _key(self, name: str) -> EngineKey:
        needs_plugin = plugin.contains_plugin(self.exported.files[name])
        axes = {axis for tensor in STAGES[name].inputs for axis in tensor.axes}
        fixed = {
            "H": self.exported.height,
            "W": self.exported.width,
            "L": self.exported.tokens,
        }
        shapes: dict[str, int | list[int]] = {
            axis: size for axis, size in fixed.items() if axis in axes
        }
        for axis, bounds in self.ranges.items():
            if axis in axes:
                shapes[axis] = [bounds.minimum, bounds.optimum, bounds.maximum]
        return EngineKey(
            stage=name,
            onnx_sha256=network_checksum(self.exported.files[name]),
            library=f"{loaded_library().name} {trt.__version__}",
            gpu=self.target.gpu,
            compute_capability=self.target.capability,
            shapes=shapes,
            precision=f"{self.exported.precision}, strongly typed",
            plugin=plugin.PLUGIN_TITLE if needs_plugin else None,
            builder_options=self.options.parts(),
        )

    def _timing_cache(self, key: EngineKey) -> Path:
        gpu = "".join(letter if letter.isalnum() else "-" for letter in str(key.gpu))
        return self.cache.folder / f"timing-{gpu}-{trt.__version__}.cache"


def open_provider(
    folder: Path,
    cache_folder: Path | None = None,
    max_commands: int = DEFAULT_MAX_COMMANDS,
    options: BuilderOptions | None = None,
    device: torch.device | str = "cuda",
    architecture: str | None = None,
) -> EngineProvider:
    """Check that all is there that engines need, and load the plugin where the network has it.

    Args:
        folder: what `referdino export` wrote; engines in its folder `engines` are used if they fit.
        cache_folder: where engines are kept; None is the folder `engines` of referdino's cache.
        max_commands: most commands that are grounded together; fastest is one.
        options: how to build.
        device: the GPU that the engines are for.
        architecture: of other GPUs that they are for instead, such as "sm_89"; this machine needs
            none then, and engines are kept in the folder `engines` of the exported network.

    Raises:
        ExportedSetError: the folder holds no exported network.
        TensorRTUnavailable: TensorRT, its plugin or a GPU is missing, or it does not build for the
            architecture.
        EngineCacheError: the cache's folder cannot be made.
    """
    exported = read_exported_set(folder)
    load_tensorrt(None if architecture is None else TENSORRT_RTX)
    target = _target_here(device) if architecture is None else _target_elsewhere(architecture)
    library = None
    if any(plugin.contains_plugin(path) for path in exported.files.values()):
        library = plugin.required_library()
    logger = forwarding_logger()
    if library is not None:
        plugin.load_library(library)
    shipped = exported.folder / SHIPPED_FOLDER
    built, came_along = (shipped, None) if target.device is None else (engine_directory(), shipped)
    return EngineProvider(
        exported=exported,
        cache=EngineCache(cache_folder or built, came_along),
        ranges={
            COMMANDS: AxisRange(1, 1, max_commands),
            FRAMES: AxisRange(1, exported.window, exported.window),
        },
        options=options or BuilderOptions(),
        target=target,
        logger=logger,
    )


def _target_elsewhere(architecture: str) -> Target:
    return Target(rtx.required_capability(architecture), None, None)


def _target_here(device: torch.device | str) -> Target:
    gpu = _gpu(device)
    properties = torch.cuda.get_device_properties(gpu)
    capability = f"{properties.major}.{properties.minor}"
    if loaded_library() is TENSORRT_RTX:
        return Target(rtx.required_capability(capability), None, gpu)
    return Target(capability, properties.name, gpu)


def _gpu(device: torch.device | str) -> torch.device:
    wanted = torch.device(device)
    if wanted.type != "cuda":
        raise TensorRTUnavailable(f"TensorRT runs on an NVIDIA GPU, not on {wanted}.")
    if not torch.cuda.is_available():
        raise TensorRTUnavailable(
            "TensorRT needs an NVIDIA GPU and a PyTorch that was built for CUDA: "
            f"PyTorch {torch.__version__} finds no GPU."
        )
    index = torch.cuda.current_device() if wanted.index is None else wanted.index
    if index >= torch.cuda.device_count():
        raise TensorRTUnavailable(f"there is no GPU {index}.")
    torch.cuda.init()
    return torch.device("cuda", index)
