# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Series that are thinned out, and the percentiles that need no memory."""

from __future__ import annotations

import numpy as np
import pytest

from referdino_core.report.durations import Durations
from referdino_core.report.timeline import CommandMoment, Moment, Timeline, choose


def test_a_long_series_keeps_every_peak_and_the_gravest_mark() -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.8, 10_000)
    values[[1234, 7777]] = 0.0, 1.0
    timeline = Timeline(capacity=100)
    for position, value in enumerate(values.tolist()):
        mark = 3 if position == 5000 else 1
        timeline.add(position, position + 5, position / 30, {"score": value}, {"state": mark})
    stretches = list(timeline)
    assert 50 <= len(stretches) <= 100
    assert sum(stretch.frames for stretch in stretches) == len(values)
    low = min((s.lowest["score"] for s in stretches), key=lambda moment: moment.value)
    high = max((s.highest["score"] for s in stretches), key=lambda moment: moment.value)
    assert (low.position, low.index, low.value) == (1234, 1239, 0.0)
    assert (high.position, high.seconds) == (7777, 7777 / 30)
    for stretch in stretches:
        own = values[stretch.first : stretch.last + 1]
        assert stretch.lowest["score"].value == own.min()
        assert stretch.highest["score"].value == own.max()
        assert stretch.marks["state"] == (3 if stretch.first <= 5000 <= stretch.last else 1)
        assert stretch.counts["state"] == len(own)


def test_a_short_series_stays_as_it_is_and_frames_may_lack_values() -> None:
    timeline = Timeline(capacity=10)
    for position in range(10):
        timeline.add(position, position, position, {"score": None if position == 3 else 0.5}, {})
    stretches = list(timeline)
    assert timeline.frames_per_stretch == 1
    assert [s.first for s in stretches if "score" not in s.lowest] == [3]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_percentiles_are_right_to_a_hundredth(share: float) -> None:
    seconds = np.random.default_rng(1).lognormal(-3.0, 0.7, 5000)
    durations = Durations()
    for value in seconds.tolist():
        durations.add(value)
    found = durations.percentile(share)
    assert found == pytest.approx(np.quantile(seconds, share), rel=0.012)
    assert durations.worst == seconds.max()


def test_no_durations_have_no_percentile() -> None:
    assert Durations().percentile(0.5) is None


def test_moments_are_a_second_apart_and_come_from_every_kind_of_failure() -> None:
    kinds = ["missed"] * 40 + ["wrong object"] * 20
    candidates = [
        CommandMoment("1", "the ball", Moment(place, place, place / 10, 0.0, kind))
        for place, kind in enumerate(kinds)
    ]
    candidates.append(CommandMoment("2", "the box", Moment(3, 3, 0.3, 0.4, "poor mask")))
    chosen = choose(candidates, lambda found: found.moment.value, most=4)
    assert {found.moment.failure for found in chosen} == {"missed", "wrong object", "poor mask"}
    seconds = sorted(found.moment.seconds for found in chosen if found.key == "1")
    assert min(np.diff(seconds)) >= 1.0
