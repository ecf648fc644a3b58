# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of an export's predictions with the network's, on clips of the world.

Only sentences about static attributes are evaluated, which the bundled model understands. Motion it
mostly guesses, and between two objects that fit almost equally well rounding decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from referdino_core.backends.backend import Backend
from referdino_core.backends.torch_backend import TorchBackend
from referdino_core.evaluation.davis import RIGHT_OVERLAP, region_similarity
from referdino_core.evaluation.world_clips import STATIC_KINDS, choose_sentences
from referdino_core.network.referdino import ReferDINO
from referdino_core.session import Session
from referdino_core.target import Target
from referdino_core.world import Clip, WorldRenderer

MIN_OVERLAP = 0.975
"""What bfloat16 reaches; half precision reaches 0.98."""
MAX_BOX_ERROR = 1.0
"""Pixels."""
MAX_APART = 0.05
"""Fraction of predictions that may differ because a score is near a threshold, or near another."""
CLIPS = range(20)
"""Indices of clips in the world's test split."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two streams' predictions for the same sentences on the same frames.

    Attributes:
        predictions: number of predictions of both streams on the same object.
        alone: predictions of only one stream. other: those of both, but on different objects.
        overlap: mean intersection over union of the masks on the same object. least: the minimum.
        box_error: mean of their boxes' largest side error in pixels. largest: the maximum.
    """

    predictions: int
    alone: int
    other: int
    overlap: float
    least: float
    box_error: float
    largest: float

    @property
    def apart(self) -> int:
        """Number of predictions that differ in what they say, not by rounding."""
        return self.alone + self.other

    @property
    def passed(self) -> bool:
        """Whether the predictions are the same except for rounding."""
        return (
            self.predictions > 0
            and self.apart <= MAX_APART * (self.predictions + self.apart)
            and self.overlap >= MIN_OVERLAP
            and self.box_error <= MAX_BOX_ERROR
        )

    def __str__(self) -> str:
        return (
            f"{self.predictions} predictions in both, {self.alone} in one alone, {self.other} on "
            f"another object; mask IoU "
            f"{self.overlap:.4f} (worst {self.least:.3f}), box error {self.box_error:.3f} px "
            f"(worst {self.largest:.2f})"
        )


def world_agreement(
    model: ReferDINO,
    backend: Backend,
    indices: Iterable[int] = CLIPS,
    kinds: Collection[str] = STATIC_KINDS,
) -> Agreement:
    """Stream test clips of the world through a backend, and through the network in float32.

    Args:
        model: a model that understands the world's sentences.
        backend: a backend of that model, on the CPU.
        indices: indices of the clips.
        kinds: kinds of sentences to evaluate.

    Raises:
        WorldUnavailable: the world cannot be rendered on this machine.
    """
    network = TorchBackend(model, "fp32")
    session = Session(model, runtime="torch")
    pairs: list[tuple[Target, Target]] = []
    with WorldRenderer() as renderer:
        for index in indices:
            clip = renderer.clip("test", index)
            chosen = choose_sentences(clip, index)
            sentences = [sentence.text for sentence in chosen if sentence.kind in kinds]
            if sentences:
                expected = predict(session, network, clip, sentences)
                pairs += zip(expected, predict(session, backend, clip, sentences), strict=True)
    return compare(pairs)


def predict(session: Session, backend: Backend, clip: Clip, sentences: list[str]) -> list[Target]:
    """The targets of every frame and sentence of a clip, computed by a backend."""
    session.backend = backend
    session.begin_stream()
    session.commands = {str(index): text for index, text in enumerate(sentences)}
    targets: list[Target] = []
    for frame, stamp in zip(clip.frames, clip.stamps.tolist(), strict=True):
        targets += session.step(frame, stamp)
    return targets


def compare(pairs: Iterable[tuple[Target, Target]]) -> Agreement:
    """Agreement of pairs of targets, the expected one first."""
    overlaps: list[float] = []
    errors: list[float] = []
    alone = other = 0
    for expected, actual in pairs:
        if expected.predicted_box is None or actual.predicted_box is None:
            alone += expected.predicted_box is not actual.predicted_box
            continue
        overlap = region_similarity(actual.mask, expected.mask)
        if overlap <= RIGHT_OVERLAP:
            other += 1
            continue
        overlaps.append(overlap)
        errors.append(
            float(np.abs(np.subtract(actual.predicted_box, expected.predicted_box)).max())
        )
    if not overlaps:
        return Agreement(0, alone, other, 0.0, 0.0, 0.0, 0.0)
    return Agreement(
        predictions=len(overlaps),
        alone=alone,
        other=other,
        overlap=float(np.mean(overlaps)),
        least=min(overlaps),
        box_error=float(np.mean(errors)),
        largest=max(errors),
    )
