# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""HTML reports, each in a single file: one run, or a comparison of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from referdino_core.lazy import lazy_names

if TYPE_CHECKING:
    from referdino_core.report.comparison_report import write_comparison
    from referdino_core.report.run_report import write_report

__all__ = ["write_comparison", "write_report"]

if not TYPE_CHECKING:  # or a misspelt name would pass
    __getattr__ = lazy_names(
        __name__, {"write_comparison": "comparison_report", "write_report": "run_report"}
    )
