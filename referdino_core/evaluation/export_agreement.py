# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How well an export's answers agree with the network's, on clips of the world.

Sentences about what one picture shows are judged: the bundled model understands those. Who moves it
mostly guesses, and where two objects fit almost equally well rounding decides between them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from referdino_core.evaluation.davis import region_similarity
from referdino_core.evaluation.world_clips import STATIC_KINDS, choose_sentences
from referdino_core.network.referdino import ReferDINO
from referdino_core.runtime.stages import Stages
from referdino_core.runtime.torch_stages import TorchStages
from referdino_core.session import Session
from referdino_core.target import Target
from referdino_core.world import Clip, WorldRenderer

MIN_OVERLAP = 0.98
LARGEST_BOX_ERROR = 1.0
"""Pixels."""
MAX_ALONE = 0.05
"""Share of answers that may be given in one stream alone, where a score is near a threshold."""
CLIPS = range(20)
"""Of the world's test split."""


@dataclass(frozen=True)
class Agreement:
    """Two streams' answers to the same sentences on the same frames.

    Attributes:
        answers: given in both streams. alone: given in one of them.
        overlap: mean intersection over union of the masks of `answers`; least: of the worst one.
        box_error: mean over `answers` of the boxes' largest side error in pixels; largest: of the
            worst one.
    """

    answers: int
    alone: int
    overlap: float
    least: float
    box_error: float
    largest: float

    @property
    def passed(self) -> bool:
        """Whether the answers are the same but for rounding."""
        return (
            self.answers > 0
            and self.alone <= MAX_ALONE * (self.answers + self.alone)
            and self.overlap >= MIN_OVERLAP
            and self.box_error <= LARGEST_BOX_ERROR
        )

    def __str__(self) -> str:
        return (
            f"{self.answers} answers in both, {self.alone} in one alone; mask IoU "
            f"{self.overlap:.4f} (worst {self.least:.3f}), box error {self.box_error:.3f} px "
            f"(worst {self.largest:.2f})"
        )


def world_agreement(
    model: ReferDINO,
    stages: Stages,
    indices: Iterable[int] = CLIPS,
    kinds: Collection[str] = STATIC_KINDS,
) -> Agreement:
    """Stream test clips of the world through stages, and through the network in float32.

    Args:
        model: that understands the world's sentences. stages: of that model, on the CPU.
        indices: of the clips. kinds: of the sentences.

    Raises:
        WorldUnavailable: the world cannot be rendered here.
    """
    network = TorchStages(model, "fp32")
    session = Session(model, runtime="torch")
    pairs: list[tuple[Target, Target]] = []
    with WorldRenderer() as renderer:
        for index in indices:
            clip = renderer.clip("test", index)
            chosen = choose_sentences(clip, index)
            sentences = [sentence.text for sentence in chosen if sentence.kind in kinds]
            if sentences:
                expected = answers(session, network, clip, sentences)
                pairs += zip(expected, answers(session, stages, clip, sentences), strict=True)
    return compare(pairs)


def answers(session: Session, stages: Stages, clip: Clip, sentences: list[str]) -> list[Target]:
    """The targets of every frame and sentence of a clip, computed by `stages`."""
    session.stages = stages
    session.begin_stream()
    session.commands = {str(place): text for place, text in enumerate(sentences)}
    targets: list[Target] = []
    for frame, stamp in zip(clip.frames, clip.stamps.tolist(), strict=True):
        targets += session.step(frame, stamp)
    return targets


def compare(pairs: Iterable[tuple[Target, Target]]) -> Agreement:
    """Put pairs of targets, the expected one first, into figures."""
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
        answers=len(overlaps),
        alone=alone,
        overlap=float(np.mean(overlaps)),
        least=min(overlaps),
        box_error=float(np.mean(errors)),
        largest=max(errors),
    )
