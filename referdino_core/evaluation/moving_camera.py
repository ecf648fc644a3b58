# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark of objects and identities while a robot's camera stands, turns or drives.

Clips of the world with scenes of a robot, 24 images at 10 per second, with one attribute sentence
each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from referdino_core.evaluation.davis import ABSENT_AREA, RIGHT_OVERLAP, region_similarity
from referdino_core.session.engine import Engine
from referdino_core.world import Clip, Expression, WorldRenderer, WorldSettings
from referdino_core.world.clip import Split

FRAMES = 24
MIN_VISIBLE = 0.7
"""Minimum fraction of a clip's images that show its target."""


@dataclass(frozen=True)
class CameraMotion:
    """Motion of the camera.

    Attributes:
        turn: turning rate in rad/s, back and forth.
        drive: forward speed in m/s.
    """

    turn: float = 0.0
    drive: float = 0.0

    def __str__(self) -> str:
        parts = []
        if self.turn:
            parts.append(f"turns at {self.turn:g} rad/s")
        if self.drive:
            parts.append(f"drives forward at {self.drive:g} m/s")
        return " and ".join(parts) or "stands still"


CAMERA_MOTIONS = (
    CameraMotion(),
    *(CameraMotion(turn=rate) for rate in (0.2, 0.5, 0.8, 1.2)),
    CameraMotion(drive=0.3),
    CameraMotion(turn=0.5, drive=0.3),
)


@dataclass(frozen=True)
class KeptScore:
    """Score of one sentence in one clip.

    Attributes:
        shown: number of images that show the target. right: those with a J above 0.5.
        empty: number of images without the target. false_alarms: those with a predicted mask.
        ids: number of different identities of the masks.
    """

    clip: int
    text: str
    shown: int
    right: int
    empty: int
    false_alarms: int
    ids: int


def evaluate_moving_camera(
    session: Engine,
    split: Split,
    indices: Sequence[int],
    motions: Iterable[CameraMotion] = CAMERA_MOTIONS,
) -> dict[CameraMotion, list[KeptScore]]:
    """Score the same clips with each motion of the camera; clips without a sentence are skipped.

    Args:
        session: an engine, whose commands and memories are replaced.
        split: "validation" or "test".
        indices: indices of clips in the split.
        motions: motions of the camera.
    """
    scores: dict[CameraMotion, list[KeptScore]] = {}
    for motion in motions:
        settings = WorldSettings(
            frames=FRAMES, scenes="robot", turn=motion.turn, drive=motion.drive
        )
        scores[motion] = []
        with WorldRenderer(settings) as renderer:
            for index in tqdm(indices, desc=f"{split} clips, camera {motion}", unit="clip"):
                clip = renderer.clip(split, index)
                sentence = choose_sentence(clip)
                if sentence is not None:
                    scores[motion].append(score_clip(session, clip, sentence))
    return scores


def choose_sentence(clip: Clip) -> Expression | None:
    """An attribute sentence whose target is visible in most images, the first and the last one."""
    options = []
    for sentence in clip.expressions:
        if sentence.kind == "attribute" and sentence.target is not None:
            shown = clip.objects[sentence.target - 1].areas >= ABSENT_AREA
            if shown[0] and shown[-1] and shown.mean() >= MIN_VISIBLE:
                options.append(sentence)
    if not options:
        return None
    return options[np.random.default_rng([clip.index, 13]).integers(len(options))]


def score_clip(session: Engine, clip: Clip, sentence: Expression) -> KeptScore:
    """Stream a clip and compare the masks with the ground truth."""
    session.begin_stream()
    session.command(sentence.text)
    shown = right = empty = alarms = 0
    ids = set()
    for image, segmentation, stamp in zip(
        clip.frames, clip.segmentation, clip.stamps.tolist(), strict=True
    ):
        target = session.step(image, stamp)[0]
        truth = segmentation == sentence.target
        if target.mask.any():
            ids.add(target.track_id)
        if np.count_nonzero(truth) >= ABSENT_AREA:
            shown += 1
            right += region_similarity(target.mask, truth) > RIGHT_OVERLAP
        else:
            empty += 1
            alarms += bool(target.mask.any())
    return KeptScore(clip.index, sentence.text, shown, right, empty, alarms, len(ids))


def moving_camera_table(scores: Mapping[CameraMotion, Sequence[KeptScore]]) -> str:
    """A Markdown table with a row for each motion of the camera."""
    lines = [
        "| the camera | clips | images right | clips with exactly one id | mask out of view |",
        "|---|---|---|---|---|",
    ]
    for motion, ones in scores.items():
        shown, empty = sum(one.shown for one in ones), sum(one.empty for one in ones)
        right = f"{sum(one.right for one in ones) / shown:.1%}" if shown else "none"
        alarms = f"{sum(one.false_alarms for one in ones) / empty:.1%}" if empty else "none"
        kept = f"{sum(one.ids == 1 for one in ones) / len(ones):.1%}" if ones else "none"
        lines.append(f"| {motion} | {len(ones)} | {right} | {kept} | {alarms} |")
    return "\n".join(lines)
