# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The engines of an exported network for the GPU of this machine, built where they are missing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.runtime.tensorrt import plugin
from referdino_core.runtime.tensorrt.builder import BuilderOptions, OnPhase, build_engine
from referdino_core.runtime.tensorrt.engine_cache import (
    CachedEngine,
    EngineCache,
    EngineKey,
    engine_directory,
    network_checksum,
)
from referdino_core.runtime.tensorrt.errors import TensorRTUnavailable
from referdino_core.runtime.tensorrt.library import forwarding_logger, load_tensorrt, trt
from referdino_core.runtime.tensorrt.progress import BuildProgress, OnProgress
from referdino_core.runtime.tensorrt.stage_tensors import COMMANDS, FRAMES, STAGES, AxisRange

DEFAULT_MAX_COMMANDS = 8

_log = logging.getLogger("referdino.tensorrt")


@dataclass(frozen=True)
class EngineProvider:
    """Loads or builds the engines of one exported network, one after the other.

    exported: the network. cache: where engines are kept. ranges: the sizes of the dynamic axes.
    options: how to build. device: the GPU. logger: what TensorRT reports to. plugin_library: None
    where the network needs none.
    """

    exported: ExportedSet
    cache: EngineCache
    ranges: Mapping[str, AxisRange]
    options: BuilderOptions
    device: torch.device
    logger: trt.ILogger
    plugin_library: Path | None

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
            with torch.cuda.device(self.device):
                return build_engine(
                    onnx,
                    STAGES[name],
                    self.ranges,
                    self.options,
                    self.logger,
                    timing_cache=self._timing_cache(key),
                    on_phase=tell,
                    cancelled=cancelled,
                )

        engine = self.cache.provide(key, onnx, build, force=force, cancelled=cancelled)
        _log.info("%s engine: %s %s", name, "built" if engine.was_built else "using", engine.path)
        return engine

    def _key(self, name: str) -> EngineKey:
        properties = torch.cuda.get_device_properties(self.device)
        needs_plugin = plugin.contains_plugin(self.exported.files[name])
        library = self.plugin_library if needs_plugin else None
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
            tensorrt=str(trt.__version__),
            gpu=properties.name,
            compute_capability=f"{properties.major}.{properties.minor}",
            shapes=shapes,
            precision=f"{self.exported.precision}, strongly typed",
            plugin_sha256=None if library is None else plugin.library_checksum(library),
            builder_options=self.options.parts(),
        )

    def _timing_cache(self, key: EngineKey) -> Path:
        gpu = "".join(letter if letter.isalnum() else "-" for letter in key.gpu)
        return self.cache.folder / f"timing-{gpu}-{key.tensorrt}.cache"


def open_provider(
    folder: Path,
    cache_folder: Path | None = None,
    max_commands: int = DEFAULT_MAX_COMMANDS,
    options: BuilderOptions | None = None,
    device: torch.device | str = "cuda",
) -> EngineProvider:
    """Check that all is there that engines need, and load the plugin where the network has it.

    Args:
        folder: what `referdino export` wrote.
        cache_folder: where engines are kept; None is the folder `engines` of referdino's cache.
        max_commands: most commands that are grounded together; fastest is one.
        options: how to build.
        device: the GPU.

    Raises:
        ExportedSetError: the folder holds no exported network.
        TensorRTUnavailable: TensorRT, its plugin or a GPU is missing.
        EngineCacheError: the cache's folder cannot be made.
    """
    exported = read_exported_set(folder)
    load_tensorrt()
    library = None
    if any(plugin.contains_plugin(path) for path in exported.files.values()):
        library = plugin.required_library()
    gpu = _gpu(device)
    logger = forwarding_logger()
    if library is not None:
        plugin.load_library(library)
    return EngineProvider(
        exported=exported,
        cache=EngineCache(cache_folder or engine_directory()),
        ranges={
            COMMANDS: AxisRange(1, 1, max_commands),
            FRAMES: AxisRange(1, exported.window, exported.window),
        },
        options=options or BuilderOptions(),
        device=gpu,
        logger=logger,
        plugin_library=library,
    )


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
