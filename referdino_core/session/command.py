# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Command: a sentence that runs on a stream, with everything that it remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from referdino_core.configuration import SessionSettings
from referdino_core.network.host_copies import upload
from referdino_core.network.object_memory import ObjectMemory, RememberedFrame, move_memories
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.session.command_request import CommandRequest
from referdino_core.session.prediction import Prediction
from referdino_core.session.target_tracker import (
    AllTargetsTracker,
    SingleTargetTracker,
    TargetTracker,
)
from referdino_core.session.track import SlotReadings

SECONDS_PER_MOMENTUM = 0.1
"""Time between frames for which the network's memory momentum is meant."""

TRACKERS: Mapping[str, type[TargetTracker]] = {
    "one": SingleTargetTracker,
    "all": AllTargetsTracker,
}
"""Trackers by the setting `select`."""


class Command:
    """One running command.

    Attributes:
        request: what was asked for.
        text: its encoded sentence.
        memory: who is who from frame to frame. tracker: which of them are meant.
    """

    def __init__(
        self,
        request: CommandRequest,
        text: TextFeatures,
        new_memory: Callable[[], ObjectMemory],
        new_tracker: Callable[[str | None], TargetTracker],
    ) -> None:
        self.request = request
        self.text = text
        self._new_memory = new_memory
        self._new_tracker = new_tracker
        self.forget()

    @property
    def sentence(self) -> str:
        """The sentence as it was given."""
        return self.request.text

    @property
    def tokens(self) -> int:
        """Length of the encoded sentence."""
        return self.text.tokens.shape[1]

    def forget(self) -> None:
        """Remember nothing of the stream any more."""
        self.memory = self._new_memory()
        self.tracker = self._new_tracker(self.request.select)

    def remember(
        self, frame: RememberedFrame, readings: SlotReadings, settings: SessionSettings
    ) -> None:
        """Take an aligned frame into the memory, once the tracker has judged it."""
        relevance = self.memory.relevance_of(frame).cpu().numpy()
        pace = upload(self.pace(frame.stamp, relevance, readings, settings), frame.queries.device)
        self.memory.remember(frame, move_memories([self.memory], [frame], pace[None])[0])

    def pace(
        self,
        stamp: float,
        relevance: np.ndarray,
        readings: SlotReadings,
        settings: SessionSettings,
    ) -> Tensor:
        """(Q,) in [0, 1] on the host: how far each slot moves to the newest frame's query.

        In a steady memory a slot moves by its relevance and by how probable it is that the slot
        holds what the sentence means; momentum follows the time between frames. Slots that score
        below `keep`, or whose target the frame does not show, stay as they are: what is absent
        does not drift towards what takes its place.
        """
        memory = self.memory
        pace = memory.momentum * torch.from_numpy(relevance)
        if settings.memory == "steady" and memory.window:
            elapsed = max(stamp - memory.window[-1].stamp, 0.0)
            probable = torch.as_tensor(readings.newest, dtype=pace.dtype)
            probable = probable * (probable >= settings.keep)
            probable[self.tracker.frozen_slots()] = 0.0
            pace = 1 - (1 - pace * probable) ** (elapsed / SECONDS_PER_MOMENTUM)
        return pace

    def snapshot(self) -> dict[str, Any]:
        """The command as plain data for `torch.save`, exact to the bit."""
        memory = self.memory.memory
        return {
            "sentence": self.request.text,
            "select": self.request.select,
            "text": _plain(self.text),
            "memory": None if memory is None else memory.clone(),
            "window": [_plain(frame) for frame in self.memory.window],
            "tracker": self.tracker.snapshot(),
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Remember what another command of the same sentence did when it took this snapshot."""
        device = self.text.tokens.device
        memory = plain["memory"]
        self.memory.memory = None if memory is None else memory.to(device)
        self.memory.window.extend(
            RememberedFrame(**_on(device, frame)) for frame in plain["window"]
        )
        self.tracker.restore(plain["tracker"])


@torch.inference_mode()
def remember_together(
    predicted: Sequence[tuple[Command, Prediction]], settings: SessionSettings
) -> list[Exception]:
    """Take the predictions' frames into the commands' memories.

    A command that fails forgets what it remembered, rather than half of it.

    Returns:
        What went wrong.
    """
    if not predicted:
        return []
    paces = torch.stack(
        [
            command.pace(one.frame.stamp, one.relevance, one.readings, settings)
            for command, one in predicted
        ]
    )
    frames = [one.frame for _, one in predicted]
    memories = [command.memory for command, _ in predicted]
    moved = move_memories(memories, frames, upload(paces, frames[0].queries.device))
    failures: list[Exception] = []
    for (command, one), memory in zip(predicted, moved, strict=True):
        try:
            command.memory.remember(one.frame, memory)
        except Exception as error:
            command.forget()
            failures.append(error)
    return failures


def text_from_snapshot(plain: Mapping[str, Any], device: torch.device) -> TextFeatures:
    """The encoded sentence of a command's snapshot."""
    return TextFeatures(**_on(device, plain["text"]))


def _plain(record: TextFeatures | RememberedFrame) -> dict[str, Any]:
    # A tensor may be a view of a larger one, all of which would be saved.
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        name: value.clone() if isinstance(value, Tensor) else value
        for name, value in values.items()
    }


def _on(device: torch.device, plain: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in plain.items()
    }
