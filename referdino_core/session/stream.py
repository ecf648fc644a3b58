# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stream: the state of all running commands on one camera's images."""

from __future__ import annotations

import logging
import math
import numbers
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from referdino_core.backends.backend import Preparation
from referdino_core.configuration import SessionSettings
from referdino_core.errors import ImageError
from referdino_core.network.object_memory import ObjectMemory
from referdino_core.network.pixels import check_proportion
from referdino_core.network.referdino import ReferDINO
from referdino_core.session.command import (
    TRACKERS,
    Command,
    remember_together,
    text_from_snapshot,
)
from referdino_core.session.command_request import CommandRequest
from referdino_core.session.prediction import Prediction, Question, decode_slots
from referdino_core.session.predictor import Predictor
from referdino_core.session.shared_identities import SharedIdentities, Sighting
from referdino_core.session.stream_clock import StreamClock
from referdino_core.session.target_tracker import SlotChoice, TargetTracker
from referdino_core.target import Judgement, Target, box_around

logger = logging.getLogger("referdino.session")

SECONDS_BETWEEN_RESET_LOGS = 10.0
MAX_STAMP = 1e12
"""Seconds; differences between larger stamps lose their precision."""
WINDOW_INTERVAL = 0.075
"""Minimum seconds between the frames in a steady memory's window. With a faster camera the window
then covers as much time as at 10 images per second, for which the temporal decoder is trained."""


