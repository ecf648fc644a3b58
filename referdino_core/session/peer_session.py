# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""PeerSession: the engine that gives another published model the interface of a session."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from referdino_core.configuration import MAX_COMMANDS, SessionSettings
from referdino_core.errors import CommandError
from referdino_core.network.tokenizer import caption
from referdino_core.peers.following import Followed, PeerFollower, PeerSettings, Sought
from referdino_core.session.command_request import CommandRequest, single_command
from referdino_core.session.engine import Capabilities
from referdino_core.session.stream import check_image
from referdino_core.session.stream_clock import StreamClock
from referdino_core.target import Judgement, Target, box_around

_logger = logging.getLogger("referdino.session")


class PeerSession:
    """Follows sentences through one stream with another published model.

    Commands, stamps, late images and breaks in the stream are treated as in `Session`. Not
    thread-safe.

    Attributes:
        follower: the model with its memory of the stream.
        judgement, reset_count, first_reset, last_reset, failure_count: as in `Session`.
        image_size: (height, width) of the newest image; None before the first.
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
        self.judgement = Judgement.JUDGED
        self.last_reset: str | None = None
        self.first_reset: str | None = None
        self.reset_count = self.failure_count = 0
        self.reset_untold = False
        self.image_size: tuple[int, int] | None = None
        self.clock = StreamClock()
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
    def state_bytes(self) -> int:
        """Bytes of the model's memory of the stream."""
        return self.follower.state_bytes

    @property
    def late_count(self) -> int:
        """Number of images dropped because they were stamped before their predecessor."""
        return self.clock.late

    @property
    def reason(self) -> str:
        """Why memories were reset before the newest image, or why it was dropped; "" otherwise."""
        return {
            Judgement.RESET: f"Memories were reset: {self.last_reset}.",
            Judgement.LATE: "The image is stamped before its predecessor and was dropped.",
        }.get(self.judgement, "")

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
        if len(wanted) > MAX_COMMANDS:
            raise CommandError(
                f"{len(wanted)} commands were given; at most {MAX_COMMANDS} run at once."
            )
        requests = {}
        for key, given in wanted.items():
            if not isinstance(key, str) or not key.strip():
                raise CommandError("Every command needs an id that is not empty.")
            request = given if isinstance(given, CommandRequest) else CommandRequest(given)
            self.encode(request.text)
            requests[key] = request
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

    def skip(self, stamp: float) -> None:
        """Record a camera image that will not be judged, by its stamp in seconds."""
        if self.clock.is_late(stamp, self._clock_settings):
            return
        break_in_time = self.clock.note(stamp, self._clock_settings)
        if break_in_time is not None:
            self.reset(break_in_time)

    def reset(self, reason: str) -> None:
        """Clear every command's memory, but keep the commands."""
        self.last_reset = reason
        self.first_reset = self.first_reset or reason
        self.reset_count += 1
        self.reset_untold = True
        self._latest = {}
        self.follower.forget()
        _logger.warning("Memories were reset: %s (reset %d).", reason, self.reset_count)

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
        stamp = self.clock.following() if stamp is None else float(stamp)
        if self.clock.is_late(stamp, self._clock_settings):
            self.clock.late += 1
            self.judgement = Judgement.LATE
            return self.unjudged(size, Judgement.LATE)
        self._admit(size, stamp)
        sought = {
            key: Sought(request.text, (request.select or self.settings.select) == "all")
            for key, request in self._requests.items()
        }
        try:
            self._latest = self.follower.follow(image, stamp, sought) if sought else {}
        except Exception:
            self.judgement = Judgement.FAILED
            self.failure_count += 1
            raise
        self.judgement = Judgement.RESET if self.reset_untold else Judgement.JUDGED
        self.reset_untold = False
        self.clock.judged = stamp
        return tuple(
            self._target(key, one, one.mask, self.judgement)
            for key, found in self._latest.items()
            for one in found
        )

    def _admit(self, size: tuple[int, int], stamp: float) -> None:
        broken = []
        if self.image_size not in (None, size):
            before = "x".join(str(side) for side in reversed(self.image_size or ()))
            broken.append(f"the image size changed from {before} to {size[1]}x{size[0]}")
        break_in_time = self.clock.note(stamp, self._clock_settings)
        if break_in_time is not None:
            broken.append(break_in_time)
        if broken:
            self.reset(" and ".join(broken))
        self.image_size = size

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

    @property
    def _clock_settings(self) -> SessionSettings:
        settings = self.settings
        return SessionSettings(max_gap=settings.max_gap, max_lateness=settings.max_lateness)

    def snapshot(self) -> dict[str, Any]:
        """The state of the stream as plain data; see `Capabilities.snapshots`."""
        return {
            "image_size": self.image_size,
            "clock": vars(self.clock).copy(),
            "resets": [self.reset_count, self.first_reset, self.last_reset, self.reset_untold],
            "failure_count": self.failure_count,
            "commands": {key: [one.text, one.select] for key, one in self._requests.items()},
            "notes": list(self.notes),
            "follower": self.follower.snapshot(),
        }

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Restore the state from a snapshot of a session with the same model and settings."""
        self.begin_stream()
        size = remembered["image_size"]
        self.image_size = None if size is None else (size[0], size[1])
        self.clock = StreamClock(**remembered["clock"])
        self.reset_count, self.first_reset, self.last_reset, self.reset_untold = remembered[
            "resets"
        ]
        self.failure_count = remembered["failure_count"]
        self._requests = {
            key: CommandRequest(text, select)
            for key, (text, select) in remembered["commands"].items()
        }
        self.notes = list(remembered["notes"])
        self.follower.restore(remembered["follower"])
