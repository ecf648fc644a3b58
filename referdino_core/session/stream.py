# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stream: the state of all running commands on one camera's images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from referdino_core.backends.backend import Preparation
from referdino_core.configuration import SessionSettings
from referdino_core.network.object_memory import ObjectMemory
from referdino_core.network.referdino import ReferDINO
from referdino_core.session.camera_stream import CameraStream
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
from referdino_core.session.target_tracker import SlotChoice, TargetTracker
from referdino_core.target import Judgement, Target, box_around

WINDOW_INTERVAL = 0.075
"""Minimum seconds between the frames in a steady memory's window. With a faster camera the window
then covers as much time as at 10 images per second, for which the temporal decoder is trained."""


class Stream(CameraStream):
    """State of one stream of images; the network's predictions are computed elsewhere.

    An image is processed in three steps: `admit` records its size and stamp, `questions` returns
    what to ask the predictor, and `conclude` turns the predictions into targets.

    Attributes:
        running: commands by id.
        asked: ids of the commands that the newest image is judged for: all except those whose
            sentence the runtime is still preparing for.
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
        super().begin_stream()
        self.running: dict[str, Command] = {}
        self.asked: tuple[str, ...] = ()
        self.track_count = 0
        self.identities = SharedIdentities()

    @property
    def stream_settings(self) -> SessionSettings:
        """Where the stream breaks."""
        return self.settings

    def forget(self) -> None:
        """Clear every command's memory, but keep the commands."""
        for command in self.running.values():
            command.forget()

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

    def snapshot(self) -> dict[str, Any]:
        """The state of the stream, without the model, as plain data for `torch.save`."""
        return {
            **self.stream_snapshot(),
            "track_count": self.track_count,
            "identities": dict(self.identities.streaks),
            "commands": {key: command.snapshot() for key, command in self.running.items()},
        }

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Restore the state from a snapshot of a session with the same model and settings."""
        self.restore_stream(remembered)
        self.track_count = remembered["track_count"]
        self.identities.streaks = dict(remembered["identities"])
        for key, plain in remembered["commands"].items():
            request = CommandRequest(plain["sentence"], plain["select"])
            text = text_from_snapshot(plain, self.model.device)
            self.running[key] = Command(request, text, self.new_memory, self.new_tracker)
            self.running[key].restore(plain)

    # ---- Images ------------------------------------------------------------------------------

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
        judgement = Judgement.RESET if self.reset_untold else Judgement.JUDGED
        predicted = dict(zip(self.asked, predictions, strict=True))
        self._remember(predicted)
        chosen = [
            (key, choice, predicted.get(key))
            for key, command in self.running.items()
            for choice in command.tracker.standing
        ]
        decode_slots([(one, choice.slot) for _, choice, one in chosen if one and choice.is_seen])
        found = [
            (choice, self._target(key, choice, one, size, judgement)) for key, choice, one in chosen
        ]
        self.identities.update(
            [
                Sighting(target.command_id, choice.track, target.mask, target.box)
                for choice, target in found
                if choice.track is not None and target.box is not None
            ],
            {key: command.tracker.tracks for key, command in self.running.items()},
        )
        self.conclude_image(stamp)
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

    def unjudged(self, size: tuple[int, int], judgement: Judgement) -> tuple[Target, ...]:
        """The targets, with empty masks, of an image of (height, width) that was not judged.

        States, track ids and scores are those of the previous image.
        """
        return tuple(
            self._target(key, choice, None, size, judgement)
            for key, command in self.running.items()
            for choice in command.tracker.standing
        )
