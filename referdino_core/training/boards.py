# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Boards on which a run can be watched: TensorBoard, and Weights & Biases."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from referdino_core.errors import ReferDINOError

STEP = "step"
"""Name of the training step in Weights & Biases, whose own counter may only grow."""

logger = logging.getLogger("referdino.training")


class Board(Protocol):
    """Something that shows figures and pictures of a run by step."""

    def add_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Show figures by name; a slash in a name groups them."""

    def add_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Show pictures by name, (H, W, 3) uint8 RGB."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files in a folder, which `tensorboard --logdir FOLDER` shows."""

    def __init__(self, folder: Path, after: int) -> None:
        """Open event files; the figures of steps after `after` are forgotten.

        Raises:
            ImportError: TensorBoard is not installed.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)

    def add_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """See `Board`."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def add_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """See `Board`."""
        for name, picture in pictures.items():
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """See `Board`."""
        self._writer.close()


@dataclass(frozen=True)
class WandbPlan:
    """A run on Weights & Biases.

    Attributes:
        project: its project. folder: of the run, whose name it gets. settings: its recipe.
    """

    project: str
    folder: Path
    settings: Mapping[str, Any]


def installed_wandb() -> ModuleType:
    """The package of Weights & Biases.

    Raises:
        ReferDINOError: it is not installed.
    """
    wandb: ModuleType | None = None
    with contextlib.suppress(ImportError):
        wandb = importlib.import_module("wandb")
    # A folder of runs, which has the same name, can be imported, too.
    if wandb is None or not hasattr(wandb, "init"):
        raise ReferDINOError(
            "Weights & Biases was asked for and is not installed: pip install wandb, or leave "
            "--wandb out."
        )
    return wandb


class WeightsAndBiases:
    """A run on Weights & Biases; with WANDB_MODE=offline it is kept in the folder `wandb`.

    A run that goes on continues under its id, which is kept beside it.
    """

    def __init__(self, plan: WandbPlan) -> None:
        """Begin the run, or go on with it.

        Raises:
            ReferDINOError: Weights & Biases is not installed, or refuses.
        """
        self._wandb = installed_wandb()
        note = plan.folder / "wandb" / "run_id"
        note.parent.mkdir(parents=True, exist_ok=True)
        if not note.exists():
            note.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
        offline = os.environ.get("WANDB_MODE") == "offline"
        try:
            self._run = self._wandb.init(
                project=plan.project,
                name=plan.folder.resolve().name,
                id=note.read_text(encoding="utf-8"),
                resume=None if offline else "allow",
                dir=str(plan.folder),
                config=dict(plan.settings),
            )
        except self._wandb.Error as error:
            raise ReferDINOError(
                f"Weights & Biases cannot be used: {error} (WANDB_MODE=offline needs no account.)"
            ) from error
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    def add_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """See `Board`."""
        self._run.log({STEP: step, **figures})

    def add_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """See `Board`."""
        images = {name: self._wandb.Image(picture) for name, picture in pictures.items()}
        self._run.log({STEP: step, **images})

    def close(self) -> None:
        """See `Board`."""
        self._run.finish()


class Boards(contextlib.ExitStack):
    """All boards of a run as one; a context manager, which closes them."""

    def __init__(self, boards: Sequence[Board]) -> None:
        super().__init__()
        self._boards = tuple(boards)
        for board in self._boards:
            self.callback(board.close)

    def add_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """See `Board`."""
        for board in self._boards:
            board.add_figures(step, figures)

    def add_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """See `Board`; both boards encode pictures by Pillow."""
        if importlib.util.find_spec("PIL") is None:
            logger.info("Boards show no pictures without Pillow: pip install pillow.")
            return
        for board in self._boards:
            board.add_pictures(step, pictures)


def open_boards(folder: Path, after: int, wandb: WandbPlan | None) -> Boards:
    """The boards of a run: TensorBoard where it is installed, and Weights & Biases where asked.

    Args:
        folder: for TensorBoard.
        after: steps done; figures of later ones are forgotten.

    Raises:
        ReferDINOError: Weights & Biases is asked for and not installed, or refuses.
    """
    boards: list[Board] = []
    if wandb is not None:
        boards.append(WeightsAndBiases(wandb))
    try:
        boards.append(TensorBoard(folder, after))
    except ImportError:
        logger.info("TensorBoard is not installed; the curve is in the run's folder only.")
    return Boards(boards)
