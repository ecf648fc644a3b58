# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One step of several streams in one batch of their model; a failure affects only its stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from referdino_core.session.prediction import Prediction
from referdino_core.session.stream import Stream
from referdino_core.target import Judgement, Target


@dataclass(frozen=True)
class StepResult:
    """Result of one image of one stream.

    Attributes:
        targets: targets of the stream's commands; () if the image failed.
        error: why the image could not be judged, or None.
    """

    targets: tuple[Target, ...] = ()
    error: Exception | None = None

    def value(self) -> tuple[Target, ...]:
        """The targets.

        Raises:
            Exception: the error.
        """
        if self.error is not None:
            raise self.error
        return self.targets


_Admitted: TypeAlias = tuple[Stream, np.ndarray, float]
"""A stream, its image, and the stamp with which the stream admitted it."""


def step_together(
    streams: Sequence[Stream], images: Sequence[np.ndarray], stamps: Sequence[float | None]
) -> list[StepResult]:
    """Process one image of each of several streams in one batch.

    Args:
        streams: at least one; they share a predictor.
        images: valid images of one size.
        stamps: seconds; None for 0.1 s after the previous image.
    """
    height, width = images[0].shape[:2]
    size = (height, width)
    admitted = [stream.admit(size, stamp) for stream, stamp in zip(streams, stamps, strict=True)]
    batch = [
        (stream, image, stamp)
        for stream, image, stamp in zip(streams, images, admitted, strict=True)
        if stamp is not None
    ]
    predictions = iter(_predict(batch))
    return [
        StepResult(stream.unjudged(size, Judgement.LATE))
        if stamp is None
        else _concluded(stream, next(predictions), size, stamp)
        for stream, stamp in zip(streams, admitted, strict=True)
    ]


def _predict(batch: Sequence[_Admitted]) -> list[list[Prediction] | Exception]:
    """The predictions of each stream's commands, or the error.

    A batch that fails is retried image by image, so that one camera does not affect the others.
    """
    questions = [stream.questions(index, stamp) for index, (stream, _, stamp) in enumerate(batch)]
    if not any(questions):
        return [[] for _ in batch]
    predictor = batch[0][0].predictor
    try:
        flat = predictor.predict(
            [image for _, image, _ in batch], [question for own in questions for question in own]
        )
    except Exception as error:
        if len(batch) == 1:
            return [error]
        return [outcome for one in batch for outcome in _predict([one])]
    predictions = iter(flat)
    return [[next(predictions) for _ in own] for own in questions]


def _concluded(
    stream: Stream,
    predictions: list[Prediction] | Exception,
    size: tuple[int, int],
    stamp: float,
) -> StepResult:
    """The result of a stream, given its predictions."""
    try:
        if isinstance(predictions, Exception):
            raise predictions
        return StepResult(stream.conclude(predictions, size, stamp))
    except Exception as error:
        stream.fail()
        return StepResult(error=error)
