# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The three exported stages of the network on TensorRT."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from referdino_core.errors import EngineError
from referdino_core.export.exported_set import PRECISIONS
from referdino_core.runtime.tensorrt.builder import BuilderOptions
from referdino_core.runtime.tensorrt.engine import Shape, TensorRTEngine
from referdino_core.runtime.tensorrt.engine_cache import CachedEngine
from referdino_core.runtime.tensorrt.progress import OnProgress
from referdino_core.runtime.tensorrt.provider import (
    DEFAULT_MAX_COMMANDS,
    EngineProvider,
    open_provider,
)
from referdino_core.runtime.tensorrt.stage_tensors import STAGES

_log = logging.getLogger("referdino.tensorrt")


class TensorRTRunner:
    """Image encoder, grounder and readout as engines. For one thread at a time.

    What a stage gives is overwritten when the same stage runs again: whoever keeps it longer, as
    the object memory does, makes a copy.

    Attributes:
        exported: what the engines were built from.
        sizes: the sizes of the fixed axes by letter (H, W, L, S, d, Q, C, h, w).
        device: the GPU.
    """

    def __init__(
        self,
        folder: Path,
        cache_folder: Path | None = None,
        max_commands: int = DEFAULT_MAX_COMMANDS,
        on_progress: OnProgress | None = None,
        cancelled: threading.Event | None = None,
        *,
        options: BuilderOptions | None = None,
        device: torch.device | str = "cuda",
    ) -> None:
        """Load the engines, or build them, which takes minutes.

        Args:
            folder: what `referdino export` wrote.
            cache_folder: where engines are kept; None is the folder `engines` of referdino's cache.
            max_commands: most commands that are grounded together.
            on_progress: called as building goes on, from any thread; what it raises ends it.
            cancelled: set to stop building.
            options: how to build.
            device: the GPU.

        Raises:
            ExportedSetError: the folder holds no exported network.
            TensorRTUnavailable: TensorRT, its plugin or a GPU is missing.
            BuildError: TensorRT does not understand or cannot build a network.
            BuildCancelled: `cancelled` was set.
            EngineError: an engine cannot be loaded, or does not fit its stage.
            EngineCacheError: the cache cannot be read or written.
        """
        provider = open_provider(folder, cache_folder, max_commands, options, device)
        self.exported = provider.exported
        assert provider.target.device is not None
        self.device = provider.target.device
        self.sizes: dict[str, int] = {
            "H": self.exported.height,
            "W": self.exported.width,
            "L": self.exported.tokens,
        }
        cached = provider.provide_all(on_progress=on_progress, cancelled=cancelled)
        self._engines: dict[str, TensorRTEngine] = {}
        for name, engine in cached.items():
            self._engines[name] = self._load(provider, name, engine, on_progress, cancelled)

    def encode_image(self, pixels: Tensor) -> dict[str, Tensor]:
        """Image tokens and the finest map, `tokens` and `finest`, of pixels (1, 3, H, W)."""
        return self._engines["image_encoder"].run({"pixels": pixels})

    def ground(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The grounder's outputs by name; see `stage_tensors.STAGES`."""
        return self._engines["grounder"].run(inputs)

    def read(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The readout's outputs by name; see `stage_tensors.STAGES`."""
        return self._engines["readout"].run(inputs)

    def input_buffer(self, stage: str, name: str, shape: Shape) -> Tensor:
        """Memory of a stage for one of its inputs; an input that is written there is not copied."""
        return self._engines[stage].input_buffer(name, shape)

    def _load(
        self,
        provider: EngineProvider,
        name: str,
        cached: CachedEngine,
        on_progress: OnProgress | None,
        cancelled: threading.Event | None,
    ) -> TensorRTEngine:
        try:
            return self._open(provider, name, cached)
        except EngineError as error:
            if cached.was_built:
                raise
            _log.warning(
                "%s engine: %s is not used: %s Rebuilding it.", name, cached.path.name, error
            )
        rebuilt = provider.rebuild(name, on_progress=on_progress, cancelled=cancelled)
        return self._open(provider, name, rebuilt)

    def _open(self, provider: EngineProvider, name: str, cached: CachedEngine) -> TensorRTEngine:
        return TensorRTEngine(
            cached.payload,
            STAGES[name],
            low=getattr(torch, PRECISIONS[self.exported.precision]),
            ranges=provider.ranges,
            sizes=self.sizes,
            logger=provider.logger,
            device=self.device,
            kernels=provider.kernels(cached),
        )
