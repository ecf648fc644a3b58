# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Exports that several tests look at, each made once."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import golden
import onnx
import pytest

import referdino_core as rd
from referdino_core.building import load_model
from referdino_core.evaluation.export_parity import without_plugin
from referdino_core.export import exporting
from referdino_core.export.exported_set import ExportedSet
from referdino_core.export.exporting import checkpoint_sum, export, record_dynamic

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


@contextmanager
def recorded_once() -> Iterator[None]:
    """Within it, stages that were recorded before are exported without recording them again.

    Recording takes most of the time of an export. That it gives the same graph every time,
    `test_the_same_weights_give_the_same_bytes_and_stay_as_they_are` shows.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "record_dynamic", remembered_recording)
        yield


def remembered_recording(model: rd.ReferDINO, module: Any, stage: Any, *rest: Any) -> Any:
    """What `record_dynamic` returns, of the same weights and arguments recorded once."""
    key = (checkpoint_sum(model), stage.name, *rest)
    if key not in recordings():
        recordings()[key] = record_dynamic(model, module, stage, *rest)
    return copy.deepcopy(recordings()[key])


@cache
def recordings() -> dict[tuple[Any, ...], onnx.ModelProto]:
    """The graphs of stages that were recorded so far."""
    return {}


def nano_export(
    precision: str = "fp32", variant: str = "grid_sample", tokens: int = TOKENS
) -> ExportedSet:
    """The bundled model as `referdino export` writes it, recorded once for all variants.

    What a variant differs in comes after recording; that the bytes are those of an export of its
    own, `test_a_variant_is_what_the_plugins_node_stands_for` shows.
    """
    return nano_variant(precision, variant, tokens)


@cache
def nano_variant(precision: str, variant: str, tokens: int) -> ExportedSet:
    """`nano_export` of these arguments, made once."""
    if variant != "plugin":
        return in_variant(nano_variant(precision, "plugin", tokens), variant)
    with recorded_once():
        return export(nano(), fresh_folder(), SIZE, tokens, precision, variant)


@lru_cache(maxsize=1)
def golden_model(name: str) -> rd.ReferDINO:
    """The model of a golden; the last one is kept."""
    return golden.load(name).model()


@lru_cache(maxsize=1)
def golden_export(name: str, variant: str) -> ExportedSet:
    """The export of a golden's model; the last one is kept."""
    settings = golden.load(name).metadata
    size = (settings["height"], settings["width"])
    return export(golden_model(name), fresh_folder(), size, TOKENS, "fp32", variant)


def in_variant(exported: ExportedSet, variant: str) -> ExportedSet:
    """The same export in another variant of deformable attention."""
    return exported if variant == "plugin" else without_plugin(exported, variant, fresh_folder())
