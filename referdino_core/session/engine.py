# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Engine: what replay, evaluation, the command line and the node need of a model on a stream.

`Session` is the engine of this project's networks, `PeerSession` that of other published models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from referdino_core.session.command_request import CommandRequest
from referdino_core.target import Judgement, Target


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do besides following one object per command; by default, all of it.

    Attributes:
        several_objects: whether `select="all"` gives every object that fits.
        masks: whether masks follow the outline of the object; otherwise they fill its box.
        identities: whether an object keeps its track id while it is invisible.
        noun_phrases_only: whether a sentence is reduced to its head noun phrase.
        snapshots: whether `snapshot` keeps the whole state, so that a replay can be resumed.
        camera_batches: whether several cameras share one batch of the network.
        exports: whether the network can be exported to ONNX and TensorRT.
    """

    several_objects: bool = True
    masks: bool = True
    identities: bool = True
    noun_phrases_only: bool = False
    snapshots: bool = True
    camera_batches: bool = True
    exports: bool = True


class SentenceCheck(Protocol):
    """Checks sentences before a stream begins."""

    def encode(self, sentence: str) -> object:
        """The encoded sentence.

        Raises:
            CommandError: the sentence cannot be used.
        """


class Engine(Protocol):
    """Follows what sentences refer to through one stream of images, causally.

    Commands are added and removed by id: assign `commands` a mapping with or without the id.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do."""

    @property
    def notes(self) -> Sequence[str]:
        """What a report should say about the answers, a line each."""

    @property
    def state_bytes(self) -> int | None:
        """Bytes of the model's memory of the stream; None if they are not counted."""

    @property
    def model_name(self) -> str:
        """Name of the model."""

    @property
    def device(self) -> str:
        """Device that the model runs on."""

    @property
    def runtime(self) -> str:
        """Name and precision of the runtime, such as "torch fp32"."""

    @property
    def tokenizer(self) -> SentenceCheck:
        """Checks sentences."""

    @property
    def settings(self) -> Any:
        """Thresholds of the target states, a dataclass; None if there are none."""

    @settings.setter
    def settings(self, settings: Any) -> None: ...

    @property
    def commands(self) -> dict[str, str]:
        """Sentences of the running commands by id."""

    @commands.setter
    def commands(self, wanted: Mapping[str, str | CommandRequest]) -> None: ...

    @property
    def requests(self) -> dict[str, CommandRequest]:
        """Requests of the running commands by id."""

    @property
    def judgement(self) -> Judgement:
        """Whether the newest image was judged."""

    @property
    def reason(self) -> str:
        """Why memories were reset before the newest image, or why it was dropped; "" otherwise."""

    @property
    def reset_count(self) -> int:
        """Number of resets of the memories after a break in the stream."""

    @property
    def first_reset(self) -> str | None:
        """Reason of the first reset; None before it."""

    def command(self, sentence: str, select: str | None = None) -> None:
        """Follow this sentence alone; an empty one clears all commands."""

    def begin_stream(self) -> None:
        """Start over without commands and without any image seen."""

    def step(self, image: np.ndarray, stamp: float | None = None) -> tuple[Target, ...]:
        """The targets of every command in the next image, (H, W, 3) uint8 RGB.

        Raises:
            ReferDINOError: the image cannot be processed; the stream continues with the next.
        """

    def skip(self, stamp: float) -> None:
        """Record an image that is not judged, by its stamp in seconds."""

    def snapshot(self) -> dict[str, Any]:
        """The state of the stream as plain data for `torch.save`; see `Capabilities.snapshots`."""

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Restore the state from a snapshot of an engine with the same model and settings."""
