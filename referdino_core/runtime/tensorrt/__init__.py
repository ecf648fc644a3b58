# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The exported stages on TensorRT: engines are built, kept, loaded and run here.

TensorRT itself is imported when it is first used; where it is missing, that raises
`referdino_core.errors.TensorRTUnavailable`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from referdino_core.lazy import lazy_names

if TYPE_CHECKING:
    from referdino_core.runtime.tensorrt.builder import BuilderOptions
    from referdino_core.runtime.tensorrt.engine import TensorRTEngine
    from referdino_core.runtime.tensorrt.engine_cache import EngineCacheError, engine_directory
    from referdino_core.runtime.tensorrt.progress import BuildProgress
    from referdino_core.runtime.tensorrt.provider import EngineProvider, open_provider
    from referdino_core.runtime.tensorrt.stages import TensorRTRunner

_HOMES = {
    "BuildProgress": "progress",
    "BuilderOptions": "builder",
    "EngineCacheError": "engine_cache",
    "EngineProvider": "provider",
    "TensorRTEngine": "engine",
    "TensorRTRunner": "stages",
    "engine_directory": "engine_cache",
    "open_provider": "provider",
}

__all__ = [
    "BuildProgress",
    "BuilderOptions",
    "EngineCacheError",
    "EngineProvider",
    "TensorRTEngine",
    "TensorRTRunner",
    "engine_directory",
    "open_provider",
]

if not TYPE_CHECKING:  # or a misspelt name would pass
    __getattr__ = lazy_names(__name__, _HOMES)
