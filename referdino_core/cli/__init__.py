# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The program `referdino`."""

from referdino_core.cli.program import main

__all__ = ["main"]
