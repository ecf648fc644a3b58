# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A run of one benchmark with one way of inference: every question answered, scored and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from referdino_core.errors import CommandError, ImageError, ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks.answers import Answer, ReadFrames, Segmenter
from referdino_core.evaluation.benchmarks.clips import Benchmark, Clip, Question
from referdino_core.evaluation.benchmarks.protocols import JudgedFrame, Protocol, judge
from referdino_core.evaluation.benchmarks.records import Json, Record, RecordStore

_logger = logging.getLogger("referdino.evaluate")


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        keys: clip and question of every record, in the benchmark's order.
        problems: what was found wrong, a line each, without repetitions.
        complete: whether no question was left for another run.
        clips_passed_over: how many clips, or whole videos, could not be answered.
        expressions_passed_over: how many expressions of other clips could not.
    """

    keys: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    complete: bool = True
    clips_passed_over: int = 0
    expressions_passed_over: int = 0

    def note(self, problem: str) -> None:
        """Take down a problem and tell the user, once."""
        if problem not in self.problems:
            self.problems.append(problem)
            _logger.warning("%s", problem)

    def pass_clip_over(self, problem: str) -> None:
        """Take down a clip, or a whole video, that is not answered, once."""
        self.clips_passed_over += problem not in self.problems
        self.note(problem)

    def pass_expressions_over(self, problem: str, count: int = 1) -> None:
        """Take down expressions that are not answered, once."""
        self.expressions_passed_over += 0 if problem in self.problems else count
        self.note(problem)


@dataclass(frozen=True)
class _SeenClip:
    """A clip of a video, as far as its images could be read.

    Attributes:
        frames: those that were read; None where not one of them counts, so that answers are empty.
        size: height and width of the frames, or of the ground truth where there are none.
        unread: places of the others. judged: the frames that have ground truth.
        problems: what was found wrong, a line each.
    """

    video: str
    clip: Clip
    frames: ReadFrames | None
    size: tuple[int, int]
    unread: list[int]
    judged: list[JudgedFrame]
    problems: list[str]


class BenchmarkRun:
    """Answers and scores the questions of a benchmark; those of an earlier run are taken up."""

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

    def answer(self, videos: Iterable[str]) -> Outcome:
        """Go through videos until all are done or the user stops.

        What is wrong with the files is noted in the outcome, and the run goes on.

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
                    self._answer_clip(video, clip)
                    if not self.outcome.complete:
                        break
            except SourceError as error:
                self.outcome.pass_clip_over(str(error))
            self._note_files()
        return self.outcome

    def records(self) -> Iterator[Record]:
        """The records of the outcome, read one by one."""
        for clip, question in self.outcome.keys:
            record = self._store.read(clip, question)
            if record is not None:
                yield record

    def _note_files(self) -> None:
        """Take down what the benchmark found wrong with its files so far."""
        for problem in self._benchmark.problems:
            self.outcome.note(problem)
        for problem in self._benchmark.clips_passed_over:
            self.outcome.pass_clip_over(problem)
        for problem in self._benchmark.expressions_passed_over:
            self.outcome.pass_expressions_over(problem)

    def _answer_clip(self, video: str, clip: Clip) -> None:
        known = {q.name: self._store.read(clip.name, q.name) for q in clip.questions}
        for record in known.values():
            for problem in record.problems if record else ():
                self.outcome.note(problem)
        pending = [question for question in clip.questions if known[question.name] is None]
        for record in self._answer_questions(video, clip, self._answerable(clip, pending)):
            self._store.write(record)
            known[record.question] = record
        self.outcome.keys += [(clip.name, name) for name, record in known.items() if record]

    def _answer_questions(
        self, video: str, clip: Clip, questions: Sequence[Question]
    ) -> Iterator[Record]:
        if not questions:
            return
        problems: list[str] = []
        images, indices = _read(clip, problems.append)
        frames = _frames_that_count(clip, images, indices)
        size = images[0].shape[:2] if images else (0, 0)
        judged = judge(clip, indices, size, problems.append)
        if frames is None:
            missing = f"{clip.name} {{}}: no frame that counts can be read."
            if not judged:
                self.outcome.pass_clip_over(missing.format("is passed over"))
                return
            problems.append(missing.format("has an empty answer"))
            size = judged[0].truth.size
        for problem in problems:
            self.outcome.note(problem)
        unread = sorted(set(range(len(clip.frame_names))) - set(indices))
        seen = _SeenClip(video, clip, frames, size, unread, judged, problems)
        for group in self._groups(questions):
            if self._stopped():
                self.outcome.complete = False
                return
            yield from self._records(seen, group)

    def _answerable(self, clip: Clip, questions: Sequence[Question]) -> list[Question]:
        answerable = []
        for question in questions:
            try:
                for expression in question.expressions:
                    self._segmenter.check(expression.sentence)
            except CommandError as error:
                self.outcome.pass_expressions_over(
                    f"{clip.name}, expression {question.name} is passed over: {error}",
                    len(question.expressions),
                )
                continue
            answerable.append(question)
        return answerable

    def _groups(self, questions: Sequence[Question]) -> Iterator[list[Question]]:
        """Questions that are answered together, as many as fit and at least one."""
        waiting = iter(questions)
        for first in waiting:
            room = self._segmenter.sentences_at_once // len(first.expressions)
            yield [first, *islice(waiting, max(room - 1, 0))]

    def _records(self, seen: _SeenClip, group: Sequence[Question]) -> Iterator[Record]:
        """Answer questions and score the answers; none where the network fails on the clip."""
        clip = seen.clip
        try:
            predictions = self._predict(clip, group, seen.frames)
        except (ReferDINOError, RuntimeError, MemoryError) as error:  # such as too long a clip
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            names = ", ".join(question.name for question in group)
            self.outcome.pass_expressions_over(
                f"{clip.name}, expression {names} is passed over: {reason}",
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
                judged=[frame.index for frame in seen.judged],
                size=list(seen.size),
                expressions=len(question.expressions),
                problems=list(seen.problems),
                prediction=prediction,
                scores=self._protocol.score(question, prediction, seen.judged),
            )

    def _predict(
        self, clip: Clip, group: Sequence[Question], frames: ReadFrames | None
    ) -> list[Json]:
        if frames is None:
            return [self._protocol.predict_nothing(clip, question) for question in group]
        sentences = [one.sentence for question in group for one in question.expressions]
        step = self._segmenter.sentences_at_once
        answers: list[Answer] = []
        for first in range(0, len(sentences), step):
            answers += self._segmenter.segment(frames, sentences[first : first + step])
        waiting = iter(answers)
        return [
            self._protocol.predict(
                clip, question, frames, list(islice(waiting, len(question.expressions)))
            )
            for question in group
        ]


def _read(clip: Clip, note: Callable[[str], None]) -> tuple[list[np.ndarray], list[int]]:
    """The frames that can be read and have the size of the first one, and their places."""
    images: list[np.ndarray] = []
    indices: list[int] = []
    for index, image in enumerate(clip.open_images()):
        name = f"{clip.name}, frame {clip.frame_names[index]}"
        if isinstance(image, ImageError):
            note(f"{name} is not answered: {image}")
        elif images and image.shape != images[0].shape:
            note(
                f"{name} is not answered: it is {image.shape[1]}x{image.shape[0]}, not "
                f"{images[0].shape[1]}x{images[0].shape[0]} like the first one."
            )
        else:
            images.append(image)
            indices.append(index)
    return images, indices


def _frames_that_count(
    clip: Clip, images: Sequence[np.ndarray], indices: Sequence[int]
) -> ReadFrames | None:
    """What was read of a clip; None where that is nothing, or not the one frame that counts."""
    if not images or (clip.only_last_counts and indices[-1] != len(clip.frame_names) - 1):
        return None
    stamps = [index / clip.frame_rate for index in indices]
    return ReadFrames(clip.name, images, stamps, indices, clip.only_last_counts)
