# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Everything a session remembers, as plain data: dictionaries, lists, numbers, texts and tensors.

`torch.save` writes it and `torch.load(..., weights_only=True)` reads it, exact to the bit.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch

from referdino_core.network.object_memory import ObjectMemory, RememberedFrame
from referdino_core.network.text_encoder import TextFeatures

if TYPE_CHECKING:
    from referdino_core.session.session import Command
    from referdino_core.session.target_tracker import TargetTracker

NOTHING: dict[str, Any] = {
    "image_size": None,
    "stamp": None,
    "last_reset": None,
    "first_reset": None,
    "reset_count": 0,
    "track_count": 0,
    "commands": {},
}
"""What a new session remembers."""

_TRACKER_FIELDS = ("slot", "track_id", "unseen_frames", "frames_since_switch")


def command_to_plain(command: Command) -> dict[str, Any]:
    """One running command: its encoded text, memory and tracker."""
    memory = command.memory
    return {
        "sentence": command.sentence,
        "text": _plain(command.text),
        "memory": None if memory.memory is None else memory.memory.clone(),
        "window": [_plain(frame) for frame in memory.window],
        "tracker": {name: getattr(command.tracker, name) for name in _TRACKER_FIELDS},
    }


def text_from_plain(plain: dict[str, Any], device: torch.device) -> TextFeatures:
    """The encoded sentence of a command."""
    return TextFeatures(**_on(device, plain["text"]))


def restore_memory(memory: ObjectMemory, plain: dict[str, Any], device: torch.device) -> None:
    """Let a new memory remember what a command's did."""
    memory.memory = None if plain["memory"] is None else plain["memory"].to(device)
    memory.window.extend(RememberedFrame(**_on(device, frame)) for frame in plain["window"])


def restore_tracker(tracker: TargetTracker, plain: dict[str, Any]) -> None:
    """Let a new tracker go on where a command's was."""
    for name in _TRACKER_FIELDS:
        setattr(tracker, name, plain["tracker"][name])


def _plain(record: TextFeatures | RememberedFrame) -> dict[str, Any]:
    # A tensor may be a view of a larger one, all of which would be saved.
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in values.items()
    }


def _on(device: torch.device, plain: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in plain.items()
    }
