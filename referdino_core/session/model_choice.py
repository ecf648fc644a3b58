# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Choice of an engine's network, weights and runtime, as plain data for other processes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from referdino_core.configuration import SessionSettings
from referdino_core.errors import RuntimeUnavailable
from referdino_core.peers import STREAMING_PEER_NAMES
from referdino_core.peers.following import PeerSettings

if TYPE_CHECKING:
    from referdino_core.session.engine import Engine
    from referdino_core.session.peer_session import PeerSession
    from referdino_core.session.session import Session

DEFAULT_MODEL = "nano"


@dataclass(frozen=True)
class ModelChoice:
    """A network, its weights, its runtime, and the thresholds of the session.

    Attributes:
        model: name of the configuration or of a peer; None for the checkpoint's own, or "nano".
        checkpoint: path of the weights, for a peer of their folder; None for the model's own.
        single_frame: whether the weights were trained on single frames, as `load_model` takes it.
        device, runtime, precision, exports, settings: as `Session` takes them.
        peer_settings: thresholds of a peer, which does not use `settings`.
    """

    model: str | None = None
    checkpoint: Path | None = None
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "fp32"
    exports: Path | None = None
    settings: SessionSettings = field(default_factory=SessionSettings)
    single_frame: bool | None = None
    peer_settings: PeerSettings = field(default_factory=PeerSettings)

    @property
    def is_streaming_peer(self) -> bool:
        """Whether this is another published model that processes streams."""
        return self.model in STREAMING_PEER_NAMES

    def __str__(self) -> str:
        return str(self.checkpoint or self.model or DEFAULT_MODEL)


class LoadedEngine(Protocol):
    """A loaded model, whichever it is, reusable for one task after another."""

    @property
    def session(self) -> Engine:
        """The engine, which every task starts with `begin_stream`."""

    @property
    def device(self) -> str:
        """Device of the model."""

    def summary(self) -> dict[str, str | bool | None]:
        """Identification of the weights: `name`, `checkpoint`, `sha256` and further ones."""


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


@dataclass(frozen=True)
class LoadedPeer:
    """Another published model as an engine, and the weights that it was loaded from."""

    session: PeerSession
    choice: ModelChoice
    weights: tuple[Path, ...] = ()

    @property
    def device(self) -> str:
        """Device of the model."""
        return self.session.device

    @cached_property
    def sha256(self) -> str:
        """SHA-256 checksum of the files of weights: of their checksums, if there are several."""
        from referdino_core.download import checksums

        found = [checksums.compute(path) for path in self.weights]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()

    def summary(self) -> dict[str, str | bool | None]:
        """Identification of the weights: `name`, `checkpoint`, `sha256` and the folders' names."""
        checkpoint = self.choice.checkpoint
        folders = dict.fromkeys(path.parent.name for path in self.weights)
        return {
            "name": self.session.model_name,
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "sha256": self.sha256,
            "networks": ", ".join(folders),
        }


def load_engine(choice: ModelChoice) -> LoadedEngine:
    """Open the engine of a model, whichever it is.

    Raises:
        ReferDINOError: weights, device or runtime are unavailable.
    """
    return load_peer(choice) if choice.is_streaming_peer else load(choice)


def load_peer(choice: ModelChoice) -> LoadedPeer:
    """Open another published model for streams.

    Raises:
        ReferDINOError: weights, device, transformers or the runtime are unavailable.
    """
    from referdino_core.building import usable_device
    from referdino_core.peers.opening import open_peer
    from referdino_core.session.peer_session import PeerSession

    assert choice.model is not None
    if choice.runtime not in ("auto", "torch"):
        raise RuntimeUnavailable(f"{choice.model} runs in PyTorch only: leave --runtime out.")
    if choice.exports is not None:
        raise RuntimeUnavailable(f"{choice.model} cannot be exported: leave --exports out.")
    opened = open_peer(
        choice.model,
        choice.checkpoint,
        usable_device(choice.device),
        choice.precision,
        choice.peer_settings,
    )
    return LoadedPeer(PeerSession(opened.follower), choice, tuple(opened.weights))


def load(choice: ModelChoice) -> LoadedModel:
    """Open a session as the node does, with the number of threads that suits the model.

    Raises:
        ReferDINOError: weights, device or runtime are unavailable.
    """
    if choice.is_streaming_peer:
        raise RuntimeUnavailable(
            f"{choice.model} is another published model: it runs in referdino replay, referdino "
            "evaluate --inference stream and the node."
        )
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
