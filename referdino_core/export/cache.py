# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The cache of exports, which are created on first use."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from referdino_core.configuration import SessionSettings
from referdino_core.errors import ExportedSetError, ExportError
from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.export.exporting import checkpoint_sum, export, release
from referdino_core.file_lock import file_lock
from referdino_core.network.image_geometry import Shape
from referdino_core.network.referdino import ReferDINO
from referdino_core.progress import ProgressMonitor
from referdino_core.user_files import cache_directory

logger = logging.getLogger("referdino.export")

REVISION = 2
"""Changes when the same weights are exported as another graph."""


@dataclass(frozen=True)
class ExportCache:
    """The exports of one model, in one precision and lowering variant of deformable attention.

    Attributes:
        model: with its weights. folder: of the exports.
    """

    model: ReferDINO
    precision: str
    deformable_attention: str
    folder: Path

    @classmethod
    def of(cls, model: ReferDINO, precision: str, deformable_attention: str) -> ExportCache:
        """The exports in the folder `onnx` of referdino's cache."""
        return cls(model, precision, deformable_attention, cache_directory() / "onnx")

    @cached_property
    def checkpoint(self) -> str:
        """SHA-256 sum of settings and weights, which do not change while they are in use."""
        return checkpoint_sum(self.model)

    def provide(
        self,
        size: Shape,
        tokens: int,
        monitor: ProgressMonitor | None = None,
        window: int = SessionSettings.window,
    ) -> ExportedSet:
        """The export for an image size and a number of tokens; created or replaced if necessary.

        Args:
            size: (height, width) of the images in pixels.
            tokens: of a text.
            monitor: for progress and cancellation of an export.
            window: most frames that are read out together; engines are built for it.

        Raises:
            ExportError: it cannot be made.
        """
        folder = self.folder / self.name(size, tokens, window)
        with self.locked(folder, monitor or ProgressMonitor()):
            reason = "there is none yet"
            if folder.exists():
                try:
                    exported = read_exported_set(folder)
                    self.check(exported, size, tokens, window)
                    return exported
                except ExportedSetError as error:
                    reason = str(error)
            return self.make(folder, size, tokens, reason, monitor, window)

    def holds_any(self) -> bool:
        """Whether there is an export of this network, for any size and number of tokens."""
        pattern = f"{self.name_of('*', '*')}*"
        return any(path.is_dir() for path in self.folder.glob(pattern))

    def name(self, size: Shape, tokens: int, window: int = SessionSettings.window) -> str:
        """The name of an export's folder, different for all that makes an export different."""
        height, width = size
        frames = "" if window == SessionSettings.window else f"-{window}frames"
        return self.name_of(f"{height}x{width}", str(tokens)) + frames

    def name_of(self, size: str, tokens: str) -> str:
        """The name, or a pattern of names, with the size and number of tokens as text."""
        key = hashlib.sha256(f"{self.checkpoint} {release()} {REVISION}".encode()).hexdigest()[:16]
        name = f"{self.model.configuration.name}-{size}-{tokens}tokens"
        return f"{name}-{self.precision}-{self.deformable_attention}-{key}"

    def check(self, exported: ExportedSet, size: Shape, tokens: int, window: int) -> None:
        """Raise ExportedSetError unless an export is the one that its folder is named for."""
        found = (exported.checkpoint, exported.size, exported.tokens)
        if (*found, exported.window) != (self.checkpoint, size, tokens, window):
            raise ExportedSetError(f"{exported.folder} is of another network, size or length.")

    def make(
        self,
        folder: Path,
        size: Shape,
        tokens: int,
        reason: str,
        monitor: ProgressMonitor | None,
        window: int,
    ) -> ExportedSet:
        """Export into a folder, and log it."""
        height, width = size
        logger.info(
            "Exporting %s to ONNX for images of %dx%d and %d tokens (%s).",
            self.model.configuration.name, width, height, tokens, reason,
        )  # fmt: skip
        began = time.monotonic()
        # Whatever a crash or a stray hand left in the cache is in the way.
        shutil.rmtree(folder, ignore_errors=True)
        exported = export(
            self.model,
            folder,
            size,
            tokens,
            self.precision,
            self.deformable_attention,
            monitor=monitor,
            window=window,
        )
        logger.info("Exported in %.1f s to %s.", time.monotonic() - began, folder)
        return exported

    def locked(self, folder: Path, monitor: ProgressMonitor) -> AbstractContextManager[None]:
        """Keep other processes from making the same export at the same time."""
        return file_lock(
            folder.with_name(f"{folder.name}.lock"),
            "Exporting the network",
            lambda: logger.info("Another process is exporting %s; waiting.", folder.name),
            monitor,
            ExportError,
        )
