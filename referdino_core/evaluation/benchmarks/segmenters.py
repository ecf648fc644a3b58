# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Inference for benchmarks: on the whole clip at once, or frame by frame as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from referdino_core.configuration import SessionSettings
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
from referdino_core.session.command_request import CommandRequest
from referdino_core.session.engine import Engine
from referdino_core.session.session import Session
from referdino_core.target import Target

_SENTENCES_AT_ONCE = 32
_PLAIN_RUNTIME = "torch fp32"


@dataclass(frozen=True, eq=False)
class ReadFrames:
    """The readable frames of a clip.

    Attributes:
        clip: the clip's name.
        images: N arrays (H, W, 3) uint8 RGB of one size.
        stamps: N seconds.
        indices: N positions in the clip, ascending.
        only_frame: index in `images` of the only evaluated frame; None if all are evaluated.
    """

    clip: str
    images: Sequence[np.ndarray]
    stamps: Sequence[float]
    indices: Sequence[int]
    only_frame: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.images[0].shape[:2]
        return height, width


class SentenceResult(ABC):
    """The result for one sentence over N frames."""

    @abstractmethod
    def masks(self) -> Iterator[np.ndarray]:
        """The mask of every frame, each (H, W) bool."""

    @abstractmethod
    def probabilities(self) -> Iterator[np.ndarray]:
        """The mask probabilities of every frame, each (H, W) float32, 0 to 1."""

    @abstractmethod
    def candidates(self) -> list[Candidate]:
        """Candidate objects in the last frame, best first."""


class Segmenter(ABC):
    """An inference mode, which segments a clip by sentences.

    Attributes:
        name: name of the mode for users.
        sentences_at_once: maximum number of sentences processed together.
        settings: settings besides the model that the results depend on, JSON-serializable.
    """

    name: str
    sentences_at_once: int
    settings: dict[str, Any]

    @abstractmethod
    def check(self, sentence: str) -> None:
        """Check that a sentence is valid.

        Raises:
            CommandError: it is not.
        """

    @abstractmethod
    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[SentenceResult]:
        """One result per sentence, of at most `sentences_at_once`."""


class WholeClip(Segmenter):
    """The paper's inference: every frame is segmented with the whole clip as context.

    If only the last frame counts, that frame alone is the clip: ReferDINO's published results on
    A2D- and JHMDB-Sentences are of single frames. With single-frame weights the queries of the
    decoder are used then, without tracker and temporal decoder. It runs the model in PyTorch,
    whatever runtime the session has.
    """

    name = WHOLE_CLIP
    sentences_at_once = 1

    def __init__(self, session: Session, merge_above: float = NO_MERGING) -> None:
        """Use a session's model.

        Args:
            merge_above: slots whose mean score exceeds this are merged; by default only the best
                slot is used.
        """
        self._session = session
        self._merge_above = merge_above
        self.settings = {"runtime": _PLAIN_RUNTIME, "merge_above": merge_above}

    def check(self, sentence: str) -> None:
        self._session.tokenizer.encode(sentence)

    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[SentenceResult]:
        model, tokenizer = self._session.model, self._session.tokenizer
        only = frames.only_frame
        seen = slice(None) if only is None else slice(only, only + 1)
        images, stamps = frames.images[seen], frames.stamps[seen]
        protocol = VIDEOS if only is None else SINGLE_FRAMES
        return [
            _ClipResult(
                read_clip(model, tokenizer, sentence, images, stamps, protocol=protocol),
                self._merge_above,
            )
            for sentence in sentences
        ]


class Streamed(Segmenter):
    """An engine's inference: every frame is segmented with only earlier frames as context."""

    name = STREAM
    sentences_at_once = _SENTENCES_AT_ONCE

    def __init__(self, session: Engine, merge_above: float = NO_MERGING) -> None:
        """Use an engine; its commands are replaced.

        Args:
            merge_above: all objects whose score exceeds this are merged, as in `WholeClip`; by
                default the engine's settings apply. Of a peer all objects are merged then,
                whose scores have their own thresholds.
        """
        self._session = session
        self._settings = session.settings
        if merge_above < NO_MERGING:
            self._settings = replace(session.settings, select="all")
        if merge_above < NO_MERGING and isinstance(session.settings, SessionSettings):
            keep = min(session.settings.keep, merge_above)
            self._settings = replace(self._settings, accept=merge_above, keep=keep)
        self.settings = {"runtime": session.runtime, **asdict(self._settings)}

    def check(self, sentence: str) -> None:
        self._session.tokenizer.encode(sentence)

    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[SentenceResult]:
        session = self._session
        session.begin_stream()
        usual, session.settings = session.settings, self._settings
        try:
            session.commands = {
                str(place): CommandRequest(one) for place, one in enumerate(sentences)
            }
            results = [_StreamResult(frames.size) for _ in sentences]
            end = None if frames.only_frame is None else frames.only_frame + 1
            for image, stamp in zip(frames.images[:end], frames.stamps[:end], strict=True):
                targets = session.step(image, stamp)
                for place, result in enumerate(results):
                    result.add([one for one in targets if one.command_id == str(place)])
        finally:
            session.settings = usual
            session.begin_stream()
        return results


class _ClipResult(SentenceResult):
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


class _StreamResult(SentenceResult):
    """Result of a stream, with masks as run lengths to bound the memory of long clips."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._codes: list[str] = []
        self._scores: list[float] = []

    def add(self, targets: Sequence[Target]) -> None:
        """Append the merged targets of the next frame."""
        merged = np.zeros(self._size, dtype=bool)
        for target in targets:
            merged |= target.mask
        self._codes.append(run_lengths.encode(merged))
        self._scores.append(max((target.frame_score for target in targets), default=0.0))

    def masks(self) -> Iterator[np.ndarray]:
        for code in self._codes:
            yield run_lengths.decode(code, *self._size)

    def probabilities(self) -> Iterator[np.ndarray]:
        """The target's score for all pixels of its mask, which the session has thresholded."""
        for mask, score in zip(self.masks(), self._scores, strict=True):
            yield mask.astype(np.float32) * (0.5 + 0.5 * score)

    def candidates(self) -> list[Candidate]:
        mask = run_lengths.decode(self._codes[-1], *self._size)
        return [Candidate(self._scores[-1], mask)] if mask.any() else []
