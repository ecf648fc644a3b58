# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whole-clip inference in a replay: all frames are read first, then replayed with their results."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from referdino_core.errors import Cancelled, CommandError, ImageError, ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks import WHOLE_CLIP
from referdino_core.evaluation.clip_readers import (
    GIGABYTE,
    ClipReader,
    free_memory,
    load_clip_reader,
)
from referdino_core.messages import run_lengths
from referdino_core.progress import ProgressMonitor
from referdino_core.replay.recording import RecordedFrame, Recording
from referdino_core.session.command_request import CommandRequest, single_command
from referdino_core.session.engine import Capabilities
from referdino_core.session.model_choice import LoadedEngine, ModelChoice, load_engine
from referdino_core.target import Judgement, Target, TargetState, box_around

_logger = logging.getLogger("referdino.replay")


@dataclass(frozen=True)
class Answer:
    """Result for one sentence: probability of the object and run lengths of its mask, per frame."""

    scores: Sequence[float]
    codes: Sequence[str]


class WholeClip:
    """Replacement of a session in a replay; every result depends on the whole recording.

    Attributes:
        judgement, reason, reset_count, first_reset: as in a session; every image is judged.
        settings: None, since there are no states.
        commands: sentences of the active commands by id.
    """

    judgement = Judgement.JUDGED
    reason = ""
    reset_count = 0
    first_reset: str | None = None
    settings: Any = None
    capabilities = Capabilities()
    notes: Sequence[str] = ()
    state_bytes: int | None = None

    def __init__(self, reader: ClipReader) -> None:
        self.reader = reader
        self._requests: dict[str, CommandRequest] = {}
        self._answers: dict[str, Answer] = {}
        self._places: list[int | None] = []
        self._size = (0, 0)
        self._next = 0

    @property
    def tokenizer(self) -> ClipReader:
        """Encodes sentences."""
        return self.reader

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return str(self.reader.summary()["name"])

    @property
    def runtime(self) -> str:
        """Name and precision of the runtime."""
        return self.reader.runtime

    @property
    def device(self) -> str:
        """Device of the model."""
        return str(self.reader.device)

    @property
    def commands(self) -> dict[str, str]:
        """Sentences of the active commands by id."""
        return {key: request.text for key, request in self._requests.items()}

    @commands.setter
    def commands(self, wanted: Mapping[str, str | CommandRequest]) -> None:
        requests = {
            key: given if isinstance(given, CommandRequest) else CommandRequest(given)
            for key, given in wanted.items()
        }
        if any(request.select == "all" for request in requests.values()):
            raise CommandError("Whole-clip inference selects one object; leave select out.")
        self._requests = requests

    @property
    def requests(self) -> dict[str, CommandRequest]:
        """The active commands by id."""
        return dict(self._requests)

    def command(self, sentence: str, select: str | None = None) -> None:
        """Replace all commands by one sentence."""
        self.commands = single_command(sentence, select)

    def begin_stream(self) -> None:
        """Forget recording, commands and results."""
        self._requests, self._answers, self._places = {}, {}, []
        self._next = 0

    def read(
        self, recording: Recording, sentences: Iterable[str], monitor: ProgressMonitor
    ) -> None:
        """Read all frames of a recording and compute the results for all sentences.

        Raises:
            Cancelled: the run was cancelled.
            ReferDINOError: the recording does not fit into free memory, or has no readable image.
        """
        images: list[np.ndarray] = []
        stamps: list[float | None] = []
        self._places = []
        for frame in recording.events():
            if not isinstance(frame, RecordedFrame):
                continue
            _raise_if_cancelled(monitor)
            try:
                image = frame.pixels()
            except ImageError:  # reported when the frame is played
                continue
            fits = not images or image.shape == images[0].shape
            self._places.append(len(images) if fits else None)
            if not fits:
                continue
            images.append(image)
            stamps.append(frame.seconds)
            if len(images) == 1 and recording.frame_count:
                self._check_memory(recording.frame_count, image)
        if not images:
            raise SourceError("Not a single image of the recording can be read.")
        self._check_memory(len(images), images[0], tell=not recording.frame_count)
        self._size = images[0].shape[:2]
        seconds = [one for one in stamps if one is not None]
        for sentence in dict.fromkeys(sentences):
            _raise_if_cancelled(monitor)
            _logger.info('Reading %d frames for "%s".', len(images), sentence)
            found = self.reader.read(
                sentence, images, seconds if len(seconds) == len(images) else None
            )
            codes = [run_lengths.encode(mask) for mask in found.masks]
            self._answers[sentence] = Answer([float(score) for score in found.scores], codes)

    def step(self, image: np.ndarray, stamp: float | None = None) -> tuple[Target, ...]:
        """The results for the next image of the recording, one per command.

        Raises:
            ImageError: the image has another size than the first.
        """
        place = self._places[self._next]
        self._next += 1
        if place is None:
            raise ImageError(
                f"The image is {image.shape[1]}x{image.shape[0]}, not "
                f"{self._size[1]}x{self._size[0]} like the first one."
            )
        return tuple(
            self._target(number, key, text, place)
            for number, (key, text) in enumerate(self.commands.items(), start=1)
        )

    def skip(self, stamp: float) -> None:
        """Ignore an image that cannot be read."""

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data: commands, and how many images were played."""
        return {"commands": self.commands, "next": self._next}

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Continue after the images that were played before."""
        self.commands = remembered["commands"]
        self._next = remembered["next"]

    def _target(self, number: int, key: str, text: str, place: int) -> Target:
        answer = self._answers[text]
        mask = run_lengths.decode(answer.codes[place], *self._size)
        return Target(
            command_id=key,
            command=text,
            track_id=number,
            state=TargetState.TRACKING if mask.any() else TargetState.OCCLUDED,
            score=float(np.mean(answer.scores)),
            frame_score=answer.scores[place],
            box=box_around(mask),
            mask=mask,
        )

    def _check_memory(self, frames: int, image: np.ndarray, tell: bool = True) -> None:
        """Log how much memory the clip needs, and check that it is free.

        Raises:
            ReferDINOError: it is not.
        """
        device = self.reader.device
        needed = self.reader.memory(frames, *image.shape[:2])
        if device.type == "cpu":
            needed += frames * image.nbytes
        free = free_memory(device)
        text = (
            f"Whole-clip inference over {frames} frames needs about {needed / GIGABYTE:.1f} GB on "
            f"{device}"
        )
        if free is not None and needed > free:
            raise ReferDINOError(
                f"{text}, and {free / GIGABYTE:.1f} GB are free: give a shorter recording."
            )
        if tell:
            _logger.info("%s%s.", text, f"; {free / GIGABYTE:.1f} GB are free" if free else "")


@dataclass(frozen=True)
class LoadedWholeClip:
    """Whole-clip inference with a loaded model; replaces a `LoadedModel`."""

    session: WholeClip

    @property
    def device(self) -> str:
        """Device of the model."""
        return self.session.device

    def summary(self) -> dict[str, str | bool | None]:
        """What distinguishes the weights."""
        return self.session.reader.summary()


def load_for_replay(choice: ModelChoice, inference: str) -> LoadedEngine:
    """Load an engine, or whole-clip inference, for a replay.

    Raises:
        ReferDINOError: weights, device or runtime are unavailable, or the model cannot read whole
            clips.
    """
    if inference != WHOLE_CLIP:
        return load_engine(choice)
    if choice.is_streaming_peer:
        raise ReferDINOError(f"{choice.model} processes streams only: leave --inference out.")
    return LoadedWholeClip(WholeClip(load_clip_reader(choice)))


def _raise_if_cancelled(monitor: ProgressMonitor) -> None:
    if monitor.cancelled.is_set():
        raise Cancelled("Stopped before the first result; the same command starts again.")
