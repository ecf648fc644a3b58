# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Two runs side by side: what is compared, how sure it is, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import run_folder_samples as samples

from referdino_core.errors import SourceError
from referdino_core.replay.run_folder import RunFolder
from referdino_core.report.bootstrap import FEWEST_UNITS, paired_difference
from referdino_core.report.comparison import differences, head_to_heads, pair_runs
from referdino_core.report.formatting import changed_settings

BETTER = samples.Faults(wrong=range(0), dropped=())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return (
        samples.write_run(folder / "a"),
        samples.write_run(folder / "b", BETTER, changes={"runtime": "onnxruntime fp32"}),
    )


def test_an_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        first = generator.normal(0.6, 0.1, 40)
        second = first + generator.normal(0.02, 0.05, 40)
        found = paired_difference(
            [[pair] for pair in zip(first, second, strict=True)], "mean", resamples=300
        )
        assert found is not None and found.low is not None and found.high is not None
        covered += found.low <= 0.02 <= found.high
    assert 87 <= covered <= 99


def test_the_same_runs_give_the_same_interval_and_pairs_stay_together() -> None:
    units = [[(0.1 * place, 0.1 * place + 0.3)] for place in range(10)]
    found = paired_difference(units, "mean")
    assert found == paired_difference(units, "mean")
    # Every pair differs by the same: only a paired bootstrap knows that.
    assert found is not None and found.low is not None
    assert found.low == pytest.approx(0.3) and found.high == pytest.approx(0.3)
    assert found.is_clear


def test_commands_of_one_clip_are_drawn_together() -> None:
    clips = [[(0.0, float(place % 2))] * 20 for place in range(10)]
    alone = [[pair] for clip in clips for pair in clip]
    together, apart = paired_difference(clips, "mean"), paired_difference(alone, "mean")
    assert together is not None and apart is not None
    assert together.low is not None and apart.low is not None
    assert together.low < apart.low - 0.05


def test_too_few_units_have_a_difference_but_no_interval() -> None:
    found = paired_difference([[(1.0, 2.0)]] * (FEWEST_UNITS - 1), "sum")
    assert found is not None
    assert (found.value, found.low, found.high, found.is_clear) == (7.0, None, None, False)
    assert paired_difference([[], []], "mean") is None


def test_differences_are_of_the_second_against_the_first(runs: tuple[Path, Path]) -> None:
    found = {metric.name: entry for metric, entry in differences(pair_runs(*runs))}
    assert found["J"] is not None and found["J"].value > 0.03
    assert found["identity switches"] is not None
    assert found["IDF1"] is not None and found["IDF1"].value > 0.04
    assert found["J"].pairs == 2 and found["J"].low is None


