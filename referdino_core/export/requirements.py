# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Optional packages: whether they can be imported, and what exporting needs of them."""

from __future__ import annotations

from importlib import import_module

from referdino_core.errors import ExportError


def require(*packages: str) -> None:
    """Make sure that packages can be imported.

    Raises:
        ExportError: one is missing or broken; the message says how to get it.
    """
    obstacles = [found for package in packages if (found := obstacle(package)) is not None]
    if obstacles:
        raise ExportError(f"{' and '.join(obstacles)}; install with: pip install onnx onnxruntime")


def obstacle(package: str) -> str | None:
    """Why a package cannot be imported, as a clause for a message; None where it can be."""
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            return f"{package} is not installed"
        return _broken(package, error)
    except Exception as error:  # A broken installation raises whatever its parts raise.
        return _broken(package, error)
    return None


def _broken(package: str, error: Exception) -> str:
    return f"{package} cannot be imported ({one_line(error)})"


def one_line(error: Exception) -> str:
    """An error's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
