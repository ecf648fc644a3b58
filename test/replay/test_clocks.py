# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The clocks of replay: every frame, and a model that takes its time."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from referdino_core.errors import SourceError
from referdino_core.replay.clocks import (
    EveryFrame,
    RealTimeClock,
    Scheduled,
    latency_percentiles,
    read_clock,
)
from referdino_ros.model_worker import FrameSlots


@dataclass(frozen=True)
class Image:
    arrival: int


def schedule(arrivals: list[int], *latencies: int) -> list[tuple[int | None, int | None]]:
    """(taken, finished) of each frame."""
    clock = RealTimeClock(latencies, "a test")
    scheduled = list(clock.schedule(Image(arrival) for arrival in arrivals))
    assert [one.frame.arrival for one in scheduled] == arrivals
    return [(one.taken, one.finished) for one in scheduled]


DROPPED = (None, None)


def test_every_frame_is_processed_at_once() -> None:
    scheduled = list(EveryFrame().schedule([Image(3), Image(5)]))

    assert scheduled == [Scheduled(Image(3), 3, 3), Scheduled(Image(5), 5, 5)]
    assert scheduled[0].delay == 0


def test_a_model_that_is_fast_enough_drops_nothing() -> None:
    assert schedule([0, 10, 20], 10) == [(0, 10), (10, 20), (20, 30)]


def test_a_frame_waits_until_the_model_is_free() -> None:
    assert schedule([0, 10, 30], 15) == [(0, 15), (15, 30), (30, 45)]


def test_the_newest_of_the_waiting_frames_wins() -> None:
    assert schedule([0, 10, 20, 30, 40], 25) == [(0, 25), DROPPED, (25, 50), DROPPED, (50, 75)]


def test_a_table_of_latencies_goes_round() -> None:
    assert schedule([0, 100, 200, 300], 10, 20, 30) == [
        (0, 10),
        (100, 120),
        (200, 230),
        (300, 310),
    ]


def test_a_result_is_late_by_waiting_and_computing() -> None:
    clock = RealTimeClock((25_000_000,), "25ms")
    frames = [Image(0), Image(10_000_000)]

    assert [one.delay for one in clock.schedule(frames)] == [0.025, 0.04]


def test_only_one_frame_is_held_back() -> None:
    given: list[int] = []

    def camera():
        for arrival in range(0, 1000, 10):
            given.append(arrival)
            yield Image(arrival)

    for one in RealTimeClock((35,), "").schedule(camera()):
        assert given[-1] - one.frame.arrival <= 10


def taken_from_the_slot(arrivals: list[int], latencies: list[int]) -> list[int]:
    """Arrivals of the frames that a consumer takes from the node's own slot."""
    slots: FrameSlots[int] = FrameSlots()
    taken: list[int] = []
    free = 0

    def take_until(now: float) -> None:
        nonlocal free
        while free <= now and slots.received(0) - slots.replaced(0) > len(taken):
            (frame,) = slots.take().values()
            free = max(free, frame) + latencies[len(taken) % len(latencies)]
            taken.append(frame)

    for arrival in arrivals:
        take_until(arrival)
        slots.put(0, arrival)
        take_until(arrival)
    take_until(math.inf)
    return taken


@pytest.mark.parametrize("seed", range(20))
def test_frames_drop_as_in_the_nodes_own_slot(seed: int) -> None:
    generator = random.Random(seed)
    arrivals = sorted(generator.sample(range(10_000), 200))
    latencies = [generator.randrange(200) for _ in range(17)]

    expected = taken_from_the_slot(arrivals, latencies)

    scheduled = zip(arrivals, schedule(arrivals, *latencies), strict=True)
    assert [arrival for arrival, (taken, _) in scheduled if taken is not None] == expected
    assert len(expected) < len(arrivals)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("40ms", 40_000_000),
        ("0.04s", 40_000_000),
        ("2 s", 2_000_000_000),
        ("0s", 0),
        ("40us", 40_000),
    ],
)
def test_a_time_is_read(text: str, nanoseconds: int) -> None:
    assert read_clock(text).latencies == (nanoseconds,)


TIMING = {"index": 3, "seconds": {"read": 9.0, "infer": 0.5, "write": 9.0}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "[0.25, 0.5]"),
        ("a.csv", "index,seconds,note\n0,0.25,x\n1,0.5,y\n"),
        ("b.csv", "0,0.25\n1,0.5\n"),
        ("timing.jsonl", '{"seconds": 0.25}\n' + json.dumps(TIMING) + "\n"),
    ],
)
def test_a_table_of_measured_seconds_is_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)

    clock = read_clock(str(tmp_path / name))

    assert clock.latencies == (250_000_000, 500_000_000)
    assert clock.summary()["latency"] == {"from": name, "frames": 2, "mean": 0.375, "worst": 0.5}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "[]", "holds no latency"),
        ("a.json", "[0.1, -1]", "latency 2 is -1"),
        ("a.json", "{", "not a table of latencies"),
        ("a.csv", "slow\n", "not a table of latencies"),
        ("a.jsonl", '{"index": 1}\n', "not a table of latencies"),
    ],
)
def test_a_table_that_makes_no_sense_is_one_clear_line(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)

    with pytest.raises(SourceError) as caught:
        read_clock(str(tmp_path / name))

    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["fast", "40 mm", "40", "-1ms", "nans", "1e-3s", "missing.json"])
def test_what_is_neither_time_nor_table_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match=f"--realtime-on {text} is neither a time with its unit"):
        read_clock(text)


def test_a_table_that_may_hold_milliseconds_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.json").write_text("[0.2, 38.0, 41.5]")

    read_clock(str(tmp_path / "a.json"))

    assert "2 of 3 latencies are above 5 s, up to 41.5 s; a table holds seconds" in caplog.text


def test_latency_percentiles_are_those_of_the_values() -> None:
    found = latency_percentiles([value / 1000 for value in range(101)])
    assert found is not None and found.count == 101
    assert (found.median, found.percentile_90) == pytest.approx((0.05, 0.09))
    assert (found.percentile_95, found.percentile_99, found.worst) == pytest.approx(
        (0.095, 0.099, 0.1)
    )
    assert latency_percentiles([]) is None
