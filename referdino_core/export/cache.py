# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Exports that are made where they are needed, and kept for the next time."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from referdino_core.download import cache_directory
from referdino_core.errors import ExportedSetError, ExportError
from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.export.exporting import checkpoint_sum, export, release
from referdino_core.network.image_geometry import Shape
from referdino_core.network.referdino import ReferDINO

logger = logging.getLogger("referdino.export")

REVISION = 1
"""Changes when the same weights are exported as another graph."""


@dataclass(frozen=True)
class ExportCache:
    """The exports of one model in one precision and form.

    Attributes:
        model: with its weights. folder: where exports are kept.
    """

    model: ReferDINO
    precision: str
    deformable_attention: str
    folder: Path

    @classmethod
    def of(cls, model: ReferDINO, precision: str, deformable_attention: str) -> ExportCache:
        """In the folder `onnx` of referdino's cache."""
        return cls(model, precision, deformable_attention, cache_directory() / "onnx")

    def provide(self, size: Shape, tokens: int) -> ExportedSet:
        """The export for an image size and a number of tokens; made, or made again, if need be.

        Raises:
            ExportError: it cannot be made.
        """
        checkpoint = checkpoint_sum(self.model)
        place = self.folder / self.name(size, tokens, checkpoint)
        with self.locked(place):
            reason = "there is none yet"
            if place.exists():
                try:
                    exported = read_exported_set(place)
                    self.check(exported, size, tokens, checkpoint)
                    return exported
                except ExportedSetError as error:
                    reason = str(error)
            return self.make(place, size, tokens, reason)

    def name(self, size: Shape, tokens: int, checkpoint: str) -> str:
        """A folder's name that differs where anything that matters differs."""
        key = hashlib.sha256(f"{checkpoint} {release()} {REVISION}".encode()).hexdigest()[:16]
        height, width = size
        name = f"{self.model.configuration.name}-{height}x{width}-{tokens}tokens"
        return f"{name}-{self.precision}-{self.deformable_attention}-{key}"

    def check(self, exported: ExportedSet, size: Shape, tokens: int, checkpoint: str) -> None:
        """Raise ExportedSetError unless an export is what its folder's name says."""
        found = (exported.checkpoint, (exported.height, exported.width), exported.tokens)
        if found != (checkpoint, size, tokens):
            raise ExportedSetError(f"{exported.folder} is of another network, size or length.")

    def make(self, place: Path, size: Shape, tokens: int, reason: str) -> ExportedSet:
        """Export, and tell so."""
        height, width = size
        logger.info(
            "Exporting %s to ONNX for images of %dx%d and %d tokens (%s).",
            self.model.configuration.name, width, height, tokens, reason,
        )  # fmt: skip
        began = time.monotonic()
        # Whatever a crash or a stray hand left in the cache is in the way.
        shutil.rmtree(place, ignore_errors=True)
        exported = export(
            self.model, place, size, tokens, self.precision, self.deformable_attention
        )
        logger.info("Exported in %.1f s to %s.", time.monotonic() - began, place)
        return exported

    @contextmanager
    def locked(self, place: Path) -> Iterator[None]:
        """Keep other processes from making the same export at the same time."""
        path = place.with_name(f"{place.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise ExportError(f"{path} cannot be written: {error.strerror}.") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("Another process is exporting %s; waiting.", place.name)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
