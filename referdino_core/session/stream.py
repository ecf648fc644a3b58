# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stream: what running commands remember of one camera's images, and what they make of the next."""

from __future__ import annotations

import logging
import math
import numbers
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from referdino_core.configuration import SessionSettings
from referdino_core.errors import ImageError
from referdino_core.network.object_memory import ObjectMemory
from referdino_core.network.pixels import check_proportion
from referdino_core.network.referdino import ReferDINO
from referdino_core.session.command import TRACKERS, Command, text_from_snapshot
from referdino_core.session.command_request import CommandRequest
from referdino_core.session.predictor import Prediction, Predictor, Question
from referdino_core.session.shared_identities import SharedIdentities, Sighting
from referdino_core.session.stream_clock import StreamClock
from referdino_core.session.target import Judgement, Target, box_around
from referdino_core.session.target_tracker import SlotChoice, TargetTracker

logger = logging.getLogger("referdino.session")

SECONDS_BETWEEN_RESET_LOGS = 10.0
MAX_STAMP = 1e12
"""Seconds; beyond it differences of stamps lose their meaning."""
WINDOW_INTERVAL = 0.075
"""Seconds between the frames of a steady memory's window, at least: a faster camera's window spans
as much time as one of 10 images per second, for which the temporal decoder is trained."""


class Stream:
    """The state of one stream; the network's predictions come from outside.

    An image goes through it in three steps: `admit` notes its size and stamp, `questions` says
    what the predictor is asked, `conclude` takes the predictions in and gives the targets.

    Attributes:
        settings: thresholds of the target states.
        running: commands by id.
        clock: the images' stamps.
        judgement: whether the model was able to judge the newest image.
        reset_count: how often the memories were forgotten because the stream broke; first_reset,
            last_reset: why, None before the first.
        failure_count: images in which a command failed or the network's prediction was unusable.
    """

    def __init__(self, model: ReferDINO, predictor: Predictor, settings: SessionSettings) -> None:
        self.model = model
        self.predictor = predictor
        self.settings = settings
        self.begin_stream()

    def begin_stream(self) -> None:
        """Have no commands, and have seen nothing yet."""
        self.last_reset: str | None = None
        self.first_reset: str | None = None
        self.reset_count = 0
        self.failure_count = 0
        self.reset_logged = -math.inf
        self.reset_untold = False
        self.running: dict[str, Command] = {}
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
        """Why memories were reset before the newest image, or why it was dropped; else empty."""
        return {
            Judgement.RESET: f"Memories were reset: {self.last_reset}.",
            Judgement.LATE: "The image is stamped before its predecessor and was dropped.",
        }.get(self.judgement, "")

    @property
    def late_count(self) -> int:
        """How many images were dropped because they were stamped before their predecessor."""
        return self.clock.late

    def new_memory(self) -> ObjectMemory:
        """An object memory of the settings' window."""
        interval = WINDOW_INTERVAL if self.settings.memory == "steady" else 0.0
        return self.model.object_memory(self.settings.window, interval)

    def new_tracker(self, select: str | None) -> TargetTracker:
        """A tracker that numbers its tracks from the session's counter."""
        return TRACKERS[select or self.settings.select](self.new_track_id)

    def new_track_id(self) -> int:
        """An identity that no object of this session has had."""
        self.track_count += 1
        return self.track_count

    # ---- Memory ------------------------------------------------------------------------------

    def reset(self, reason: str) -> None:
        """Forget every command's memory, keep the commands, and say why in the log now and then."""
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
        """Everything that is remembered, as plain data for `torch.save`; not the model."""
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
        """Go on where a session of the same model and settings took this snapshot."""
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
        """Note a camera image that will not be judged, for example because a newer one is there.

        What the session takes for a gap in the stream, or for a jump of its clock, depends on all
        images of the camera, in the order in which they came.

        Args:
            stamp: seconds.
        """
        if self.clock.is_late(stamp, self.settings):
            return
        break_in_time = self.clock.note(stamp, self.settings)
        if break_in_time is not None:
            self.reset(break_in_time)

    def admit(self, size: tuple[int, int], stamp: float | None) -> float | None:
        """Note the next image's (height, width) and stamp; resets where the stream breaks.

        Returns:
            Its stamp; None where it is late and must not be judged.
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

    def questions(self, image: int, stamp: float) -> list[Question]:
        """The running commands' questions about an image, by its place in the batch."""
        return [
            Question(image, command.sentence, command.text, command.memory, stamp)
            for command in self.running.values()
        ]

    def conclude(
        self, predictions: Sequence[Prediction], size: tuple[int, int], stamp: float
    ) -> tuple[Target, ...]:
        """Remember the predictions, one per running command, and choose the targets.

        A command that fails forgets what it remembered, rather than half of it.
        """
        self.judgement = Judgement.RESET if self.reset_untold else Judgement.JUDGED
        found: list[tuple[str, SlotChoice, Target]] = []
        for (key, command), prediction in zip(self.running.items(), predictions, strict=True):
            try:
                for choice in command.tracker.update(prediction.readings, self.settings):
                    found.append((key, choice, self._target(key, choice, prediction, size)))
                command.remember(prediction.frame, prediction.readings, self.settings)
            except Exception:
                command.forget()
                raise
        self.identities.update(
            [
                Sighting(key, choice.track, target.mask, target.box)
                for key, choice, target in found
                if choice.track is not None and target.box is not None
            ],
            {key: command.tracker.tracks for key, command in self.running.items()},
        )
        self.clock.judged = stamp
        self.reset_untold = False
        return tuple(replace(target, track_id=choice.track_id) for _, choice, target in found)

    def _target(
        self, key: str, choice: SlotChoice, prediction: Prediction, size: tuple[int, int]
    ) -> Target:
        height, width = size
        mask = np.zeros(size, dtype=bool)
        predicted_box = None
        if choice.is_seen:
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
            judgement=self.judgement,
        )

    def fail(self) -> None:
        """Note that the newest image could not be judged."""
        self.judgement = Judgement.FAILED
        self.failure_count += 1

    def unjudged(self, size: tuple[int, int], judgement: Judgement) -> tuple[Target, ...]:
        """The targets of an image of (height, width) that was not judged, with empty masks.

        States, track ids and scores are those of the image before.
        """
        return tuple(
            Target(
                command_id=key,
                command=command.sentence,
                track_id=choice.track_id,
                state=choice.state,
                score=choice.score,
                frame_score=choice.frame_score,
                box=None,
                mask=np.zeros(size, dtype=bool),
                judgement=judgement,
            )
            for key, command in self.running.items()
            for choice in command.tracker.standing
        )