def test_a_command_that_never_acquires_makes_its_run_worse(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    summary = RunFolder(runs[0]).summary
    scores = summary["scores"]
    for one in scores["commands"]:
        one["time_to_acquire"] = None
    never = samples.write_run(tmp_path / "never", changes={"scores": scores})
    found = {metric.name: entry for metric, entry in differences(pair_runs(runs[0], never))}
    acquired = found["time to acquire"]
    assert acquired is not None
    assert (acquired.first, acquired.second, acquired.value) == (0.1, np.inf, np.inf)
    assert (acquired.reached, acquired.pairs) == ((2, 0), 2)
    both = {metric.name: entry for metric, entry in differences(pair_runs(never, never))}
    assert both["time to acquire"].value == 0


def test_never_stays_never_in_the_interval() -> None:
    never = np.inf
    found = paired_difference([[(1.0, never)]] * 7 + [[(never, 1.0)]] * 2, "median")
    assert (found.first, found.second, found.value) == (1.0, never, never)
    assert (found.low, found.high, found.is_clear) == (-never, never, False)
    assert paired_difference([[(never, never)]] * 8, "median").high == 0
    # Half of an even number of commands is no majority: between 1 s and never lies never.
    assert paired_difference([[(1.0, 1.0)], [(never, 2.0)]], "median").first == never


def test_ratios_are_those_of_all_commands_together() -> None:
    found = paired_difference(
        [[((1.0, 10.0), (3.0, 10.0))], [((40.0, 40.0), (40.0, 40.0))]], "ratio"
    )
    assert (found.first, found.second) == (41 / 50, 43 / 50)
    assert paired_difference([[((0.0, 0.0), (0.0, 0.0))]], "ratio") is None
    same = paired_difference([[((1.0, 2.0), (1.0, 2.0))]] * 8, "ratio")
    assert (same.low, same.high) == (0, 0)


def test_what_one_of_the_runs_did_not_measure_is_not_compared(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    scores = RunFolder(runs[0]).summary["scores"]
    for one in (*scores["commands"], scores["all"]):
        del one["tracking"]
    del scores["streaming"]
    older = samples.write_run(tmp_path / "older", changes={"scores": scores})
    found = {metric.name: entry for metric, entry in differences(pair_runs(older, runs[1]))}
    unknown = {name for name, entry in found.items() if entry is None}
    assert unknown == {"IDF1", "MOTA", "identity switches", "lent ids", "J&F, streaming"}


def test_won_frames_are_those_where_only_the_first_failed(runs: tuple[Path, Path]) -> None:
    head_to_head = head_to_heads(pair_runs(*runs).clips[0])[0]
    won = {
        bucket.first: bucket.highest["won"]
        for bucket in head_to_head.timeline
        if bucket.highest["won"].value > 0
    }
    assert set(won) == set(samples.Faults().wrong)
    assert {sample.failure for sample in won.values()} == {"wrong object → right"}


def test_without_truth_frames_differ_by_their_masks(tmp_path: Path) -> None:
    first = samples.write_run(tmp_path / "a", truth=False)
    second = samples.write_run(tmp_path / "b", BETTER, truth=False)
    pair = pair_runs(first, second)
    assert all(entry is None for _, entry in differences(pair))
    head_to_head = head_to_heads(pair.clips[0])[0]
    apart = {s.first for s in head_to_head.timeline if s.highest["disagreement"].value > 0.5}
    assert apart == set(samples.Faults().wrong)


def test_changed_settings_are_listed_and_equal_ones_are_not(runs: tuple[Path, Path]) -> None:
    first, second = (RunFolder(run).summary for run in runs)
    assert changed_settings(first, second) == [("runtime", "torch fp32", "onnxruntime fp32")]


def test_runs_over_different_sources_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    source = RunFolder(runs[0]).summary["source"]
    other = samples.write_run(
        tmp_path / "c", frames=5, changes={"source": source | {"path": "/data/yard.mcap"}}
    )
    with pytest.raises(SourceError, match=r"hall\.mcap.*yard\.mcap.*same source") as caught:
        pair_runs(runs[0], other)
    assert "\n" not in str(caught.value)
    shorter = samples.write_run(tmp_path / "d", frames=30)
    with pytest.raises(SourceError, match="different frames"):
        pair_runs(runs[0], shorter)


def test_folders_of_runs_are_paired_by_name(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for side, run in zip("ab", runs, strict=True):
        for name in ("one", "two", f"only_{side}"):
            shutil.copytree(run, tmp_path / side / name)
    pair = pair_runs(tmp_path / "a", tmp_path / "b")
    assert [clip.name for clip in pair.clips] == ["one", "two"]
    assert pair.unpaired == ["only_a", "only_b"]
    with pytest.raises(SourceError, match="two of a kind"):
        pair_runs(tmp_path / "a", runs[1])
    with pytest.raises(SourceError, match="holds no run"):
        pair_runs(runs[0], tmp_path)


def test_commands_about_other_objects_are_not_compared(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    said = samples.SENTENCES | {"1": "the green ball"}
    other = samples.write_run(tmp_path / "a", sentences=said)
    clip = pair_runs(runs[0], other).clips[0]
    assert clip.commands == ["1#0", "2#0"]  # another sentence about the same object
    assert clip.sentence("1#0") == "the red ball → the green ball"
    assert clip.unshared_sentences == (["the red ball"], ["the green ball"])
    commands = RunFolder(other).summary["commands"]
    commands[0]["objects"] = [2]
    moved = samples.write_run(tmp_path / "b", sentences=said, changes={"commands": commands})
    assert pair_runs(runs[0], moved).clips[0].commands == ["2#0"]


def test_nothing_is_won_or_lost_where_only_one_truth_shows_the_target(tmp_path: Path) -> None:
    first = samples.write_run(tmp_path / "a", samples.Faults(absent=range(0)))
    second = samples.write_run(tmp_path / "b")
    head_to_head = head_to_heads(pair_runs(first, second).clips[0])[0]
    compared = {s.first for s in head_to_head.timeline if "won" in s.highest}
    assert compared == set(range(60)) - set(samples.Faults().absent)
