# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The backend of TensorRT, and the engines of one exported network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from referdino_core.backends.backend import EncodedImage, FrameGrounding
from referdino_core.backends.exported_backend import ExportedBackend
from referdino_core.backends.tensorrt.builder import BuilderOptions
from referdino_core.backends.tensorrt.engine import TensorRTEngine
from referdino_core.backends.tensorrt.engine_cache import CachedEngine
from referdino_core.backends.tensorrt.plugin import find_library
from referdino_core.backends.tensorrt.provider import (
    DEFAULT_MAX_COMMANDS,
    EngineProvider,
    open_provider,
)
from referdino_core.errors import EngineError, RuntimeUnavailable
from referdino_core.export.exported_set import ExportedSet
from referdino_core.export.stage_io import STAGES
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.precision import PRECISIONS, precisions_of
from referdino_core.progress import ProgressMonitor

_log = logging.getLogger("referdino.tensorrt")


class TensorRTBackend(ExportedBackend):
    """TensorRT's engines of an exported network; building them takes minutes."""

    name = "tensorrt"
    title = "TensorRT"
    supported_variants = ("plugin", "gather")
    commands_at_once = DEFAULT_MAX_COMMANDS

    def __init__(
        self, model: ReferDINO, precision: str, exports: Path | None, monitor: ProgressMonitor
    ) -> None:
        self.export_variant = "gather" if find_library() is None else "plugin"
        super().__init__(model, precision, exports, monitor)

    def supported_precisions(self) -> tuple[str, ...]:
        """Names of the precisions that TensorRT supports, which runs on GPUs alone."""
        return precisions_of(self.name, "cuda")

    def open(self, exported: ExportedSet, monitor: ProgressMonitor) -> TensorRTRunner:
        """Load the engines of an exported network, or build them."""
        return TensorRTRunner(
            exported.folder, monitor=monitor.with_phase("building engine"), device=self.device
        )

    def allow_window(self, frames: int) -> None:
        """As the base class; engines are built for the longest window that was requested."""
        if self.given is not None and frames > self.given.window:
            raise RuntimeUnavailable(
                f"{self.given.folder} was exported for windows of at most {self.given.window} "
                f"frames, not {frames}: export with --window {frames}, or set a shorter window."
            )
        if self.prepared and frames > self.window:
            raise RuntimeUnavailable(
                f"TensorRT's engines are open for windows of at most {self.window} frames, not "
                f"{frames}: set the window before the first image, or a shorter one."
            )
        self.window = max(self.window, frames)

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences in one image."""
        grounding = super().ground(image, text)
        # The engine's next run overwrites what the object memory remembers.
        return FrameGrounding(
            grounding.queries.clone(),
            grounding.references.clone(),
            grounding.text.clone(),
            grounding.mask_features,
        )


class TensorRTRunner:
    """The three stages of one exported network as engines, for one thread at a time.

    The outputs of a stage are overwritten when it runs again; copy them to keep them longer, as
    the object memory does.

    Attributes:
        exported: the network.
        sizes: of the static axes by letter (H, W, L, S, d, Q, C, h, w).
        device: the GPU.
    """

    def __init__(
        self,
        folder: Path,
        cache_folder: Path | None = None,
        max_commands: int = DEFAULT_MAX_COMMANDS,
        monitor: ProgressMonitor | None = None,
        *,
        options: BuilderOptions | None = None,
        device: torch.device | str = "cuda",
    ) -> None:
        """Load the engines, or build them, which takes minutes.

        Args:
            folder: what `referdino export` wrote.
            cache_folder: of the engines; None is the folder `engines` of referdino's cache.
            max_commands: most commands that are grounded together.
            monitor: for progress and cancellation of building.
            options: of the build.
            device: the GPU.

        Raises:
            ExportedSetError: the folder holds no exported network.
            TensorRTUnavailable: TensorRT, its plugin or a GPU is missing.
            BuildError: TensorRT does not understand or cannot build a network.
            Cancelled: building was cancelled.
            EngineError: an engine cannot be loaded, or does not fit its stage.
            EngineCacheError: the cache cannot be read or written.
        """
        provider = open_provider(folder, cache_folder, max_commands, options, device)
        self.exported = provider.exported
        assert provider.target.device is not None
        self.device = provider.target.device
        self.sizes = self.exported.axis_sizes
        cached = provider.provide_all(monitor=monitor)
        self._engines: dict[str, TensorRTEngine] = {}
        for name, engine in cached.items():
            self._engines[name] = self._load(provider, name, engine, monitor)

    def run(self, stage: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a stage; inputs and outputs by the names of `export.stage_io.STAGES`."""
        return self._engines[stage].run(inputs)

    def _load(
        self,
        provider: EngineProvider,
        name: str,
        cached: CachedEngine,
        monitor: ProgressMonitor | None,
    ) -> TensorRTEngine:
        try:
            return self._open(provider, name, cached)
        except EngineError as error:
            if cached.was_built:
                raise
            _log.warning(
                "%s engine: %s is not used: %s Rebuilding it.", name, cached.path.name, error
            )
        rebuilt = provider.rebuild(name, monitor=monitor)
        return self._open(provider, name, rebuilt)

    def _open(self, provider: EngineProvider, name: str, cached: CachedEngine) -> TensorRTEngine:
        return TensorRTEngine(
            cached.payload,
            STAGES[name],
            low_precision=PRECISIONS[self.exported.precision].dtype,
            ranges=provider.ranges,
            sizes=self.sizes,
            logger=provider.logger,
            device=self.device,
            kernels=provider.kernels(cached),
        )
