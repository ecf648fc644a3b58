# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's video: the view from above, the camera with the mask, what was said, two plots."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from demo.follow.recording import Moment
from demo.follow.scores import Said, Score
from referdino_core.follow_evaluation.film import SIZE, View, compose, draw_path
from referdino_core.following import Pose
from referdino_core.media.writers import VideoWriter
from referdino_core.simulation import (
    DEFAULT_MOUNTING,
    DriveSettings,
    RGBDCamera,
    Room,
    open_overhead,
)
from referdino_core.target import Target
from referdino_ros.following.conversions import seconds_of

FRAME_RATE = 10.0
_EVERY = 2
"""Images of the robot's camera for a picture: it runs twice as fast as the robot did."""
_HELD = 12
"""Pictures for which the verdict on an instruction stands."""


def write_film(path: Path, spoken: Sequence[Said], scores: Sequence[Score]) -> None:
    """Write the video, twice as fast as it was.

    Raises:
        ReferDINOError: it cannot be written.
    """
    room = Room(160, 120, DriveSettings().radius)
    pictures = sum(len(range(0, len(said.moments), _EVERY)) + _HELD for said in spoken)
    interval = 0.1 if sys.stderr.isatty() else 5.0
    with (
        open_overhead(room) as camera,
        VideoWriter(path, FRAME_RATE, SIZE) as video,
        tqdm(total=pictures, desc="demo: drawing", unit="picture", mininterval=interval) as bar,
    ):
        way: list[tuple[float, float]] = []
        chapter = None
        for said, one in zip(spoken, scores, strict=True):
            if said.chapter is not chapter:
                chapter, way = said.chapter, []
                episode = chapter.episode()
                room.furnish(
                    episode.bodies, episode.floor, episode.walls, episode.lighting, episode.fovy
                )
            for number in range(0, len(said.moments), _EVERY):
                video.write(_picture(said, number, room, camera, way))
                bar.update()
            verdict = _picture(said, len(said.moments) - 1, room, camera, way, one)
            for _ in range(_HELD):
                video.write(verdict)
                bar.update()


def _picture(
    said: Said,
    number: int,
    room: Room,
    camera: RGBDCamera,
    way: list[tuple[float, float]],
    verdict: Score | None = None,
) -> np.ndarray:
    moment = said.moments[number]
    pose = Pose(*moment.truth["robot"])
    way.append((pose.x, pose.y))
    room.arrange(said.chapter.episode().centres(moment.truth["time"]), pose, DEFAULT_MOUNTING)
    above = camera.capture(room.data, depth=False).colour
    assert above is not None
    draw_path(above, way)
    until = said.moments[: number + 1]
    view = View(
        said.line.text,
        _told(said, moment) if verdict is None else _verdict(verdict),
        [one.truth["stamp"] - said.begins for one in until],
        [_distance(said, one) for one in until],
        np.array([(one.truth["speed"], one.truth["turn"]) for one in until]),
        max(said.ends - said.begins, 1.0),
        said.distance,
    )
    image, targets = _newest_answer(until)
    return compose(above, image, targets, view)


def _newest_answer(moments: Sequence[Moment]) -> tuple[np.ndarray, list[Target]]:
    """The newest image that the model has answered, with its targets; else the newest image."""
    shown = [one for one in moments if one.image is not None]
    answered = [one for one in shown if one.targets is not None]
    newest = (answered or shown)[-1:]
    if not newest or newest[0].image is None:
        return np.zeros((120, 160, 3), np.uint8), []
    return newest[0].image, newest[0].targets or []


def _distance(said: Said, moment: Moment) -> float:
    if said.target is None:
        return float("nan")
    return float(moment.truth["bodies"][said.target]["distance"])


def _told(said: Said, moment: Moment) -> str:
    """What was understood, and what the follower said last by then."""
    before = [one for one in said.statuses if seconds_of(one.header.stamp) <= moment.truth["stamp"]]
    newest = f"{before[-1].state}: {before[-1].reason}" if before else said.state
    return f"Understood as: {said.understood}. {newest}"


def _verdict(one: Score) -> str:
    parts = ["As expected." if one.succeeded else "Not as expected."]
    if one.reached is not None:
        parts.append(f"Reached after {one.reached:.1f} s.")
    if one.final_distance is not None:
        parts.append(f"In the end {one.final_distance:.2f} m away, {one.final_bearing:+.0f}°.")
    parts.append(f"Driven {one.way:.2f} m, blind at most {one.blind:.2f} m.")
    return " ".join(parts)
