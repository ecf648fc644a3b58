# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Choice of a session's network, weights and runtime, as plain data for other processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.configuration import SessionSettings

if TYPE_CHECKING:
    from referdino_core.session.session import Session

DEFAULT_MODEL = "nano"


@dataclass(frozen=True)
class ModelChoice:
    """A network, its weights, its runtime, and the thresholds of the session.

    Attributes:
        model: name of the configuration; None for the checkpoint's own, or "nano".
        checkpoint: path of the weights; None for the model's own.
        single_frame: whether the weights were trained on single frames, as `load_model` takes it.
        device, runtime, precision, exports, settings: as `Session` takes them.
    """

    model: str | None = None
    checkpoint: Path | None = None
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "fp32"
    exports: Path | None = None
    settings: SessionSettings = field(default_factory=SessionSettings)
    single_frame: bool | None = None

    def __str__(self) -> str:
        return str(self.checkpoint or self.model or DEFAULT_MODEL)


@dataclass(frozen=True)
class LoadedModel:
    """A session, reusable for one task after another, and the choice it was opened with."""

    session: Session
    choice: ModelChoice

    @property
    def device(self) -> str:
        """Device of the model."""
        return self.session.device

    @cached_property
    def sha256(self) -> str:
        """SHA-256 checksum of the file of weights."""
        from referdino_core.building import weights_of
        from referdino_core.download import checksums

        choice = self.choice
        return checksums.compute(choice.checkpoint or weights_of(choice.model or DEFAULT_MODEL))

    def summary(self) -> dict[str, str | bool | None]:
        """Identification of the weights: `name`, `checkpoint` and `sha256`.

        `single_frame` is added if they are used without temporal decoder.
        """
        checkpoint = self.choice.checkpoint
        summary: dict[str, str | bool | None] = {
            "name": self.session.model_name,
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "sha256": self.sha256,
        }
        if self.session.model.configuration.single_frame:
            summary["single_frame"] = True
        return summary


def load(choice: ModelChoice) -> LoadedModel:
    """Open a session as the node does, with the number of threads that suits the model.

    Raises:
        ReferDINOError: weights, device or runtime are unavailable.
    """
    from referdino_core.building import load_model
    from referdino_core.installation import choose_threads
    from referdino_core.session.session import Session

    model = load_model(
        choice.checkpoint or choice.model or DEFAULT_MODEL,
        choice.device,
        architecture=None if choice.checkpoint is None else choice.model,
        single_frame=choice.single_frame,
    )
    session = Session(
        model,
        settings=choice.settings,
        device=choice.device,
        runtime=choice.runtime,
        precision=choice.precision,
        exports=choice.exports,
    )
    choose_threads(session.model)
    return LoadedModel(session, choice)
