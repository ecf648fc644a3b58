# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark protocols: from segmentation results to predictions, and from these to scores.

Predictions and scores are stored in records on disk, so they are JSON: masks are COCO run lengths,
and a mask or value of a frame that was not read or is not evaluated is null.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.benchmarks.clips import Clip, Question
from referdino_core.evaluation.benchmarks.records import Json, Record
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames, SentenceResult
from referdino_core.evaluation.davis import (
    boundary_accuracy,
    mean_total,
    region_similarity,
    total_of_tracks,
)
from referdino_core.evaluation.ground_truth import FrameGroundTruth
from referdino_core.evaluation.referring_measures import Candidate, ReferringMeasures
from referdino_core.messages import run_lengths

BACKGROUND = 0.1
"""Background probability when objects compete for a pixel in Ref-DAVIS17."""
MEMBER = 0.5
"""Minimum probability of a pixel that may belong to an object."""


@dataclass(frozen=True, eq=False)
class EvaluatedFrame:
    """A frame with ground truth: its index in the clip, and the ground truth.

    If the image could not be read, the prediction is empty.
    """

    index: int
    truth: FrameGroundTruth


class Protocol(ABC):
    """Predictions and scores of a benchmark."""

    @abstractmethod
    def predict(
        self, clip: Clip, question: Question, frames: ReadFrames, results: list[SentenceResult]
    ) -> Json:
        """The prediction for a question, given the result for each of its expressions."""

    @abstractmethod
    def predict_nothing(self, clip: Clip, question: Question) -> Json:
        """The empty prediction, for a clip without readable frames that count."""

    @abstractmethod
    def score(
        self, question: Question, prediction: Json, evaluated: Sequence[EvaluatedFrame]
    ) -> Json:
        """Scores of a prediction; {} if no frame is evaluated."""

    @abstractmethod
    def total(self, records: Iterable[Record]) -> Json | None:
        """The overall scores, from all records; None if nothing is scored."""


class ExpressionProtocol(Protocol):
    """Ref-YouTube-VOS and MeViS: one mask per expression and frame, J and F of every frame.

    The prediction is {"masks": [T run lengths]}, the scores are {"tracks": [one track]}.
    """

    def predict(
        self, clip: Clip, question: Question, frames: ReadFrames, results: list[SentenceResult]
    ) -> Json:
        return {"masks": encode_track(len(clip.frame_names), frames, results[0].masks())}

    def predict_nothing(self, clip: Clip, question: Question) -> Json:
        return {"masks": [None] * len(clip.frame_names)}

    def score(
        self, question: Question, prediction: Json, evaluated: Sequence[EvaluatedFrame]
    ) -> Json:
        objects = question.expressions[0].objects
        if not evaluated or not objects:
            return {}
        pairs = [
            (decode(prediction["masks"], frame), frame.truth.of(objects), frame.truth.ignored)
            for frame in evaluated
        ]
        return {"tracks": [_track(pairs)]}

    def total(self, records: Iterable[Record]) -> Json | None:
        return total_of_tracks(
            track for record in records for track in record.scores.get("tracks", ())
        )


