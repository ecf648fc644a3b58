# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A run of one benchmark in one inference mode: prediction, scores and a record per question."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from referdino_core.errors import CommandError, ImageError, ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks.clips import Benchmark, Clip, Question
from referdino_core.evaluation.benchmarks.protocols import (
    EvaluatedFrame,
    Protocol,
    evaluated_frames,
)
from referdino_core.evaluation.benchmarks.records import Json, Record, RecordStore
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames, Segmenter, SentenceResult

_logger = logging.getLogger("referdino.evaluate")


@dataclass
class Outcome:
    """Outcome of a run.

    Attributes:
        keys: clip and question of every record, in the benchmark's order.
        problems: one line per problem, without repetitions.
        complete: whether all questions were processed.
        clips_skipped: number of skipped clips, or whole videos.
        expressions_skipped: number of skipped expressions of other clips.
    """

    keys: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    complete: bool = True
    clips_skipped: int = 0
    expressions_skipped: int = 0

    def note(self, problem: str) -> None:
        """Add a problem and log it, once."""
        if problem not in self.problems:
            self.problems.append(problem)
            _logger.warning("%s", problem)

    def skip_clip(self, problem: str) -> None:
        """Count a clip, or a whole video, that is skipped, once."""
        self.clips_skipped += problem not in self.problems
        self.note(problem)

    def skip_expressions(self, problem: str, count: int = 1) -> None:
        """Count expressions that are skipped, once."""
        self.expressions_skipped += 0 if problem in self.problems else count
        self.note(problem)


@dataclass(frozen=True)
class _SeenClip:
    """A clip of a video with its readable images.

    Attributes:
        frames: the readable frames; None if none of them counts, so that predictions are empty.
        size: height and width of the frames, or of the ground truth if there are none.
        unread: indices of unreadable frames. evaluated: the frames with ground truth.
        problems: one line per problem.
    """

    video: str
    clip: Clip
    frames: ReadFrames | None
    size: tuple[int, int]
    unread: list[int]
    evaluated: list[EvaluatedFrame]
    problems: list[str]


