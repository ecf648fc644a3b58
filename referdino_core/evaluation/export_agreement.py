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
from referdino_core.evaluation.davis import region_similarity
from referdino_core.evaluation.world_clips import STATIC_KINDS, choose_sentences
from referdino_core.network.referdino import ReferDINO
from referdino_core.session import Session
from referdino_core.target import Target
from referdino_core.world import Clip, WorldRenderer

MIN_OVERLAP = 0.98
MAX_BOX_ERROR = 1.0
"""Pixels."""
MAX_ALONE = 0.05
"""Fraction of predictions that only one stream may make, when a score is near a threshold."""
CLIPS = range(20)
"""Indices of clips in the world's test split."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two streams' predictions for the same sentences on the same frames.

    Attributes:
        predictions: number of predictions of both streams. alone: those of only one of them.
        overlap: mean intersection over union of masks that both predicted. least: the minimum.
        box_error: mean of the boxes' largest side error in pixels. largest: the maximum.
    """

    predictions: int
    alone: int
    overlap: float
    least: float
    box_error: float
    largest: float

    @property
    def passed(self) -> bool:
        """Whether the predictions are the same except for rounding."""
        return (
            self.predictions > 0
            and self.alone <= MAX_ALONE * (self.predictions + self.alone)
            and self.overlap >= MIN_OVERLAP
            and self.box_error <= MAX_BOX_ERROR
        )

    def __str__(self) -> str:
        return (
            f"{self.predictions} predictions in both, {self.alone} in one alone; mask IoU "
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
    alone = 0
    for expected, actual in pairs:
        if expected.predicted_box is None or actual.predicted_box is None:
            alone += expected.predicted_box is not actual.predicted_box
            continue
        overlaps.append(region_similarity(actual.mask, expected.mask))
        errors.append(
            float(np.abs(np.subtract(actual.predicted_box, expected.predicted_box)).max())
        )
    if not overlaps:
        return Agreement(0, alone, 0.0, 0.0, 0.0, 0.0)
    return Agreement(
        predictions=len(overlaps),
        alone=alone,
        overlap=float(np.mean(overlaps)),
        least=min(overlaps),
        box_error=float(np.mean(errors)),
        largest=max(errors),
    )