def check_image(image: np.ndarray, stamp: float | None) -> None:
    """Raise ImageError unless this is a non-empty (H, W, 3) uint8 array at a finite time."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"An image is a NumPy array, not {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(
            f"An image is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}; convert it first."
        )
    if not image.shape[0] or not image.shape[1]:
        raise ImageError(f"The image has no pixels: {image.shape[1]}x{image.shape[0]}.")
    check_proportion(*image.shape[:2])
    if stamp is None:
        return
    if not isinstance(stamp, numbers.Real) or not abs(stamp) <= MAX_STAMP:
        raise ImageError(f"The stamp {stamp!r} is no time; give seconds.")


def step_together(
    streams: Sequence[Stream], images: Sequence[np.ndarray], stamps: Sequence[float | None]
) -> list[tuple[Target, ...]]:
    """One image for each of several streams, through the model in one batch.

    Args:
        streams: that share their predictor.
        images: checked, of one size. stamps: seconds, None for 0.1 s after the one before.

    Returns:
        Every stream's targets.
    """
    height, width = images[0].shape[:2] if images else (0, 0)
    size = (height, width)
    admitted = [stream.admit(size, stamp) for stream, stamp in zip(streams, stamps, strict=True)]
    questions = [
        question
        for place, (stream, stamp) in enumerate(zip(streams, admitted, strict=True))
        if stamp is not None
        for question in stream.questions(place, stamp)
    ]
    try:
        predictions = streams[0].predictor.predict(images, questions) if questions else []
    except Exception:
        for stream, stamp in zip(streams, admitted, strict=True):
            if stamp is not None:
                stream.fail()
        raise
    return conclude_together(streams, admitted, predictions, size)


def conclude_together(
    streams: Sequence[Stream],
    admitted: Sequence[float | None],
    predictions: Sequence[Prediction],
    size: tuple[int, int],
) -> list[tuple[Target, ...]]:
    """Let every stream conclude; one that fails keeps none of the others from it.

    Args:
        admitted: the images' stamps; None where an image was late.
        predictions: of all streams' running commands, in order.

    Raises:
        Exception: the first failure, once all streams have concluded.
    """
    results: list[tuple[Target, ...]] = []
    failures: list[Exception] = []
    remaining = iter(predictions)
    for stream, stamp in zip(streams, admitted, strict=True):
        if stamp is None:
            results.append(stream.unjudged(size, Judgement.LATE))
            continue
        own = [next(remaining) for _ in stream.running]
        try:
            results.append(stream.conclude(own, size, stamp))
        except Exception as error:
            stream.fail()
            failures.append(error)
    if failures:
        raise failures[0]
    return results
