# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How a benchmark turns answers into predictions, and predictions into scores of one question.

Predictions and scores are what the records on disk keep, so they are JSON: masks are COCO run
lengths, a mask or value of a frame that was not read or is not judged is null.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.benchmarks.answers import Answer, ReadFrames
from referdino_core.evaluation.benchmarks.clips import Clip, Question
from referdino_core.evaluation.benchmarks.records import Json, Record
from referdino_core.evaluation.benchmarks.totals import mean_total, total_of_tracks
from referdino_core.evaluation.davis import boundary_accuracy, region_similarity
from referdino_core.evaluation.ground_truth import FrameTruth
from referdino_core.evaluation.referring_measures import Candidate, ReferringMeasures
from referdino_core.messages import run_lengths

BACKGROUND = 0.1
"""Probability that Ref-DAVIS17 gives the background where objects compete for a pixel."""
MEMBER = 0.5
"""Probability from which a pixel may belong to an object."""


@dataclass(frozen=True, eq=False)
class JudgedFrame:
    """A frame that has ground truth: its place in the clip, and the ground truth.

    Where the image could not be read, the answer is empty.
    """

    index: int
    truth: FrameTruth


class Protocol(ABC):
    """The rules of a benchmark."""

    @abstractmethod
    def predict(
        self, clip: Clip, question: Question, frames: ReadFrames, answers: list[Answer]
    ) -> Json:
        """The prediction for a question, given an answer for each of its expressions."""

    @abstractmethod
    def predict_nothing(self, clip: Clip, question: Question) -> Json:
        """The empty prediction, for a clip of which no frame that counts can be read."""

    @abstractmethod
    def score(self, question: Question, prediction: Json, judged: Sequence[JudgedFrame]) -> Json:
        """Scores of a prediction; {} where no frame is judged."""

    @abstractmethod
    def total(self, records: Iterable[Record]) -> Json | None:
        """The benchmark's figures, from all records; None where nothing is scored."""


class ExpressionProtocol(Protocol):
    """Ref-YouTube-VOS and MeViS: one mask per expression and frame, J and F of every frame.

    The prediction is {"masks": [T run lengths]}, the scores are {"tracks": [one track]}.
    """

    def predict(
        self, clip: Clip, question: Question, frames: ReadFrames, answers: list[Answer]
    ) -> Json:
        return {"masks": encode_track(len(clip.frame_names), frames, answers[0].masks())}

    def predict_nothing(self, clip: Clip, question: Question) -> Json:
        return {"masks": [None] * len(clip.frame_names)}

    def score(self, question: Question, prediction: Json, judged: Sequence[JudgedFrame]) -> Json:
        objects = question.expressions[0].objects
        if not judged or not objects:
            return {}
        pairs = [
            (decode(prediction["masks"], frame), frame.truth.of(objects), frame.truth.void)
            for frame in judged
        ]
        return {"tracks": [_track(pairs)]}

    def total(self, records: Iterable[Record]) -> Json | None:
        return total_of_tracks(
            track for record in records for track in record.scores.get("tracks", ())
        )


class CompetingObjectsProtocol(Protocol):
    """Ref-DAVIS17: an annotator's objects compete for every pixel, J and F of every object.

    Of the objects that a pixel may belong to (probability of at least 0.5), it goes to the most
    probable one, as in the referring literature. J and F are computed as DAVIS does for
    unsupervised segmentation, which is what published figures report: predicted objects are first
    assigned to true ones so that the sum of J&F is highest. "tracks" are after that assignment,
    "named_tracks" before it: a sentence whose answer is another sentence's object is wrong there.

    The prediction is {"objects": {id: [T run lengths]}}.
    """

    def predict(
        self, clip: Clip, question: Question, frames: ReadFrames, answers: list[Answer]
    ) -> Json:
        numbers = [expression.objects[0] for expression in question.expressions]
        tracks: dict[int, list[str | None]] = {
            number: [None] * len(clip.frame_names) for number in numbers
        }
        rivals = zip(*(answer.probabilities() for answer in answers), strict=True)
        for index, probabilities in zip(frames.indices, rivals, strict=True):
            winners = compete(np.stack(probabilities))
            for place, number in enumerate(numbers):
                tracks[number][index] = run_lengths.encode(winners == place + 1)
        return {"objects": {str(number): track for number, track in tracks.items()}}

    def predict_nothing(self, clip: Clip, question: Question) -> Json:
        numbers = [expression.objects[0] for expression in question.expressions]
        return {"objects": {str(number): [None] * len(clip.frame_names) for number in numbers}}

    def score(self, question: Question, prediction: Json, judged: Sequence[JudgedFrame]) -> Json:
        if not judged:
            return {}
        predicted = {int(number): track for number, track in prediction["objects"].items()}
        true = sorted({number for frame in judged for number in frame.truth.masks} | set(predicted))
        tracks = [
            [_object_track(track, (number,), judged) for number in true]
            for track in [predicted.get(number, []) for number in true]
        ]
        quality = np.array([[_mean(track) for track in row] for row in tracks])
        rows, columns = linear_sum_assignment(-quality)
        by_object = dict(zip(columns.tolist(), rows.tolist(), strict=True))
        return {
            "tracks": [tracks[by_object[place]][place] for place in range(len(true))],
            "named_tracks": [tracks[place][place] for place in range(len(true))],
        }

    def total(self, records: Iterable[Record]) -> Json | None:
        by_annotator: dict[str, dict[str, list[Json]]] = {}
        for record in records:
            collected = by_annotator.setdefault(record.question, {})
            for kind, tracks in record.scores.items():
                collected.setdefault(kind, []).extend(tracks)
        totals = {
            annotator: total_of_tracks(collected.get("tracks", ()))
            for annotator, collected in by_annotator.items()
        }
        mean = mean_total([total for total in totals.values() if total])
        if mean is None:
            return None
        named = mean_total(
            [
                total
                for collected in by_annotator.values()
                if (total := total_of_tracks(collected.get("named_tracks", ())))
            ]
        )
        return {**mean, "named": named, "annotators": totals}


