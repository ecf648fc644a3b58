# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The packages that exporting needs beside referdino's own."""

from __future__ import annotations

from importlib.util import find_spec

from referdino_core.errors import ExportError


def require(*packages: str) -> None:
    """Make sure that packages are installed.

    Raises:
        ExportError: one is missing; the message says how to get it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; "
            "install with: pip install onnx onnxruntime"
        )