class CompetingObjectsProtocol(Protocol):
    """Ref-DAVIS17: an annotator's objects compete for every pixel, J and F of every object.

    A pixel is assigned to the most probable of the objects with a probability of at least 0.5, as
    in the referring literature. J and F are computed as DAVIS does for unsupervised segmentation,
    as in published results: predicted objects are first matched to ground-truth objects so that
    the sum of J&F is highest. "tracks" are after that matching, "named_tracks" before it: there, a
    prediction of another sentence's object is wrong.

    The prediction is {"objects": {id: [T run lengths]}}.
    """

    def predict(
        self, clip: Clip, question: Question, frames: ReadFrames, results: list[SentenceResult]
    ) -> Json:
        numbers = [expression.objects[0] for expression in question.expressions]
        tracks: dict[int, list[str | None]] = {
            number: [None] * len(clip.frame_names) for number in numbers
        }
        rivals = zip(*(result.probabilities() for result in results), strict=True)
        for index, probabilities in zip(frames.indices, rivals, strict=True):
            winners = compete(np.stack(probabilities))
            for place, number in enumerate(numbers):
                tracks[number][index] = run_lengths.encode(winners == place + 1)
        return {"objects": {str(number): track for number, track in tracks.items()}}

    def predict_nothing(self, clip: Clip, question: Question) -> Json:
        numbers = [expression.objects[0] for expression in question.expressions]
        return {"objects": {str(number): [None] * len(clip.frame_names) for number in numbers}}

    def score(
        self, question: Question, prediction: Json, evaluated: Sequence[EvaluatedFrame]
    ) -> Json:
        if not evaluated:
            return {}
        predicted = {int(number): track for number, track in prediction["objects"].items()}
        true = sorted(
            {number for frame in evaluated for number in frame.truth.masks} | set(predicted)
        )
        tracks = [
            [_object_track(track, (number,), evaluated) for number in true]
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

    Published mAP counts every slot of the network as a candidate. A stream has one object, so mAP
    of the best candidates alone is given as well, to compare the two.
    """

    def predict(
        self, clip: Clip, question: Question, frames: ReadFrames, results: list[SentenceResult]
    ) -> Json:
        return {
            "candidates": [
                {"score": one.score, "counts": run_lengths.encode(one.mask)}
                for one in results[0].candidates()
            ]
        }

    def predict_nothing(self, clip: Clip, question: Question) -> Json:
        return {"candidates": []}

    def score(
        self, question: Question, prediction: Json, evaluated: Sequence[EvaluatedFrame]
    ) -> Json:
        if not evaluated:
            return {}
        truth = evaluated[0].truth.of(question.expressions[0].objects)
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
            "precision": {
                str(threshold): value for threshold, value in scores["precision"].items()
            },
            "mean_average_precision_of_all": published,
        }


def compete(probabilities: np.ndarray) -> np.ndarray:
    """Assign every pixel to the most probable object, or to the background.

    Args:
        probabilities: (K, H, W) of K objects.

    Returns:
        (H, W) int: 0 background, k for object k - 1. Ties go to the first object.
    """
    members = np.where(probabilities < MEMBER, 0, probabilities)
    background = np.full((1, *members.shape[1:]), BACKGROUND, members.dtype)
    return np.concatenate([background, members]).argmax(axis=0)


def evaluated_frames(
    clip: Clip, read: Collection[int], size: tuple[int, int], note: Callable[[str], None]
) -> list[EvaluatedFrame]:
    """The frames of a clip with ground truth; problems of the ground truth are reported.

    Unreadable frames are included, with an empty prediction, so that lost images never improve a
    score.

    Args:
        read: indices of the readable frames. size: their height and width.
        note: called with every problem.
    """
    evaluated = []
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
                f"{clip.name}, frame {clip.frame_names[index]} is not scored: its ground truth is "
                f"{truth.size[1]}x{truth.size[0]}, the image {size[1]}x{size[0]}."
            )
            continue
        evaluated.append(EvaluatedFrame(index, truth))
    return evaluated


def encode_track(count: int, frames: ReadFrames, masks: Iterator[np.ndarray]) -> list[str | None]:
    """Run lengths of `count` frames; None for frames that were not read."""
    track: list[str | None] = [None] * count
    for index, mask in zip(frames.indices, masks, strict=True):
        track[index] = run_lengths.encode(mask)
    return track


def decode(track: Sequence[str | None], frame: EvaluatedFrame) -> np.ndarray:
    """The mask of a track at an evaluated frame; empty if the track has none."""
    code = track[frame.index] if track else None
    if code is None:
        return np.zeros(frame.truth.size, dtype=bool)
    return run_lengths.decode(code, *frame.truth.size)


def _object_track(
    track: Sequence[str | None], objects: Collection[int], evaluated: Sequence[EvaluatedFrame]
) -> Json:
    return _track(
        [
            (decode(track, frame), frame.truth.of(objects), frame.truth.ignored)
            for frame in evaluated
        ]
    )


def _track(pairs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> Json:
    """J and F of pairs of prediction and ground truth, frame by frame."""
    return {
        "region": [region_similarity(*pair) for pair in pairs],
        "boundary": [boundary_accuracy(*pair) for pair in pairs],
    }


def _mean(track: Json) -> float:
    return float(np.mean(track["region"]) + np.mean(track["boundary"])) / 2
