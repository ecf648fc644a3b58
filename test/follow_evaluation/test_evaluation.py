# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes scored: reached, not reached, wrong object, stood still; the table; the program."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from referdino_core.errors import ReferDINOError
from referdino_core.follow_evaluation.contestants import ReferdinoFollower, Seen
from referdino_core.follow_evaluation.evaluation import Stage, evaluate, schedule
from referdino_core.follow_evaluation.perception import GroundTruthPerception
from referdino_core.follow_evaluation.results import Journal, as_json, markdown, summaries
from referdino_core.follow_evaluation.running import EpisodeResult, Timing, run_episode
from referdino_core.following import Intrinsics, Odometry, Velocity
from referdino_core.simulation import DEFAULT_MOUNTING, SPLITS, Frame
from referdino_core.target import Target, TargetState, box_around
from referdino_core.world import WorldUnavailable


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    try:
        with Stage(DEFAULT_MOUNTING) as made:
            yield made
    except WorldUnavailable as error:
        pytest.skip(str(error))


class AnotherObject(GroundTruthPerception):
    """Sees, for good, a body that is not meant."""

    def find(self, frame: Frame) -> Target:
        counts = np.bincount(frame.labels.ravel(), minlength=3)
        counts[[0, self._label]] = 0
        mask = frame.labels == counts.argmax()
        return Target("command", "", 1, TargetState.TRACKING, 1.0, 1.0, box_around(mask), mask)


class Fixed:
    """A robot that does one thing."""

    name, period = "fixed", 0.1

    def __init__(self, velocity: Velocity | None) -> None:
        self._velocity = velocity

    def begin(self, distance: float, radius: float, intrinsics: Intrinsics) -> None:
        pass

    def see(self, now: float, seen: Seen) -> None:
        pass

    def steer(self, now: float, odometry: Odometry) -> Velocity | None:
        return self._velocity

    def says(self) -> str:
        return ""


@pytest.mark.slow
def test_with_ground_truth_the_follower_reaches_what_is_meant(stage: Stage) -> None:
    planned = [("static", 0), ("moving", 0), ("occlusion", 0), ("distractors", 0), ("absent", 0)]
    follower = ReferdinoFollower(stage.mounting)
    for result in evaluate(stage, GroundTruthPerception(), [follower], planned):
        assert result.success, result
        assert result.blind <= 0.15 and result.collisions == 0
        if result.split != "absent":
            assert abs(result.distance_error) <= 0.15 and abs(result.bearing) <= 10
            assert result.found == 1.0 and result.path_ratio < 1.5


def test_an_episode_is_the_same_again(stage: Stage) -> None:
    follower = ReferdinoFollower(stage.mounting)
    planned = [("static", 2)]
    first, second = (
        list(evaluate(stage, GroundTruthPerception(), [follower], planned)) for _ in range(2)
    )
    assert first == second


def test_the_wrong_object_is_no_success(stage: Stage) -> None:
    episode, sentence = stage.scripted("static", 4)
    result = run_episode(
        stage.simulation(episode), sentence, AnotherObject(), ReferdinoFollower(stage.mounting)
    )
    assert not result.success
    assert result.wrong_object and result.found == 0.0


@pytest.mark.slow
def test_who_stands_still_reaches_nothing_and_is_right_where_nothing_is_meant(
    stage: Stage,
) -> None:
    for split, expected in (("static", False), ("absent", True)):
        episode, sentence = stage.scripted(split, 1)
        for velocity in (None, Velocity()):
            simulation = stage.simulation(episode)
            result = run_episode(simulation, sentence, GroundTruthPerception(), Fixed(velocity))
            assert result.success is expected and result.way == 0.0
        spinning = run_episode(
            stage.simulation(episode), sentence, GroundTruthPerception(), Fixed(Velocity(0, 0.5))
        )
        assert not spinning.success and spinning.turn > 300


def test_what_is_run_into_is_counted_and_blind_driving_is_measured(stage: Stage) -> None:
    episode, sentence = stage.scripted("absent", 0)
    blind = run_episode(
        stage.simulation(episode), sentence, GroundTruthPerception(), Fixed(Velocity(0.5))
    )
    assert blind.collisions >= 1 and not blind.success
    assert blind.blind == pytest.approx(blind.way, abs=0.02)


