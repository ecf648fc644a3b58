# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Exports that several tests look at, each made once."""

from __future__ import annotations

import tempfile
from functools import cache, lru_cache
from pathlib import Path

import golden

import referdino_core as rd
from referdino_core.building import load_model
from referdino_core.evaluation.export_parity import without_plugin
from referdino_core.export.exported_set import ExportedSet
from referdino_core.export.exporting import export

SIZE = (120, 160)
TOKENS = 16


@lru_cache(maxsize=1)
def workplace() -> tempfile.TemporaryDirectory:
    """A folder that goes when the tests are done."""
    return tempfile.TemporaryDirectory(prefix="referdino-exports-")


def fresh_folder() -> Path:
    """A new folder in the workplace."""
    return Path(tempfile.mkdtemp(dir=workplace().name))


@lru_cache(maxsize=1)
def nano() -> rd.ReferDINO:
    """The bundled model."""
    return load_model("nano", "cpu")


@cache
def nano_export(
    precision: str = "fp32", variant: str = "grid_sample", tokens: int = TOKENS
) -> ExportedSet:
    """The bundled model as `referdino export` writes it, recorded once for all variants.

    What a variant differs in comes after recording; that the bytes are those of an export of its
    own, `test_a_variant_is_what_the_plugins_node_stands_for` shows.
    """
    if variant != "plugin":
        return in_variant(nano_export(precision, "plugin", tokens), variant)
    return export(nano(), fresh_folder(), SIZE, tokens, precision, variant)


@lru_cache(maxsize=1)
def golden_model(name: str) -> rd.ReferDINO:
    """The model of a golden; the last one is kept."""
    return golden.load(name).model()


@lru_cache(maxsize=1)
def golden_export(name: str) -> ExportedSet:
    """The export of a golden's model, deformable attention in one node."""
    settings = golden.load(name).metadata
    size = (settings["height"], settings["width"])
    return export(golden_model(name), fresh_folder(), size, TOKENS, "fp32", "plugin")


def in_variant(exported: ExportedSet, variant: str) -> ExportedSet:
    """The same export in another variant of deformable attention."""
    return exported if variant == "plugin" else without_plugin(exported, variant, fresh_folder())
