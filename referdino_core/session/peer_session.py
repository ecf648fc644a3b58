# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""PeerSession: the engine that gives another published model the interface of a session."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from referdino_core.network.tokenizer import caption
from referdino_core.peers.following import Followed, PeerFollower, PeerSettings, Sought
from referdino_core.session.camera_stream import CameraStream, check_image
from referdino_core.session.command_request import CommandRequest, requests_of, single_command
from referdino_core.session.engine import Capabilities
from referdino_core.target import Judgement, Target, box_around

_logger = logging.getLogger("referdino.session")


class PeerSession(CameraStream):
    """Follows sentences through one stream with another published model.

    Commands, stamps, late images and breaks in the stream are treated as in `Session`. Not
    thread-safe.

    Attributes:
        follower: the model with its memory of the stream.
        notes: what a report should say about the answers, a line each.
    """

    def __init__(self, follower: PeerFollower) -> None:
        self.follower = follower
        self.begin_stream()

    def another(self) -> PeerSession:
        """A session for another stream, with the same networks and settings."""
        return PeerSession(self.follower.another())

    def begin_stream(self) -> None:
        """Start over without commands and without any image seen."""
        self.follower.restart()
        super().begin_stream()
        self.notes: list[str] = []
        self._requests: dict[str, CommandRequest] = {}
        self._latest: dict[str, list[Followed]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        follower = self.follower
        return Capabilities(
            several_objects=follower.several_objects,
            masks=follower.masks,
            identities=follower.identities,
            noun_phrases_only=follower.noun_phrases_only,
            snapshots=follower.snapshots,
            camera_batches=False,
            exports=False,
        )

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self.follower.name

    @property
    def device(self) -> str:
        """Device that the model runs on."""
        return self.follower.device

    @property
    def runtime(self) -> str:
        """Name and precision of the runtime."""
        return f"torch {self.follower.precision}"

    @property
    def tokenizer(self) -> PeerSession:
        """Checks sentences."""
        return self

    def encode(self, sentence: str) -> object:
        """What the model reads of a sentence.

        Raises:
            CommandError: the sentence cannot be used.
        """
        caption(sentence)
        return self.follower.check(sentence)

    @property
    def settings(self) -> PeerSettings:
        """Thresholds of the model and of the target states."""
        return self.follower.settings

    @settings.setter
    def settings(self, settings: PeerSettings) -> None:
        self.follower.settings = settings

    @property
    def stream_settings(self) -> PeerSettings:
        """Where the stream breaks."""
        return self.settings

    def forget(self) -> None:
        """Clear the memory of the stream, but keep the commands."""
        self._latest = {}
        self.follower.forget()

    @property
    def state_bytes(self) -> int:
        """Bytes of the model's memory of the stream."""
        return self.follower.state_bytes

    @property
    def preparing(self) -> dict[str, Any]:
        """Commands that the runtime is not ready for: none."""
        return {}

    @property
    def commands(self) -> dict[str, str]:
        """Sentences of the running commands by id."""
        return {key: request.text for key, request in self._requests.items()}

    @commands.setter
    def commands(self, wanted: Mapping[str, str | CommandRequest]) -> None:
        """Replace all commands; those whose id and request are unchanged keep their objects.

        Raises:
            CommandError: an id or a sentence is invalid; the running commands are unchanged.
        """
        requests = self.check(wanted)
        for key, request in requests.items():
            if self._requests.get(key) != request:
                self._latest.pop(key, None)
            self._note(request.text)
        self._requests = requests

    def check(self, wanted: Mapping[str, str | CommandRequest]) -> dict[str, CommandRequest]:
        """The requests of a value of `commands`.

        Raises:
            CommandError: an id or a sentence is invalid.
        """
        requests = requests_of(wanted)
        for request in requests.values():
            self.encode(request.text)
        return requests

    def _note(self, sentence: str) -> None:
        note = self.follower.note_of(sentence)
        if note and note not in self.notes:
            self.notes.append(note)
            _logger.warning("%s", note)

    @property
    def requests(self) -> dict[str, CommandRequest]:
        """Requests of the running commands by id."""
        return dict(self._requests)

    def command(self, sentence: str, select: str | None = None) -> None:
        """Follow this sentence alone; an empty one clears all commands.

        Raises:
            CommandError: the sentence is invalid; the running commands are unchanged.
        """
        self.commands = single_command(sentence, select)

    def step(self, image: np.ndarray, stamp: float | None = None) -> tuple[Target, ...]:
        """The targets of every command in the next image.

        Args:
            image: (H, W, 3) uint8 RGB.
            stamp: seconds; by default images are 0.1 s apart.

        Raises:
            ImageError: the image or stamp is invalid; the stream continues with the next image.
        """
        check_image(image, stamp)
        size = image.shape[0], image.shape[1]
        admitted = self.admit(size, stamp)
        if admitted is None:
            return self.unjudged(size, Judgement.LATE)
        sought = {
            key: Sought(request.text, (request.select or self.settings.select) == "all")
            for key, request in self._requests.items()
        }
        try:
            self._latest = self.follower.follow(image, admitted, sought) if sought else {}
        except Exception:
            self.fail()
            raise
        self.conclude_image(admitted)
        return tuple(
            self._target(key, one, one.mask, self.judgement)
            for key, found in self._latest.items()
            for one in found
        )

    def unjudged(self, size: tuple[int, int], judgement: Judgement) -> tuple[Target, ...]:
        """The targets, with empty masks, of an image of (height, width) that was not judged."""
        empty = np.zeros(size, dtype=bool)
        return tuple(
            self._target(key, one, empty, judgement)
            for key, found in self._latest.items()
            if key in self._requests
            for one in found
        )

    def _target(self, key: str, one: Followed, mask: np.ndarray, judgement: Judgement) -> Target:
        box = box_around(mask)
        return Target(
            command_id=key,
            command=self._requests[key].text,
            track_id=one.identity,
            state=one.state,
            score=one.score,
            frame_score=one.frame_score,
            box=box,
            mask=mask,
            predicted_box=None if box is None else one.predicted_box,
            judgement=judgement,
        )

    def snapshot(self) -> dict[str, Any]:
        """The state of the stream as plain data; see `Capabilities.snapshots`."""
        return {
            **self.stream_snapshot(),
            "commands": {key: [one.text, one.select] for key, one in self._requests.items()},
            "notes": list(self.notes),
            "follower": self.follower.snapshot(),
        }

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Restore the state from a snapshot of a session with the same model and settings."""
        self.restore_stream(remembered)
        self._requests = {
            key: CommandRequest(text, select)
            for key, (text, select) in remembered["commands"].items()
        }
        self.notes = list(remembered["notes"])
        self.follower.restore(remembered["follower"])