@pytest.mark.parametrize(("period", "latency"), [(0.2, 0.2), (0.1, 0.3)])
def test_slow_perception_is_safe(stage: Stage, period: float, latency: float) -> None:
    timing = Timing(image_period=period, latency=latency)
    follower = ReferdinoFollower(stage.mounting)
    planned = [("static", 1)]
    (result,) = evaluate(stage, GroundTruthPerception(), [follower], planned, timing)
    assert result.blind <= 0.16
    assert result.success


def test_in_real_time_slow_perception_costs_images_and_its_time_comes_on_top(stage: Stage) -> None:
    class Slow(GroundTruthPerception):
        def __init__(self) -> None:
            super().__init__()
            self.stamps: list[float] = []

        def find(self, frame: Frame) -> Target:
            self.stamps.append(frame.stamp)
            time.sleep(0.12)
            return super().find(frame)

    episode, sentence = stage.scripted("absent", 0)
    slow = Slow()
    timing = Timing(image_period=0.1, latency=0.05, real_time=True)
    simulation = stage.simulation(replace(episode, duration=2.0))
    run_episode(simulation, sentence, slow, Fixed(Velocity()), timing)
    gaps = np.diff(slow.stamps)
    assert len(slow.stamps) <= 10 and gaps.min() == pytest.approx(0.2, abs=0.02)


def result(split: str, follower: str, success: bool, blind: float = 0.1) -> EpisodeResult:
    return EpisodeResult(
        split, 0, "the ball", follower, success, False, 0, 9.0, 1.1, 0.9, 0.8, blind, 0.05, 2.0,
        1.0, 10.0, "",
    )  # fmt: skip


def test_the_table_has_a_row_for_each_split_and_follower() -> None:
    results = [
        result("static", "a", True),
        result("static", "a", False, blind=0.3),
        result("static", "b", False),
        result("absent", "a", True),
    ]
    rows = summaries(results)
    assert [(row["split"], row["follower"]) for row in rows] == [
        ("static", "a"), ("static", "b"), ("absent", "a"),
    ]  # fmt: skip
    assert rows[0]["success"] == 0.5 and rows[0]["blind"] == 0.3
    table = markdown(rows)
    assert "| static (2) | a | 50% | 0% | 0 | 0.05 m | 9.0 s | 1.10 | 90% | 80% | 0.30 m |" in table
    assert "| static (1) | b | 0% | 0% | 0 | 0.05 m | – | – |" in table
    assert json.loads(json.dumps(as_json(results)))["episodes"][0]["sentence"] == "the ball"


def test_a_journal_goes_on_where_it_was_and_refuses_other_settings(tmp_path: Path) -> None:
    folder, settings = tmp_path / "out", {"rate": 10.0}
    journal = Journal(folder, settings)
    journal.add(result("static", "a", True))
    with (folder / "episodes.jsonl").open("a") as file:
        file.write('{"split": "mov')  # the run was ended here
    again = Journal(folder, settings)
    assert again.results == [result("static", "a", True)]
    again.add(result("moving", "a", False))
    assert len(Journal(folder, settings).results) == 2
    with pytest.raises(ReferDINOError, match="other settings"):
        Journal(folder, {"rate": 5.0})
    assert Journal(None, settings).results == []


def test_splits_take_turns() -> None:
    assert schedule(7, SPLITS, 10)[:6] == [
        *((split, 10) for split in SPLITS), ("static", 11),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_program_prints_a_table_and_leaves_files_and_films(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "referdino_core.follow_evaluation", "--episodes", "1"),
            *("--split", "absent", "--follower", "referdino", "--perception", "ground-truth"),
            *("--films", "--out", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| absent (1) | referdino | 100% |" in done.stdout
    assert (tmp_path / "table.md").read_text().strip() == done.stdout.strip()
    assert json.loads((tmp_path / "table.json").read_text())["rows"][0]["success"] == 1.0
    (film,) = (tmp_path / "films").iterdir()
    assert film.name == "absent_0_referdino.mp4" and film.stat().st_size > 10_000
