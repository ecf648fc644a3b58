# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Answers to a benchmark's sentences: by the whole clip at once, or frame by frame as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from referdino_core.evaluation.benchmarks import STREAM, WHOLE_CLIP
from referdino_core.evaluation.referring_measures import Candidate
from referdino_core.evaluation.whole_clip import (
    NO_MERGING,
    SINGLE_FRAMES,
    VIDEOS,
    ClipReading,
    read_clip,
)
from referdino_core.messages import run_lengths
from referdino_core.session.session import Session
from referdino_core.target import Target

_SENTENCES_AT_ONCE = 32
_PLAIN_RUNTIME = "torch fp32"


@dataclass(frozen=True, eq=False)
class ReadFrames:
    """The frames of a clip that could be read.

    Attributes:
        clip: the clip's name.
        images: N arrays (H, W, 3) uint8 RGB of one size.
        stamps: N seconds.
        indices: N places in the clip, ascending.
        only_last_counts: whether the last one alone is judged.
    """

    clip: str
    images: Sequence[np.ndarray]
    stamps: Sequence[float]
    indices: Sequence[int]
    only_last_counts: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.images[0].shape[:2]
        return height, width


class Answer(ABC):
    """What is said of one sentence over N frames."""

    @abstractmethod
    def masks(self) -> Iterator[np.ndarray]:
        """What the sentence means in every frame, each (H, W) bool."""

    @abstractmethod
    def probabilities(self) -> Iterator[np.ndarray]:
        """How surely every pixel belongs to it, each (H, W) float32, 0 to 1."""

    @abstractmethod
    def candidates(self) -> list[Candidate]:
        """What the sentence may mean in the last frame, best first."""


class Segmenter(ABC):
    """A way to answer sentences about a clip.

    Attributes:
        name: how users call it.
        sentences_at_once: how many share their work.
        settings: what its answers depend on besides the model, JSON-able.
    """

    name: str
    sentences_at_once: int
    settings: dict[str, Any]

    @abstractmethod
    def check(self, sentence: str) -> None:
        """See whether a sentence can be answered.

        Raises:
            CommandError: it cannot.
        """

    @abstractmethod
    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[Answer]:
        """One answer per sentence; at most `sentences_at_once`."""


class WholeClip(Segmenter):
    """The paper's inference: every frame is judged with the whole clip in view.

    Where only the last frame counts, that frame is the clip: ReferDINO's published figures of A2D-
    and JHMDB-Sentences are of single frames. With single-frame weights the decoder's own queries
    answer then, without tracker and temporal decoder. It runs the model itself, whatever runtime
    the session has.
    """

    name = WHOLE_CLIP
    sentences_at_once = 1

    def __init__(self, session: Session, merge_above: float = NO_MERGING) -> None:
        """Answer with a session's model.

        Args:
            merge_above: slots whose mean score exceeds this are merged; by default the best slot
                alone answers.
        """
        self._session = session
        self._merge_above = merge_above
        self.settings = {"runtime": _PLAIN_RUNTIME, "merge_above": merge_above}

    def check(self, sentence: str) -> None:
        self._session.tokenizer.encode(sentence)

    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[Answer]:
        model, tokenizer = self._session.model, self._session.tokenizer
        seen = slice(-1, None) if frames.only_last_counts else slice(None)
        images, stamps = frames.images[seen], frames.stamps[seen]
        protocol = SINGLE_FRAMES if frames.only_last_counts else VIDEOS
        return [
            _ClipAnswer(
                read_clip(model, tokenizer, sentence, images, stamps, protocol=protocol),
                self._merge_above,
            )
            for sentence in sentences
        ]


class Streamed(Segmenter):
    """The session's inference: a frame is judged by what came before it."""

    name = STREAM
    sentences_at_once = _SENTENCES_AT_ONCE

    def __init__(self, session: Session, merge_above: float = NO_MERGING) -> None:
        """Answer with a session; its commands are replaced.

        Args:
            merge_above: every object whose score exceeds this belongs to what a sentence means, as
                `WholeClip` has it; by default a sentence means what the session's settings say.
        """
        self._session = session
        self._settings = session.settings
        if merge_above < NO_MERGING:
            keep = min(session.settings.keep, merge_above)
            self._settings = replace(session.settings, select="all", accept=merge_above, keep=keep)
        self.settings = {"runtime": session.runtime, **asdict(self._settings)}

    def check(self, sentence: str) -> None:
        self._session.tokenizer.encode(sentence)

    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[Answer]:
        session = self._session
        session.begin_stream()
        usual, session.settings = session.settings, self._settings
        try:
            session.commands = {str(place): sentence for place, sentence in enumerate(sentences)}
            answers = [_StreamAnswer(frames.size) for _ in sentences]
            for image, stamp in zip(frames.images, frames.stamps, strict=True):
                targets = session.step(image, stamp)
                for place, answer in enumerate(answers):
                    answer.add([one for one in targets if one.command_id == str(place)])
        finally:
            session.settings = usual
            session.begin_stream()
        return answers


class _ClipAnswer(Answer):
    def __init__(self, reading: ClipReading, merge_above: float) -> None:
        self._reading = reading
        self._slots = reading.best_slots(merge_above)

    def masks(self) -> Iterator[np.ndarray]:
        for masks in self._reading.masks(self._slots):
            yield np.logical_or.reduce(masks)

    def probabilities(self) -> Iterator[np.ndarray]:
        for probabilities in self._reading.probabilities(self._slots):
            yield probabilities.max(axis=0)

    def candidates(self) -> list[Candidate]:
        scores = self._reading.scores[-1]
        order = np.argsort(-scores, kind="stable").tolist()
        *_, masks = self._reading.masks(order)
        return [
            Candidate(float(scores[slot]), mask) for slot, mask in zip(order, masks, strict=True)
        ]


class _StreamAnswer(Answer):
    """Masks are kept as run lengths: many sentences over a long clip would fill the memory."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._codes: list[str] = []
        self._scores: list[float] = []

    def add(self, targets: Sequence[Target]) -> None:
        """Append the targets of the next frame, merged."""
        merged = np.zeros(self._size, dtype=bool)
        for target in targets:
            merged |= target.mask
        self._codes.append(run_lengths.encode(merged))
        self._scores.append(max((target.frame_score for target in targets), default=0.0))

    def masks(self) -> Iterator[np.ndarray]:
        for code in self._codes:
            yield run_lengths.decode(code, *self._size)

    def probabilities(self) -> Iterator[np.ndarray]:
        """The session decides pixels itself, so its target's score stands for all of them."""
        for mask, score in zip(self.masks(), self._scores, strict=True):
            yield mask.astype(np.float32) * (0.5 + 0.5 * score)

    def candidates(self) -> list[Candidate]:
        mask = run_lengths.decode(self._codes[-1], *self._size)
        return [Candidate(self._scores[-1], mask)] if mask.any() else []
