# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Series that are thinned out, and the percentiles that need no memory."""

from __future__ import annotations

import numpy as np
import pytest

from referdino_core.report.formatting import Durations
from referdino_core.report.timeline import Highlight, Sample, Timeline, choose_highlights


def test_a_long_series_keeps_every_peak_and_the_gravest_mark() -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.8, 10_000)
    values[[1234, 7777]] = 0.0, 1.0
    timeline = Timeline(capacity=100)
    for position, value in enumerate(values.tolist()):
        mark = 3 if position == 5000 else 1
        timeline.add(position, position + 5, position / 30, {"score": value}, {"state": mark})
    buckets = list(timeline)
    assert 50 <= len(buckets) <= 100
    assert sum(bucket.frames for bucket in buckets) == len(values)
    low = min((s.lowest["score"] for s in buckets), key=lambda sample: sample.value)
    high = max((s.highest["score"] for s in buckets), key=lambda sample: sample.value)
    assert (low.position, low.index, low.value) == (1234, 1239, 0.0)
    assert (high.position, high.seconds) == (7777, 7777 / 30)
    for bucket in buckets:
        own = values[bucket.first : bucket.last + 1]
        assert bucket.lowest["score"].value == own.min()
        assert bucket.highest["score"].value == own.max()
        assert bucket.marks["state"] == (3 if bucket.first <= 5000 <= bucket.last else 1)
        assert bucket.counts["state"] == len(own)


def test_a_short_series_stays_as_it_is_and_frames_may_lack_values() -> None:
    timeline = Timeline(capacity=10)
    for position in range(10):
        timeline.add(position, position, position, {"score": None if position == 3 else 0.5}, {})
    buckets = list(timeline)
    assert timeline.frames_per_bucket == 1
    assert [s.first for s in buckets if "score" not in s.lowest] == [3]


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
def test_percentiles_are_right_to_a_hundredth(fraction: float) -> None:
    seconds = np.random.default_rng(1).lognormal(-3.0, 0.7, 5000)
    durations = Durations()
    for value in seconds.tolist():
        durations.add(value)
    found = durations.percentile(fraction)
    assert found == pytest.approx(np.quantile(seconds, fraction), rel=0.012)
    assert durations.worst == seconds.max()


def test_no_durations_have_no_percentile() -> None:
    assert Durations().percentile(0.5) is None


def test_highlights_are_a_second_apart_and_come_from_every_kind_of_failure() -> None:
    kinds = ["missed"] * 40 + ["wrong object"] * 20
    candidates = [
        Highlight("1", "the ball", Sample(place, place, place / 10, 0.0, kind))
        for place, kind in enumerate(kinds)
    ]
    candidates.append(Highlight("2", "the box", Sample(3, 3, 0.3, 0.4, "poor mask")))
    chosen = choose_highlights(candidates, lambda found: found.sample.value, most=4)
    assert {found.sample.failure for found in chosen} == {"missed", "wrong object", "poor mask"}
    seconds = sorted(found.sample.seconds for found in chosen if found.key == "1")
    assert min(np.diff(seconds)) >= 1.0
