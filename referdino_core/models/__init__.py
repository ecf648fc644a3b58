# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Weights and vocabularies that are bundled."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def vocabulary_file(name: str) -> Path:
    """Vocabulary of a bundled model, one word per line."""
    return HERE / name / "vocabulary.txt"


def weights_file(name: str) -> Path:
    """Weights of a bundled model (.safetensors)."""
    return HERE / name / f"{name}.safetensors"