class FrameProtocol(Protocol):
    """A2D-Sentences and JHMDB-Sentences: scored masks of one frame, for mAP and overlaps.

    The prediction is {"candidates": [{"score", "counts"}]}, best first; the scores are
    {"truth": run lengths}, since the measures need all frames of the benchmark at once.

    Published mAP counts every slot of the network as a candidate. A stream answers with one object,
    so mAP of the best candidates alone is given as well, to compare the two.
    """

    def predict(
        self, clip: Clip, question: Question, frames: ReadFrames, answers: list[Answer]
    ) -> Json:
        return {
            "candidates": [
                {"score": one.score, "counts": run_lengths.encode(one.mask)}
                for one in answers[0].candidates()
            ]
        }

    def predict_nothing(self, clip: Clip, question: Question) -> Json:
        return {"candidates": []}

    def score(self, question: Question, prediction: Json, judged: Sequence[JudgedFrame]) -> Json:
        if not judged:
            return {}
        truth = judged[0].truth.of(question.expressions[0].objects)
        return {"truth": run_lengths.encode(truth)}

    def total(self, records: Iterable[Record]) -> Json | None:
        best_alone, all_together = ReferringMeasures(), ReferringMeasures()
        most = samples = 0
        for record in records:
            if not record.scores:
                continue
            truth = run_lengths.decode(record.scores["truth"], *record.size)
            candidates = [
                Candidate(one["score"], run_lengths.decode(one["counts"], *record.size))
                for one in record.prediction["candidates"]
            ]
            best_alone.add(truth, candidates[:1])
            all_together.add(truth, candidates)
            most, samples = max(most, len(candidates)), samples + 1
        if not samples:
            return None
        scores = asdict(best_alone.result())
        published = all_together.result().mean_average_precision if most > 1 else None
        return {
            **scores,
            "precision": {str(share): value for share, value in scores["precision"].items()},
            "mean_average_precision_of_all": published,
        }


def compete(probabilities: np.ndarray) -> np.ndarray:
    """Give every pixel to the most probable object, or to the background.

    Args:
        probabilities: (K, H, W) of K objects.

    Returns:
        (H, W) int: 0 background, k the object at k - 1. Of equals, the first wins.
    """
    members = np.where(probabilities < MEMBER, 0, probabilities)
    background = np.full((1, *members.shape[1:]), BACKGROUND, members.dtype)
    return np.concatenate([background, members]).argmax(axis=0)


def judge(
    clip: Clip, read: Collection[int], size: tuple[int, int], note: Callable[[str], None]
) -> list[JudgedFrame]:
    """The frames of a clip that have ground truth; what is wrong with the ground truth is noted.

    A frame that could not be read is among them: its answer is empty, not left out, so that no
    score rises where images are lost.

    Args:
        read: places of the frames that were read. size: their height and width.
    """
    judged = []
    for index in range(len(clip.frame_names)):
        try:
            truth = clip.truth_at(index)
        except (ImageError, SourceError) as error:
            note(f"{clip.name}, frame {clip.frame_names[index]} is not scored: {error}")
            continue
        if truth is None:
            continue
        if index in read and tuple(truth.size) != size:
            note(
                f"{clip.name}, frame {clip.frame_names[index]} is not scored: its truth is "
                f"{truth.size[1]}x{truth.size[0]}, the image {size[1]}x{size[0]}."
            )
            continue
        judged.append(JudgedFrame(index, truth))
    return judged


def encode_track(count: int, frames: ReadFrames, masks: Iterator[np.ndarray]) -> list[str | None]:
    """Run lengths of `count` frames; null where a frame was not read."""
    track: list[str | None] = [None] * count
    for index, mask in zip(frames.indices, masks, strict=True):
        track[index] = run_lengths.encode(mask)
    return track


def decode(track: Sequence[str | None], frame: JudgedFrame) -> np.ndarray:
    """The mask of a track at a judged frame; empty where the track has none."""
    code = track[frame.index] if track else None
    if code is None:
        return np.zeros(frame.truth.size, dtype=bool)
    return run_lengths.decode(code, *frame.truth.size)


def _object_track(
    track: Sequence[str | None], objects: Collection[int], judged: Sequence[JudgedFrame]
) -> Json:
    return _track(
        [(decode(track, frame), frame.truth.of(objects), frame.truth.void) for frame in judged]
    )


def _track(pairs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> Json:
    """J and F of predictions and truths, frame by frame."""
    return {
        "region": [region_similarity(*pair) for pair in pairs],
        "boundary": [boundary_accuracy(*pair) for pair in pairs],
    }


def _mean(track: Json) -> float:
    return float(np.mean(track["region"]) + np.mean(track["boundary"])) / 2
