# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark of identities when a target disappears: it is painted out of the image for a while.

Clips of the world show the target of an attribute sentence in 12 images. In the next 20 it is
painted out while everything else is unchanged, and in the last 20 it is visible again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from referdino_core.evaluation.davis import RIGHT_OVERLAP, region_similarity
from referdino_core.session.engine import Engine
from referdino_core.target import Target
from referdino_core.world import Clip, Expression, WorldRenderer
from referdino_core.world.clip import Split
from referdino_core.world.settings import WorldSettings

SHOWN, HIDDEN, BACK = range(12), range(12, 32), range(32, 52)
"""Images before, while and after the target is painted out."""
MIN_AREA_SHOWN, MIN_AREA_BACK = 40, 15
"""Visible pixels of the target in every image that shows it."""
ELSEWHERE = 0.1
"""Fraction of a mask on the target below which it lies on another object."""
_DILATION = np.ones((7, 7), np.uint8)
_INPAINTING_RADIUS = 5


@dataclass(frozen=True)
class IdentityScore:
    """Score of one sentence in one clip.

    The target's own id is that of most right masks before it is hidden.

    Attributes:
        lent_frames: images without the target in which a mask has its id.
        lent: whether a mask on something else has its id in any image.
        returned: whether the last image shows the target with its own id.
    """

    clip: int
    text: str
    lent_frames: int
    lent: bool
    returned: bool


def evaluate_identity(session: Engine, split: Split, indices: Iterable[int]) -> list[IdentityScore]:
    """Score the clips in which the target is found before it is hidden; others are skipped.

    Args:
        session: an engine, whose commands and memories are replaced.
        split: "validation" or "test".
        indices: indices of clips in the split.
    """
    scores = []
    with WorldRenderer(WorldSettings(frames=len(SHOWN) + len(HIDDEN) + len(BACK))) as renderer:
        for index in tqdm(indices, desc=f"{split} clips, target hidden", unit="clip"):
            clip = renderer.clip(split, index)
            sentence = choose_sentence(clip)
            if sentence is None or sentence.target is None:
                continue
            session.begin_stream()
            session.command(sentence.text)
            targets = [
                session.step(image, stamp)[0]
                for image, stamp in zip(images_of(clip, sentence.target), clip.stamps, strict=True)
            ]
            score = score_identity(clip, sentence, targets)
            if score is not None:
                scores.append(score)
    return scores


def choose_sentence(clip: Clip) -> Expression | None:
    """An attribute sentence whose target is visible whenever it is not hidden; None without one."""
    options = []
    for sentence in clip.expressions:
        if sentence.kind == "attribute" and sentence.target is not None:
            areas = clip.objects[sentence.target - 1].areas
            if areas[SHOWN].min() >= MIN_AREA_SHOWN and areas[BACK].min() >= MIN_AREA_BACK:
                options.append(sentence)
    if not options:
        return None
    return options[np.random.default_rng([clip.index, 12]).integers(len(options))]


def images_of(clip: Clip, target: int) -> Iterator[np.ndarray]:
    """The clip's images, with the target painted out in those of `HIDDEN`."""
    for number, image in enumerate(clip.frames):
        hidden = number in HIDDEN
        yield paint_out(image, clip.segmentation[number] == target) if hidden else image


def paint_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Inpaint a mask and three pixels around it in an (H, W, 3) uint8 image (Telea)."""
    wide = cv2.dilate(mask.astype(np.uint8), _DILATION)
    painted: np.ndarray = cv2.inpaint(image, wide, _INPAINTING_RADIUS, cv2.INPAINT_TELEA)
    return painted


def score_identity(
    clip: Clip, sentence: Expression, targets: Sequence[Target]
) -> IdentityScore | None:
    """Compare a clip's targets with the ground truth; None if the target was not found at first."""
    truths = clip.segmentation == sentence.target
    right = [
        region_similarity(target.mask, truth) > RIGHT_OVERLAP
        for target, truth in zip(targets, truths, strict=True)
    ]
    ids = Counter(targets[number].track_id for number in SHOWN if right[number])
    if not ids:
        return None
    own = ids.most_common(1)[0][0]
    has_own_id = [target.mask.any() and target.track_id == own for target in targets]
    lent_frames = sum(has_own_id[number] for number in HIDDEN)
    elsewhere = [
        has_own_id[number]
        and np.count_nonzero(targets[number].mask & truths[number])
        < ELSEWHERE * np.count_nonzero(targets[number].mask)
        for number in BACK
    ]
    return IdentityScore(
        clip=clip.index,
        text=sentence.text,
        lent_frames=int(lent_frames),
        lent=bool(lent_frames or any(elsewhere)),
        returned=bool(has_own_id[BACK[-1]] and right[BACK[-1]]),
    )


def identity_table(scores: Sequence[IdentityScore]) -> str:
    """A Markdown table of the scores."""
    count = max(len(scores), 1)
    frames = sum(score.lent_frames for score in scores) / (count * len(HIDDEN))
    rows = (
        ("masks under its id in images without the target", frames),
        ("clips in which its id is on something else", sum(s.lent for s in scores) / count),
        ("its own id again, two seconds after its return", sum(s.returned for s in scores) / count),
    )
    lines = [f"| target painted out for two seconds | {len(scores)} clips |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value:.1%} |" for name, value in rows)])
