# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The demo of following: its script, its scores, and the whole program on a live graph."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from repository import REPOSITORY
from ros_harness import ros_environment

from demo.follow.recording import Moment
from demo.follow.scores import Said, score, table
from demo.follow.script import SCRIPT, Chapter, Expected, Line, own_chapter, target_of
from referdino_core.target import Target, TargetState, box_around

pytestmark = pytest.mark.ros
ROOM = Chapter("Room", "static", 125, ())


def test_the_script_means_bodies_that_its_rooms_have() -> None:
    for chapter in SCRIPT:
        for line in chapter.lines:
            meant = target_of(chapter, line.text)
            reaches = line.expected in (Expected.REACHES, Expected.DRIVES)
            assert (meant is not None) == reaches, line.text
            if reaches:
                assert meant == chapter.episode().target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go to the blue box", Expected.REACHES),
        ("find the blue box", Expected.OPEN),
        ("go to the leftmost thing", Expected.OPEN),
        ("follow the green ball", Expected.STANDS),
        ("follow the", Expected.STANDS),
        ("stop", Expected.STANDS),
    ],
)
def test_what_own_instructions_are_to_bring_about(text: str, expected: Expected) -> None:
    [line] = own_chapter([text]).lines
    assert line.expected is expected


def moment(
    second: float, way: float, shows: int, distance: float = 2.0, speed: float = 0.0
) -> Moment:
    """An image whose mask shows the body of a label; 0 for no mask."""
    labels = np.zeros((20, 20), np.uint8)
    labels[:10, :10], labels[10:, 10:] = 1, 2
    mask = labels == shows if shows else np.zeros((20, 20), bool)
    state = TargetState.TRACKING if shows else TargetState.OCCLUDED
    target = Target("command", "the red ball", 1, state, 0.9, 0.9, box_around(mask), mask)
    bodies = [{"look": look, "distance": distance, "bearing": 0.0} for look in ("a ball", "a box")]
    truth: dict[str, Any] = {
        "stamp": 10.0 + second, "way": way, "speed": speed, "bodies": bodies, "collisions": [],
    }  # fmt: skip
    return Moment(truth, labels=labels, targets=[target])


def said(moments: list[Moment], expected: Expected = Expected.REACHES) -> Said:
    line = Line("go to the red ball", 9.0, expected)
    return Said(ROOM, line, "approach the red ball", 10.0, 19.0, 0, 2.0, moments, (), "ended")


def test_what_is_reached_seen_and_driven_blindly() -> None:
    way = [moment(0, 0.0, 1, 3.0), moment(1, 0.3, 1, 2.7), moment(2, 0.4, 0, 2.6)]
    way += [moment(3, 0.55, 0, 2.3), moment(4, 0.9, 1, 2.1), moment(5, 0.9, 1, 2.1)]
    one = score(said(way))
    assert one.succeeded and one.right == 1.0 and one.reached == pytest.approx(4.0)
    assert one.blind == pytest.approx(0.25)  # from 0.3 m to 0.55 m
    assert one.final_distance == 2.1 and one.in_view == 1.0 and one.way == pytest.approx(0.9)
    wrong = score(said([replace(entry, targets=moment(0, 0, 2).targets) for entry in way]))
    assert not wrong.succeeded and wrong.right == 0.0 and wrong.shown == "a box"
    told = table([said(way)], [one]).splitlines()
    assert len(told) == 3 and "yes: reaches it" in told[1] and "understood: approach" in told[2]


def test_standing_still_and_stopping_by_itself() -> None:
    braking = [moment(0, 0.0, 0, speed=0.3), moment(1, 0.1, 0)]
    assert score(said(braking, Expected.STANDS)).succeeded
    driving = [moment(0, 0.0, 0), moment(1, 0.1, 0, speed=0.2)]
    assert not score(said(driving, Expected.STANDS)).succeeded
    assert not score(said(driving, Expected.DIES)).succeeded
    assert score(said(braking, Expected.DIES)).succeeded


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mujoco")
def test_an_instruction_of_ones_own_is_obeyed_on_a_live_graph(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo.follow", "--say", "go to the blue box", "--out", tmp_path],
        cwd=REPOSITORY,
        env=os.environ | {"AMENT_PREFIX_PATH": ros_environment()["AMENT_PREFIX_PATH"]},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "yes: reaches it" in done.stdout and "understood: approach the blue box" in done.stdout
    assert (tmp_path / "follow.mp4").stat().st_size > 20_000
