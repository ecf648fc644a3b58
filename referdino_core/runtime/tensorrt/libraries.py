# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's two libraries that build and run engines, and which of them is installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Library:
    """One of NVIDIA's libraries.

    name: as NVIDIA writes it. modules: its Python module by the names that packages give it.
    oldest: the first release that will do. too_old: what earlier ones lack. how_to_get: how it is
    installed.
    """

    name: str
    modules: tuple[str, ...]
    oldest: tuple[int, int]
    too_old: str
    how_to_get: str


TENSORRT = Library(
    "TensorRT",
    ("tensorrt",),
    (10, 0),
    "earlier ones cannot build strongly typed networks",
    "with `pip install tensorrt-cu12` or `pip install tensorrt-cu13`, whichever CUDA the driver "
    "supports; on a Jetson with `sudo apt install python3-libnvinfer`",
)
"""For every NVIDIA GPU; it builds for the GPU that it runs on."""

TENSORRT_RTX = Library(
    "TensorRT for RTX",
    ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    (1, 7),
    "earlier ones have not been tried",
    "with `pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings`",
)
"""For RTX GPUs; it builds for any of them, on machines without a GPU as well."""

LIBRARIES = (TENSORRT, TENSORRT_RTX)
"""The first that can be loaded is used: TensorRT itself takes more kinds of GPU."""


def installed_libraries() -> tuple[Library, ...]:
    """The libraries whose Python modules are found; whether they load is another matter."""
    return tuple(library for library in LIBRARIES if any(map(_is_found, library.modules)))


def _is_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a module that was put in its place has no specification
        return False
