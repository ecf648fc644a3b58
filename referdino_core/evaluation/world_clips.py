# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The stream on unseen clips of the world: every kind of sentence, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from referdino_core.evaluation.measures import RIGHT_OVERLAP, region_similarity
from referdino_core.session import Session
from referdino_core.world import Clip, Expression, WorldRenderer
from referdino_core.world.clip import KINDS, Split

STATIC_KINDS = ("attribute", "location", "relation")
ABSENT_AREA = 15


@dataclass(frozen=True)
class StreamScore:
    """One sentence over one streamed clip.

    Attributes:
        overlap: mean J over the frames that show the target; None where none does.
        empty_frames: frames from which the target is absent.
        false_alarms: how many of those were answered with a mask.
    """

    clip: int
    text: str
    kind: str
    overlap: float | None
    empty_frames: int
    false_alarms: int

    @property
    def right(self) -> bool:
        """Whether the right object was picked: mean J above 0.5."""
        return self.overlap is not None and self.overlap > RIGHT_OVERLAP


def choose_sentences(clip: Clip, index: int) -> list[Expression]:
    """Two static sentences, one about motion and one that is true of nothing, where there are."""
    generator = np.random.default_rng([index, 11])
    chosen: list[Expression] = []
    for kinds, count in ((STATIC_KINDS, 2), (("motion", "direction"), 1), (("absent",), 1)):
        present = [kind for kind in kinds if any(e.kind == kind for e in clip.expressions)]
        # Kinds first, then sentences: otherwise the most talkative kind would decide the figure.
        for kind in [present[i] for i in generator.permutation(len(present))[:count]]:
            options = [e for e in clip.expressions if e.kind == kind]
            chosen.append(options[generator.integers(len(options))])
    return chosen


def evaluate_world(session: Session, split: Split, indices: Iterable[int]) -> list[StreamScore]:
    """Stream clips through a session, all sentences of a clip at once, and score each.

    Args:
        session: its commands are replaced; memories start anew with every clip.
        split: "validation" or "test"; indices: which clips of it.
    """
    scores: list[StreamScore] = []
    with WorldRenderer() as renderer:
        for index in tqdm(indices, desc=f"{split} clips", unit="clip"):
            clip = renderer.clip(split, index)
            scores += score_clip(session, clip, choose_sentences(clip, index))
    return scores


def score_clip(session: Session, clip: Clip, sentences: Sequence[Expression]) -> list[StreamScore]:
    """Stream one clip and score each of its sentences."""
    session.commands = {}
    session.commands = {str(place): sentence.text for place, sentence in enumerate(sentences)}
    session.reset("a new clip begins")
    masks = [
        [target.mask for target in session.step(frame, stamp)]
        for frame, stamp in zip(clip.frames, clip.stamps.tolist(), strict=True)
    ]
    return [
        score_sentence(clip, sentence, [frame[place] for frame in masks])
        for place, sentence in enumerate(sentences)
    ]


def score_sentence(clip: Clip, sentence: Expression, masks: Sequence[np.ndarray]) -> StreamScore:
    """Compare the masks of all frames with the truth."""
    overlaps, empty, alarms = [], 0, 0
    for mask, segmentation in zip(masks, clip.segmentation, strict=True):
        truth = segmentation == (sentence.target or 255)
        if np.count_nonzero(truth) >= ABSENT_AREA:
            overlaps.append(region_similarity(mask, truth))
        else:
            empty += 1
            alarms += bool(mask.any())
    overlap = float(np.mean(overlaps)) if overlaps else None
    return StreamScore(clip.index, sentence.text, sentence.kind, overlap, empty, alarms)


def table(scores: Sequence[StreamScore]) -> str:
    """The scores as a Markdown table, a row per kind of sentence and group of kinds."""
    groups: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in KINDS if kind != "absent"}
    groups["static, all"] = STATIC_KINDS
    groups["motion and direction"] = ("motion", "direction")
    rows = ["| sentences | number | J | right object |", "|---|---|---|---|"]
    for name, kinds in groups.items():
        chosen = [s for s in scores if s.kind in kinds and s.overlap is not None]
        if chosen:
            similarity = np.mean([s.overlap for s in chosen])
            right = np.mean([s.right for s in chosen])
            rows.append(f"| {name} | {len(chosen)} | {similarity:.3f} | {right:.1%} |")
    rows += [
        "",
        "| target absent from the frame | frames | answered with a mask |",
        "|---|---|---|",
    ]
    for name, kept in (
        ("sentence true of nothing", [s for s in scores if s.kind == "absent"]),
        ("target hidden or out of view", [s for s in scores if s.kind != "absent"]),
        ("all", list(scores)),
    ):
        frames = sum(s.empty_frames for s in kept)
        alarms = sum(s.false_alarms for s in kept)
        share = f"{alarms / frames:.1%}" if frames else "none"
        rows.append(f"| {name} | {frames} | {share} |")
    return "\n".join(rows)
