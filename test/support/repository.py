# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of this checkout that tests read."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "test"
SUPPORT = TESTS / "support"
DATA = SUPPORT / "data"
INTERFACES = SUPPORT / "interfaces"
