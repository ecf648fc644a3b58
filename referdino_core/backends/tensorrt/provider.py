# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The engines of an exported network, for this machine's GPU or others; missing ones are built."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from referdino_core.backends.tensorrt import plugin, rtx
from referdino_core.backends.tensorrt.builder import BuilderOptions, build_engine
from referdino_core.backends.tensorrt.engine_cache import (
    CachedEngine,
    EngineCache,
    engine_directory,
    network_checksum,
)
from referdino_core.backends.tensorrt.engine_file import EngineKey
from referdino_core.backends.tensorrt.library import (
    TENSORRT_RTX,
    forwarding_logger,
    load_tensorrt,
    loaded_library,
    trt,
)
from referdino_core.backends.tensorrt.networks import AxisRange
from referdino_core.errors import TensorRTUnavailable
from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.export.stage_io import COMMANDS, FRAMES, STAGES
from referdino_core.precision import PRECISIONS
from referdino_core.progress import Progress, ProgressMonitor

DEFAULT_MAX_COMMANDS = 8

BUNDLED_FOLDER = "engines"
"""Within an exported network: engines that were built ahead of time."""

_log = logging.getLogger("referdino.tensorrt")


@dataclass(frozen=True)
class Target:
    """The GPU that engines are built for.

    Attributes:
        capability: compute capability, such as "8.9".
        gpu: name of the GPU, None for all GPUs of the capability.
        device: this machine's GPU; None if the engines are for another machine.
    """

    capability: str
    gpu: str | None
    device: torch.device | None


@dataclass(frozen=True)
class EngineProvider:
    """Loads or builds the engines of one exported network, one after the other.

    Attributes:
        exported: the network. cache: of the engines. ranges: of the dynamic axes' sizes.
        options: of the build. target: the GPU. logger: TensorRT's logger.
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
        monitor: ProgressMonitor | None = None,
    ) -> dict[str, CachedEngine]:
        """The engines of all stages by name.

        Args:
            force: build them even if they exist.
            monitor: for progress, in phases such as "grounder" and TensorRT's own name of what it
                does, and cancellation; engines that are complete are kept.

        Raises:
            Cancelled: building was cancelled.
            BuildError: TensorRT does not understand or cannot build a network.
            EngineCacheError: the cache cannot be read or written.
        """
        whole = monitor or ProgressMonitor()
        engines = {}
        for index, name in enumerate(STAGES):
            part = _part(whole, name, index, len(STAGES))
            part.report(0.0)
            engines[name] = self._provide(name, force, part)
            part.report(1.0)
        return engines

    def rebuild(
        self,
        name: str,
        *,
        monitor: ProgressMonitor | None = None,
    ) -> CachedEngine:
        """Build the engine of one stage, whatever the cache holds; as `provide_all` otherwise."""
        return self._provide(name, True, _part(monitor or ProgressMonitor(), name, 0, 1))

    def _provide(
        self,
        name: str,
        force: bool,
        monitor: ProgressMonitor,
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
                    low_precision=PRECISIONS[self.exported.precision].dtype,
                    capability=self.target.capability if self._is_rtx else None,
                    timing_cache=None if self._is_rtx else self._timing_cache(key),
                    monitor=monitor,
                )

        engine = self.cache.provide(key, onnx, build, force=force, monitor=monitor)
        _log.info("%s engine: %s %s", name, "built" if engine.was_built else "using", engine.path)
        return engine

    def kernels(self, engine: CachedEngine) -> Path | None:
        """The file of the kernels that the library compiles as it loads and runs an engine.

        None if it compiles none.
        """
        return self.cache.folder / f"{engine.path.stem}.kernels" if self._is_rtx else None

    @property
    def _is_rtx(self) -> bool:
        return loaded_library() is TENSORRT_RTX

    def _key(self, name: str) -> EngineKey:
        needs_plugin = plugin.contains_plugin(self.exported.files[name])
        axes = {axis for tensor in STAGES[name].inputs for axis in tensor.axes}
        shapes: dict[str, int | list[int]] = {
            axis: size for axis, size in self.exported.axis_sizes.items() if axis in axes
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


def _part(whole: ProgressMonitor, stage: str, index: int, count: int) -> ProgressMonitor:
    """The monitor of one stage's engine, among `count` that are built one after the other."""

    def report(progress: Progress) -> None:
        phase = f"{stage} {progress.phase}".strip()
        whole.report((index + progress.fraction) / count, phase=phase)

    return ProgressMonitor(report, whole.cancelled)


def open_provider(
    folder: Path,
    cache_folder: Path | None = None,
    max_commands: int = DEFAULT_MAX_COMMANDS,
    options: BuilderOptions | None = None,
    device: torch.device | str = "cuda",
    architecture: str | None = None,
) -> EngineProvider:
    """Check that everything is available that engines need, and load the plugin if necessary.

    Args:
        folder: what `referdino export` wrote; engines in its folder `engines` are used if they fit.
        cache_folder: of the engines; None is the folder `engines` of referdino's cache.
        max_commands: most commands that are grounded together; one is the fastest.
        options: of the build.
        device: the GPU that the engines are for.
        architecture: of other GPUs that they are for instead, such as "sm_89"; this machine needs
            no GPU then, and engines are kept in the folder `engines` of the exported network.

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
    bundled: Path | None = exported.folder / BUNDLED_FOLDER
    built = engine_directory()
    if target.device is None:
        built, bundled = exported.folder / BUNDLED_FOLDER, None
    return EngineProvider(
        exported=exported,
        cache=EngineCache(cache_folder or built, bundled),
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