class BenchmarkRun:
    """A run over the questions of a benchmark, which resumes from the records of earlier runs."""

    def __init__(
        self,
        benchmark: Benchmark,
        protocol: Protocol,
        segmenter: Segmenter,
        store: RecordStore,
        stopped: Callable[[], bool],
    ) -> None:
        self._benchmark = benchmark
        self._protocol = protocol
        self._segmenter = segmenter
        self._store = store
        self._stopped = stopped
        self.outcome = Outcome()

    def process(self, videos: Iterable[str]) -> Outcome:
        """Process videos until all are done or the user stops.

        Problems of the files are added to the outcome, and the run continues.

        Raises:
            OutputError: a record cannot be written.
        """
        self._note_files()
        for video in videos:
            if self._stopped():
                self.outcome.complete = False
                break
            try:
                for clip in self._benchmark.clips(video):
                    self._process_clip(video, clip)
                    if not self.outcome.complete:
                        break
            except SourceError as error:
                self.outcome.skip_clip(str(error))
            self._note_files()
        return self.outcome

    def records(self) -> Iterator[Record]:
        """The records of the outcome, read one by one."""
        for clip, question in self.outcome.keys:
            record = self._store.read(clip, question)
            if record is not None:
                yield record

    def _note_files(self) -> None:
        """Add the problems that the reader has found so far."""
        for problem in self._benchmark.problems:
            self.outcome.note(problem)
        for problem in self._benchmark.clips_skipped:
            self.outcome.skip_clip(problem)
        for problem in self._benchmark.expressions_skipped:
            self.outcome.skip_expressions(problem)

    def _process_clip(self, video: str, clip: Clip) -> None:
        known = {q.name: self._store.read(clip.name, q.name) for q in clip.questions}
        for record in known.values():
            for problem in record.problems if record else ():
                self.outcome.note(problem)
        pending = [question for question in clip.questions if known[question.name] is None]
        for record in self._process_questions(video, clip, self._valid_questions(clip, pending)):
            self._store.write(record)
            known[record.question] = record
        self.outcome.keys += [(clip.name, name) for name, record in known.items() if record]

    def _process_questions(
        self, video: str, clip: Clip, questions: Sequence[Question]
    ) -> Iterator[Record]:
        if not questions:
            return
        problems: list[str] = []
        images, indices = _read(clip, problems.append)
        frames = _frames_that_count(clip, images, indices)
        size = images[0].shape[:2] if images else (0, 0)
        evaluated = evaluated_frames(clip, indices, size, problems.append)
        if frames is None:
            missing = f"{clip.name} {{}}: no frame that counts can be read."
            if not evaluated:
                self.outcome.skip_clip(missing.format("is skipped"))
                return
            problems.append(missing.format("has an empty prediction"))
            size = evaluated[0].truth.size
        for problem in problems:
            self.outcome.note(problem)
        unread = sorted(set(range(len(clip.frame_names))) - set(indices))
        seen = _SeenClip(video, clip, frames, size, unread, evaluated, problems)
        for group in self._groups(questions):
            if self._stopped():
                self.outcome.complete = False
                return
            yield from self._records(seen, group)

    def _valid_questions(self, clip: Clip, questions: Sequence[Question]) -> list[Question]:
        valid = []
        for question in questions:
            try:
                for expression in question.expressions:
                    self._segmenter.check(expression.sentence)
            except CommandError as error:
                self.outcome.skip_expressions(
                    f"{clip.name}, expression {question.name} is skipped: {error}",
                    len(question.expressions),
                )
                continue
            valid.append(question)
        return valid

    def _groups(self, questions: Sequence[Question]) -> Iterator[list[Question]]:
        """Questions to process together, as many as fit and at least one."""
        waiting = iter(questions)
        for first in waiting:
            room = self._segmenter.sentences_at_once // len(first.expressions)
            yield [first, *islice(waiting, max(room - 1, 0))]

    def _records(self, seen: _SeenClip, group: Sequence[Question]) -> Iterator[Record]:
        """Predict and score questions; none if the network fails on the clip."""
        clip = seen.clip
        try:
            predictions = self._predict(clip, group, seen.frames)
        except (ReferDINOError, RuntimeError, MemoryError) as error:  # such as too long a clip
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            names = ", ".join(question.name for question in group)
            self.outcome.skip_expressions(
                f"{clip.name}, expression {names} is skipped: {reason}",
                sum(len(question.expressions) for question in group),
            )
            return
        for question, prediction in zip(group, predictions, strict=True):
            yield Record(
                video=seen.video,
                clip=clip.name,
                question=question.name,
                frames=list(clip.frame_names),
                unread=seen.unread,
                judged=[frame.index for frame in seen.evaluated],
                size=list(seen.size),
                expressions=len(question.expressions),
                problems=list(seen.problems),
                prediction=prediction,
                scores=self._protocol.score(question, prediction, seen.evaluated),
            )

    def _predict(
        self, clip: Clip, group: Sequence[Question], frames: ReadFrames | None
    ) -> list[Json]:
        if frames is None:
            return [self._protocol.predict_nothing(clip, question) for question in group]
        sentences = [one.sentence for question in group for one in question.expressions]
        step = self._segmenter.sentences_at_once
        results: list[SentenceResult] = []
        for first in range(0, len(sentences), step):
            results += self._segmenter.segment(frames, sentences[first : first + step])
        waiting = iter(results)
        return [
            self._protocol.predict(
                clip, question, frames, list(islice(waiting, len(question.expressions)))
            )
            for question in group
        ]


def _read(clip: Clip, note: Callable[[str], None]) -> tuple[list[np.ndarray], list[int]]:
    """The readable frames with the size of the first one, and their indices."""
    images: list[np.ndarray] = []
    indices: list[int] = []
    for index, image in enumerate(clip.open_images()):
        name = f"{clip.name}, frame {clip.frame_names[index]}"
        if isinstance(image, ImageError):
            note(f"{name} is skipped: {image}")
        elif images and image.shape != images[0].shape:
            note(
                f"{name} is skipped: it is {image.shape[1]}x{image.shape[0]}, not "
                f"{images[0].shape[1]}x{images[0].shape[0]} like the first one."
            )
        else:
            images.append(image)
            indices.append(index)
    return images, indices


def _frames_that_count(
    clip: Clip, images: Sequence[np.ndarray], indices: Sequence[int]
) -> ReadFrames | None:
    """The readable frames of a clip; None if there are none, or not the one that counts."""
    only = clip.only_frame
    if not images or (only is not None and only not in indices):
        return None
    stamps = [index / clip.frame_rate for index in indices]
    place = None if only is None else indices.index(only)
    return ReadFrames(clip.name, images, stamps, indices, place)
