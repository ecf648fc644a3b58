# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The library of the plugin that computes deformable attention in TensorRT."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from referdino_core.backends.tensorrt.library import loaded_library, trt
from referdino_core.errors import TensorRTUnavailable
from referdino_core.files import PACKAGE
from referdino_core.ops.deformable_attention import ONNX_DOMAIN, ONNX_OPERATOR, PLUGIN_VERSION
from referdino_core.user_files import user_path

PLUGIN_TITLE = f"{ONNX_OPERATOR} {PLUGIN_VERSION}"
"""Part of an engine's key: it changes with the plugin's inputs, outputs and serialized fields."""
LIBRARY_NAME = "libreferdino_trt_plugins.so"
PATH_VARIABLE = "REFERDINO_TRT_PLUGINS"


def find_library() -> Path | None:
    """The plugin library in $REFERDINO_TRT_PLUGINS, a file or its folder, else next to the kernels.

    Returns:
        Its path; None if there is no library.

    Raises:
        TensorRTUnavailable: the variable is set, but names no existing file.
    """
    named = os.environ.get(PATH_VARIABLE)
    if named:
        path = user_path(named)
        path = path / LIBRARY_NAME if path.is_dir() else path
        if not path.is_file():
            raise TensorRTUnavailable(
                f"{path}, the TensorRT plugin according to {PATH_VARIABLE}, does not exist."
            )
        return path
    path = PACKAGE / "ops" / LIBRARY_NAME
    return path if path.is_file() else None


def required_library() -> Path:
    """The plugin library.

    Raises:
        TensorRTUnavailable: there is none.
    """
    path = find_library()
    if path is None:
        raise TensorRTUnavailable(
            f"the exported network contains {ONNX_OPERATOR}, but {LIBRARY_NAME} is missing: build "
            f"it with CMake in trt_plugins/ and point {PATH_VARIABLE} at it, or export the network "
            "again with the gather-based deformable attention."
        )
    return path


def contains_plugin(onnx: Path) -> bool:
    """Whether a network needs the plugin; an ONNX file contains the names of its operators."""
    if onnx.stat().st_size == 0:
        return False
    with onnx.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(ONNX_OPERATOR.encode()) >= 0


def load_library(path: Path) -> None:
    """Register the plugin with TensorRT, unless it is registered.

    Raises:
        TensorRTUnavailable: the library cannot be loaded, or contains another plugin.
    """
    registry: trt.IPluginRegistry = trt.get_plugin_registry()
    if _is_registered(registry):
        return
    handle = registry.load_library(str(path))
    if not _is_registered(registry):
        state = "cannot be loaded" if handle is None else "was loaded without effect"
        raise TensorRTUnavailable(
            f"{path} {state}: it does not bring {ONNX_OPERATOR} {PLUGIN_VERSION} to "
            f"{loaded_library().name} {trt.__version__}; build it again against this release."
        )


def _is_registered(registry: trt.IPluginRegistry) -> bool:
    wanted = (ONNX_OPERATOR, PLUGIN_VERSION, ONNX_DOMAIN)
    return any(
        isinstance(creator, trt.IPluginCreatorV3One)
        and (creator.name, creator.plugin_version, creator.plugin_namespace) == wanted
        for creator in registry.all_creators
    )
