# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Command: a sentence that runs on a stream, with its object memory and tracker."""

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
from referdino_core.session.slot_readings import SlotReadings
from referdino_core.session.target_tracker import (
    AllTargetsTracker,
    SingleTargetTracker,
    TargetTracker,
)

SECONDS_PER_MOMENTUM = 0.1
"""Time between frames that the network's memory momentum is defined for."""

TRACKERS: Mapping[str, type[TargetTracker]] = {
    "one": SingleTargetTracker,
    "all": AllTargetsTracker,
}
"""Trackers by the setting `select`."""


class Command:
    """One running command.

    Attributes:
        request: the sentence and selection as given.
        text: the encoded sentence.
        memory: associates queries with objects from frame to frame.
        tracker: chooses the objects that the sentence means.
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
        """The sentence as given."""
        return self.request.text

    @property
    def tokens(self) -> int:
        """Number of tokens of the encoded sentence."""
        return self.text.tokens.shape[1]

    def forget(self) -> None:
        """Clear memory and tracker."""
        self.memory = self._new_memory()
        self.tracker = self._new_tracker(self.request.select)

    def remember(
        self, frame: RememberedFrame, readings: SlotReadings, settings: SessionSettings
    ) -> None:
        """Add an aligned frame to the memory; call it after the tracker's update."""
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
        """(Q,) in [0, 1] on the host: how far each slot moves towards the newest frame's query.

        In a steady memory a slot moves by its relevance times the probability that it holds what
        the sentence means, and the momentum follows the time between frames. Slots that score
        below `keep`, or whose target is not visible, do not move: an absent target must not drift
        towards whatever takes its place.
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
        """Restore memory and tracker from a snapshot of a command with the same sentence."""
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
    """Add the frames of predictions to their commands' memories.

    A command that fails is cleared, so that it is never left half updated.

    Returns:
        The failures.
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
    """The encoded sentence in a command's snapshot."""
    return TextFeatures(**_on(device, plain["text"]))


def _plain(record: TextFeatures | RememberedFrame) -> dict[str, Any]:
    # Cloned, since saving a view would save all of the larger tensor.
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
