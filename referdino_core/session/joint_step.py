# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images of several streams through their model in one batch; a failure stays with its stream."""

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
    """What came of one image of one stream.

    Attributes:
        targets: of the stream's commands; none where the image failed.
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


_Shown: TypeAlias = tuple[Stream, np.ndarray, float]
"""A stream, its image and the stamp that the stream admitted it with."""


def step_together(
    streams: Sequence[Stream], images: Sequence[np.ndarray], stamps: Sequence[float | None]
) -> list[StepResult]:
    """One image for each of several streams, through the model in one batch.

    Args:
        streams: at least one; they share their predictor.
        images: checked, of one size. stamps: seconds, None for 0.1 s after the one before.
    """
    height, width = images[0].shape[:2]
    size = (height, width)
    admitted = [stream.admit(size, stamp) for stream, stamp in zip(streams, stamps, strict=True)]
    shown = [
        (stream, image, stamp)
        for stream, image, stamp in zip(streams, images, admitted, strict=True)
        if stamp is not None
    ]
    predictions = iter(_predict(shown))
    return [
        StepResult(stream.unjudged(size, Judgement.LATE))
        if stamp is None
        else _concluded(stream, next(predictions), size, stamp)
        for stream, stamp in zip(streams, admitted, strict=True)
    ]


def _predict(shown: Sequence[_Shown]) -> list[list[Prediction] | Exception]:
    """For every stream the predictions of its commands, or why there are none.

    A batch that fails is tried again image by image: one camera does not blind the others.
    """
    questions = [stream.questions(place, stamp) for place, (stream, _, stamp) in enumerate(shown)]
    if not any(questions):
        return [[] for _ in shown]
    predictor = shown[0][0].predictor
    try:
        flat = predictor.predict(
            [image for _, image, _ in shown], [question for own in questions for question in own]
        )
    except Exception as error:
        if len(shown) == 1:
            return [error]
        return [outcome for one in shown for outcome in _predict([one])]
    predictions = iter(flat)
    return [[next(predictions) for _ in own] for own in questions]


def _concluded(
    stream: Stream,
    predictions: list[Prediction] | Exception,
    size: tuple[int, int],
    stamp: float,
) -> StepResult:
    """What a stream makes of its predictions."""
    try:
        if isinstance(predictions, Exception):
            raise predictions
        return StepResult(stream.conclude(predictions, size, stamp))
    except Exception as error:
        stream.fail()
        return StepResult(error=error)