class Stream:
    """State of one stream of images; the network's predictions are computed elsewhere.

    An image is processed in three steps: `admit` records its size and stamp, `questions` returns
    what to ask the predictor, and `conclude` turns the predictions into targets.

    Attributes:
        running: commands by id.
        asked: ids of the commands that the newest image is judged for: all except those whose
            sentence the runtime is still preparing for.
        clock: the images' stamps.
        judgement: whether the model was able to judge the newest image.
        reset_count: number of resets of the memories after a break in the stream.
        first_reset, last_reset: reasons of the first and last of them; None before the first.
        failure_count: images in which a command failed or the network's prediction was unusable.
    """

    def __init__(self, model: ReferDINO, predictor: Predictor, settings: SessionSettings) -> None:
        self.model = model
        self.predictor = predictor
        self.settings = settings
        self.begin_stream()

    @property
    def settings(self) -> SessionSettings:
        """Thresholds of the target states.

        Raises:
            RuntimeUnavailable: the runtime does not support this window; the settings are kept.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: SessionSettings) -> None:
        single_frame = self.model.configuration.single_frame
        self.predictor.backend.allow_window(1 if single_frame else settings.window)
        self._settings = settings

    def begin_stream(self) -> None:
        """Start over without commands and without any image seen."""
        self.last_reset: str | None = None
        self.first_reset: str | None = None
        self.reset_count = 0
        self.failure_count = 0
        self.reset_logged = -math.inf
        self.reset_untold = False
        self.running: dict[str, Command] = {}
        self.asked: tuple[str, ...] = ()
        self.track_count = 0
        self.identities = SharedIdentities()
        self.image_size: tuple[int, int] | None = None
        self.clock = StreamClock()
        self.judgement = Judgement.JUDGED

    @property
    def stamp(self) -> float | None:
        """Seconds of the newest image that was judged."""
        return self.clock.judged

    @property
    def reason(self) -> str:
        """Why memories were reset before the newest image, or why it was dropped; "" otherwise."""
        return {
            Judgement.RESET: f"Memories were reset: {self.last_reset}.",
            Judgement.LATE: "The image is stamped before its predecessor and was dropped.",
        }.get(self.judgement, "")

    @property
    def late_count(self) -> int:
        """Number of images dropped because they were stamped before their predecessor."""
        return self.clock.late

    def new_memory(self) -> ObjectMemory:
        """An empty object memory with the window of the settings."""
        interval = WINDOW_INTERVAL if self.settings.memory == "steady" else 0.0
        return self.model.object_memory(self.settings.window, interval)

    def new_tracker(self, select: str | None) -> TargetTracker:
        """A tracker that takes track ids from the session's counter."""
        return TRACKERS[select or self.settings.select](self.new_track_id)

    def new_track_id(self) -> int:
        """A track id that is unused in this session."""
        self.track_count += 1
        return self.track_count

    # ---- Memory ------------------------------------------------------------------------------

    def reset(self, reason: str) -> None:
        """Clear every command's memory, but keep the commands; log the reason, rate-limited."""
        self.last_reset = reason
        self.first_reset = self.first_reset or reason
        self.reset_count += 1
        self.reset_untold = True
        now = time.monotonic()
        if now - self.reset_logged >= SECONDS_BETWEEN_RESET_LOGS:
            self.reset_logged = now
            logger.warning("Memories were reset: %s (reset %d).", reason, self.reset_count)
        for command in self.running.values():
            command.forget()

    def snapshot(self) -> dict[str, Any]:
        """The state of the stream, without the model, as plain data for `torch.save`."""
        return {
            "image_size": self.image_size,
            "clock": vars(self.clock).copy(),
            "last_reset": self.last_reset,
            "first_reset": self.first_reset,
            "reset_count": self.reset_count,
            "reset_untold": self.reset_untold,
            "failure_count": self.failure_count,
            "track_count": self.track_count,
            "identities": dict(self.identities.streaks),
            "commands": {key: command.snapshot() for key, command in self.running.items()},
        }

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Restore the state from a snapshot of a session with the same model and settings."""
        self.begin_stream()
        self.image_size = remembered["image_size"]
        self.clock = StreamClock(**remembered["clock"])
        self.last_reset = remembered["last_reset"]
        self.first_reset = remembered["first_reset"]
        self.reset_count = remembered["reset_count"]
        self.reset_untold = remembered["reset_untold"]
        self.failure_count = remembered["failure_count"]
        self.track_count = remembered["track_count"]
        self.identities.streaks = dict(remembered["identities"])
        for key, plain in remembered["commands"].items():
            request = CommandRequest(plain["sentence"], plain["select"])
            text = text_from_snapshot(plain, self.model.device)
            self.running[key] = Command(request, text, self.new_memory, self.new_tracker)
            self.running[key].restore(plain)

    # ---- Images ------------------------------------------------------------------------------

    def skip(self, stamp: float) -> None:
        """Record a camera image that will not be judged, for example because a newer one arrived.

        Gaps in the stream and jumps of its clock are detected from all images of the camera, in
        the order of their arrival.

        Args:
            stamp: seconds.
        """
        if self.clock.is_late(stamp, self.settings):
            return
        break_in_time = self.clock.note(stamp, self.settings)
        if break_in_time is not None:
            self.reset(break_in_time)

    def admit(self, size: tuple[int, int], stamp: float | None) -> float | None:
        """Record the next image's (height, width) and stamp; resets memories if the stream breaks.

        Returns:
            Its stamp; None if it is late and must not be judged.
        """
        stamp = self.clock.following() if stamp is None else float(stamp)
        if self.clock.is_late(stamp, self.settings):
            self.clock.late += 1
            self.judgement = Judgement.LATE
            return None
        height, width = size
        broken = []
        if self.image_size not in (None, size):
            before = "x".join(str(side) for side in reversed(self.image_size or ()))
            broken.append(f"the image size changed from {before} to {width}x{height}")
        break_in_time = self.clock.note(stamp, self.settings)
        if break_in_time is not None:
            broken.append(break_in_time)
        if broken:
            self.reset(" and ".join(broken))
        self.image_size = size
        return stamp

    @property
    def preparing(self) -> dict[str, Preparation]:
        """Preparations by id, of the commands whose sentence the runtime is not yet ready for."""
        backend, shown = self.predictor.backend, self.image_size
        size = None if shown is None else self.predictor.size_of(shown)
        found = {key: backend.preparation(one.tokens, size) for key, one in self.running.items()}
        return {key: one for key, one in found.items() if one is not None}

    def questions(self, image: int, stamp: float) -> list[Question]:
        """The running commands' questions about an image, given by its index in the batch.

        Commands that the runtime is still preparing for ask none.
        """
        preparing = self.preparing
        self.asked = tuple(key for key in self.running if key not in preparing)
        asked = [self.running[key] for key in self.asked]
        return [
            Question(image, one.sentence, one.text, one.memory, stamp, one.tracker.seen_slots())
            for one in asked
        ]

    def conclude(
        self, predictions: Sequence[Prediction], size: tuple[int, int], stamp: float
    ) -> tuple[Target, ...]:
        """Remember the predictions, one per command in `asked`, and choose the targets.

        Other commands keep their state: searching, if they were never asked. A command that fails
        is cleared, so that it is never left half updated.
        """
        self.judgement = Judgement.RESET if self.reset_untold else Judgement.JUDGED
        predicted = dict(zip(self.asked, predictions, strict=True))
        self._remember(predicted)
        chosen = [
            (key, choice, predicted.get(key))
            for key, command in self.running.items()
            for choice in command.tracker.standing
        ]
        decode_slots([(one, choice.slot) for _, choice, one in chosen if one and choice.is_seen])
        found = [
            (choice, self._target(key, choice, one, size, self.judgement))
            for key, choice, one in chosen
        ]
        self.identities.update(
            [
                Sighting(target.command_id, choice.track, target.mask, target.box)
                for choice, target in found
                if choice.track is not None and target.box is not None
            ],
            {key: command.tracker.tracks for key, command in self.running.items()},
        )
        self.clock.judged = stamp
        self.reset_untold = False
        return tuple(replace(target, track_id=choice.track_id) for choice, target in found)

    def _remember(self, predicted: Mapping[str, Prediction]) -> None:
        """Update all trackers and memories with the newest image, then raise the first failure."""
        failures: list[Exception] = []
        followed: list[tuple[Command, Prediction]] = []
        for key, prediction in predicted.items():
            command = self.running[key]
            try:
                command.tracker.update(prediction.readings, self.settings)
            except Exception as error:
                command.forget()
                failures.append(error)
            else:
                followed.append((command, prediction))
        failures += remember_together(followed, self.settings)
        if failures:
            raise failures[0]

    def _target(
        self,
        key: str,
        choice: SlotChoice,
        prediction: Prediction | None,
        size: tuple[int, int],
        judgement: Judgement,
    ) -> Target:
        """A target of a command; without a prediction it keeps its state and has an empty mask."""
        height, width = size
        predicted_box = None
        if prediction is None or not choice.is_seen:
            mask = np.zeros(size, dtype=bool)
        else:
            mask = prediction.mask(choice.slot, size, self.settings.mask_threshold)
            left, top, right, bottom = prediction.readings.boxes[choice.slot].tolist()
            predicted_box = (left * width, top * height, right * width, bottom * height)
        return Target(
            command_id=key,
            command=self.running[key].sentence,
            track_id=choice.track_id,
            state=choice.state,
            score=choice.score,
            frame_score=choice.frame_score,
            box=box_around(mask),
            mask=mask,
            predicted_box=predicted_box,
            judgement=judgement,
        )

    def fail(self) -> None:
        """Record that the newest image could not be judged."""
        self.judgement = Judgement.FAILED
        self.failure_count += 1

    def unjudged(self, size: tuple[int, int], judgement: Judgement) -> tuple[Target, ...]:
        """The targets, with empty masks, of an image of (height, width) that was not judged.

        States, track ids and scores are those of the previous image.
        """
        return tuple(
            self._target(key, choice, None, size, judgement)
            for key, command in self.running.items()
            for choice in command.tracker.standing
        )


def check_image(image: np.ndarray, stamp: float | None) -> None:
    """Raise ImageError unless the image is a non-empty (H, W, 3) uint8 array at a finite time."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"An image must be a NumPy array, not {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(
            f"An image must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}; convert it."
        )
    if not image.shape[0] or not image.shape[1]:
        raise ImageError(f"The image has no pixels: {image.shape[1]}x{image.shape[0]}.")
    check_proportion(*image.shape[:2])
    if stamp is None:
        return
    if not isinstance(stamp, numbers.Real) or not abs(stamp) <= MAX_STAMP:
        raise ImageError(f"The stamp {stamp!r} is not a valid time; give seconds.")
