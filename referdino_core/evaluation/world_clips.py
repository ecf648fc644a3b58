# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation on unseen clips of the world, by kind of sentence, streaming and whole-clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from tqdm import tqdm

from referdino_core.errors import ReferDINOError
from referdino_core.evaluation.davis import (
    RIGHT_OVERLAP,
    boundary_accuracy,
    region_similarity,
)
from referdino_core.evaluation.stream_scores import ABSENT_AREA
from referdino_core.evaluation.whole_clip import read_clip
from referdino_core.session import Session
from referdino_core.session.command_request import CommandRequest
from referdino_core.session.engine import Engine
from referdino_core.target import Target
from referdino_core.world import Clip, Expression, WorldRenderer, WorldSettings
from referdino_core.world.clip import KINDS, Split

STATIC_KINDS = ("attribute", "location", "relation")
STREAMING, WHOLE_CLIP = "streaming", "whole-clip"
AREAS = (80, 160, 320)
"""Pixels between which sizes of targets are reported apart."""
Masks = Sequence[np.ndarray]
Inference = Callable[[Engine, Clip, Sequence[Expression]], list[Masks]]


@dataclass(frozen=True)
class SentenceScore:
    """Score of one sentence in one clip.

    Attributes:
        region, boundary: mean J and F over the frames that show the target; None without such
            frames.
        empty_frames: number of frames without the target.
        false_alarms: number of those with a predicted mask.
        area: mean pixels of the target in the frames that show it; None without such frames.
    """

    clip: int
    text: str
    kind: str
    region: float | None
    boundary: float | None
    empty_frames: int
    false_alarms: int
    area: float | None = None

    @property
    def right(self) -> bool:
        """Whether the right object was found: mean J above 0.5."""
        return self.region is not None and self.region > RIGHT_OVERLAP


def choose_sentences(clip: Clip, index: int) -> list[Expression]:
    """Random sentences of a clip, of several kinds.

    Two are static; one each is about motion, without a referent, and about several objects. Kinds
    that the clip lacks are left out.
    """
    generator = np.random.default_rng([index, 11])
    chosen: list[Expression] = []
    wanted = ((STATIC_KINDS, 2), (("motion", "direction"), 1), (("absent",), 1), (("plural",), 1))
    for kinds, count in wanted:
        present = [kind for kind in kinds if any(e.kind == kind for e in clip.expressions)]
        # The kind is drawn first, then the sentence: otherwise frequent kinds would dominate.
        for kind in [present[i] for i in generator.permutation(len(present))[:count]]:
            options = [e for e in clip.expressions if e.kind == kind]
            chosen.append(options[generator.integers(len(options))])
    return chosen


def evaluate_world(
    session: Engine,
    split: Split,
    indices: Iterable[int],
    inferences: Sequence[str] = (STREAMING,),
    settings: WorldSettings | None = None,
) -> dict[str, list[SentenceScore]]:
    """Score clips in one or several inference modes, all sentences of a clip at once.

    Args:
        session: an engine, whose commands and memories are replaced.
        split: "validation" or "test".
        indices: indices of clips in the split.
        inferences: names of `INFERENCES`; all use the same clips and sentences.
        settings: settings of the world.

    Raises:
        ReferDINOError: whole clips are to be read by another engine than a session.

    Returns:
        For each inference mode one score per clip and sentence, in the same order.
    """
    scores: dict[str, list[SentenceScore]] = {inference: [] for inference in inferences}
    with WorldRenderer(settings) as renderer:
        for index in tqdm(indices, desc=f"{split} clips", unit="clip"):
            clip = renderer.clip(split, index)
            sentences = choose_sentences(clip, index)
            for inference in inferences:
                predictions = INFERENCES[inference](session, clip, sentences)
                scores[inference] += [
                    score_sentence(clip, sentence, masks)
                    for sentence, masks in zip(sentences, predictions, strict=True)
                ]
    return scores


def stream_clip(session: Engine, clip: Clip, sentences: Sequence[Expression]) -> list[Masks]:
    """Segment one clip as a stream: T masks per sentence, each based on the frames so far."""
    session.begin_stream()
    keys = [str(index) for index in range(len(sentences))]
    session.commands = {
        key: CommandRequest(one.text, "all" if one.others else "one")
        for key, one in zip(keys, sentences, strict=True)
    }
    frames = [
        merged_masks(session.step(frame, stamp), keys, clip.segmentation.shape[1:])
        for frame, stamp in zip(clip.frames, clip.stamps.tolist(), strict=True)
    ]
    return [[frame[key] for frame in frames] for key in keys]


