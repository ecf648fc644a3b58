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
from functools import cached_property
from pathlib import Path

from referdino_core.configuration import SessionSettings
from referdino_core.errors import ExportedSetError, ExportError
from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.export.exporting import OnProgress, checkpoint_sum, export, release
from referdino_core.network.image_geometry import Shape
from referdino_core.network.referdino import ReferDINO
from referdino_core.user_files import cache_directory, cannot_be_written

logger = logging.getLogger("referdino.export")

REVISION = 2
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

    @cached_property
    def checkpoint(self) -> str:
        """Of the weights, which stay as they are while they are in use."""
        return checkpoint_sum(self.model)

    def provide(
        self,
        size: Shape,
        tokens: int,
        on_progress: OnProgress | None = None,
        window: int = SessionSettings.window,
    ) -> ExportedSet:
        """The export for an image size and a number of tokens; made, or made again, if need be.

        Args:
            size: (height, width) of the images in pixels.
            tokens: of a text.
            on_progress: hears how far an export is.
            window: most frames that are read out together; matters where engines are built of it.

        Raises:
            ExportError: it cannot be made.
        """
        place = self.folder / self.name(size, tokens, window)
        with self.locked(place):
            reason = "there is none yet"
            if place.exists():
                try:
                    exported = read_exported_set(place)
                    self.check(exported, size, tokens, window)
                    return exported
                except ExportedSetError as error:
                    reason = str(error)
            return self.make(place, size, tokens, reason, on_progress, window)

    def holds_any(self) -> bool:
        """Whether an export of this network is kept, for whatever size and number of tokens."""
        pattern = f"{self.name_of('*', '*')}*"
        return any(path.is_dir() for path in self.folder.glob(pattern))

    def name(self, size: Shape, tokens: int, window: int = SessionSettings.window) -> str:
        """A folder's name that differs where anything that matters differs."""
        height, width = size
        frames = "" if window == SessionSettings.window else f"-{window}frames"
        return self.name_of(f"{height}x{width}", str(tokens)) + frames

    def name_of(self, size: str, tokens: str) -> str:
        """The same from a size and a number of tokens as they are written there."""
        key = hashlib.sha256(f"{self.checkpoint} {release()} {REVISION}".encode()).hexdigest()[:16]
        name = f"{self.model.configuration.name}-{size}-{tokens}tokens"
        return f"{name}-{self.precision}-{self.deformable_attention}-{key}"

    def check(self, exported: ExportedSet, size: Shape, tokens: int, window: int) -> None:
        """Raise ExportedSetError unless an export is what its folder's name says."""
        found = (exported.checkpoint, (exported.height, exported.width), exported.tokens)
        if (*found, exported.window) != (self.checkpoint, size, tokens, window):
            raise ExportedSetError(f"{exported.folder} is of another network, size or length.")

    def make(
        self,
        place: Path,
        size: Shape,
        tokens: int,
        reason: str,
        on_progress: OnProgress | None,
        window: int,
    ) -> ExportedSet:
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
            self.model,
            place,
            size,
            tokens,
            self.precision,
            self.deformable_attention,
            progress=on_progress,
            window=window,
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
            raise ExportError(cannot_be_written(path, error)) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("Another process is exporting %s; waiting.", place.name)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