def merged_masks(
    targets: Sequence[Target], keys: Iterable[str], size: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The union (H, W) of the masks of each command's targets, by id of the command."""
    masks = {key: np.zeros(size, dtype=bool) for key in keys}
    for target in targets:
        masks[target.command_id] |= target.mask
    return masks


def read_whole_clip(session: Engine, clip: Clip, sentences: Sequence[Expression]) -> list[Masks]:
    """Segment one clip as in the paper: T masks per sentence, each based on all frames."""
    if not isinstance(session, Session):
        raise ReferDINOError(f"{session.model_name} processes streams only.")
    model, tokenizer, stamps = session.model, session.tokenizer, clip.stamps.tolist()
    return [
        list(read_clip(model, tokenizer, sentence.text, clip.frames, stamps).answer())
        for sentence in sentences
    ]


INFERENCES: Mapping[str, Inference] = {STREAMING: stream_clip, WHOLE_CLIP: read_whole_clip}
"""The inference modes by name."""


def score_sentence(clip: Clip, sentence: Expression, masks: Masks) -> SentenceScore:
    """Compare the masks of all frames with the ground truth."""
    regions, boundaries, areas, empty, alarms = [], [], [], 0, 0
    for mask, segmentation in zip(masks, clip.segmentation, strict=True):
        truth = np.isin(segmentation, sentence.targets)
        pixels = np.count_nonzero(truth)
        if pixels >= ABSENT_AREA:
            areas.append(pixels)
            regions.append(region_similarity(mask, truth))
            boundaries.append(boundary_accuracy(mask, truth))
        else:
            empty += 1
            alarms += bool(mask.any())
    region, boundary, area = (
        float(np.mean(found)) if found else None for found in (regions, boundaries, areas)
    )
    return SentenceScore(
        clip.index, sentence.text, sentence.kind, region, boundary, empty, alarms, area
    )


def table(scores: Mapping[str, Sequence[SentenceScore]]) -> str:
    """Markdown tables with a row per kind of sentence, group of kinds and size of the target.

    They have columns for every inference mode.
    """
    groups: dict[str, Callable[[SentenceScore], bool]] = {
        kind: partial(_is_of, (kind,)) for kind in KINDS if kind != "absent"
    }
    groups["static, all"] = partial(_is_of, STATIC_KINDS)
    groups["motion and direction"] = partial(_is_of, ("motion", "direction"))
    for low, high in pairwise((0, *AREAS, math.inf)):
        size = f"{low} pixels or more" if high == math.inf else f"{low} to {high} pixels"
        groups[f"static, target of {size}"] = partial(_is_of, STATIC_KINDS, low=low, high=high)
    measures = ("J", "F", "J&F", "right object")
    heads = [f"{inference}: {name}" for inference in scores for name in measures]
    rows = [_row("sentences", "number", *heads), _rule(2 + len(heads))]
    for name, belongs in groups.items():
        chosen = [
            [score for score in ones if score.region is not None and belongs(score)]
            for ones in scores.values()
        ]
        if chosen[0]:
            cells = [cell for ones in chosen for cell in _measures(ones)]
            rows.append(_row(name, str(len(chosen[0])), *cells))
    heads = [f"{inference}: answered with a mask" for inference in scores]
    rows += ["", _row("target absent from the frame", "frames", *heads), _rule(2 + len(heads))]
    for name, kinds in (
        ("sentence true of nothing", ("absent",)),
        ("target hidden or out of view", tuple(kind for kind in KINDS if kind != "absent")),
        ("all", KINDS),
    ):
        chosen = [[score for score in ones if score.kind in kinds] for ones in scores.values()]
        frames = sum(score.empty_frames for score in chosen[0])
        alarms = [sum(score.false_alarms for score in ones) for ones in chosen]
        fractions = [f"{count / frames:.1%}" if frames else "none" for count in alarms]
        rows.append(_row(name, str(frames), *fractions))
    return "\n".join(rows)


def _is_of(
    kinds: Sequence[str], score: SentenceScore, low: float = 0, high: float = math.inf
) -> bool:
    return score.kind in kinds and (score.area is None or low <= score.area < high)


def _measures(scores: Sequence[SentenceScore]) -> tuple[str, str, str, str]:
    region = np.mean([score.region for score in scores if score.region is not None])
    boundary = np.mean([score.boundary for score in scores if score.boundary is not None])
    right = np.mean([score.right for score in scores])
    both = (region + boundary) / 2
    return f"{region:.3f}", f"{boundary:.3f}", f"{both:.3f}", f"{right:.1%}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns
