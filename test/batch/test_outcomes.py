# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The totals of a batch, over runs of this version and of older ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import run_folder_samples as samples

from referdino_core.batch.outcomes import outcome_of_run, summarise
from referdino_core.replay.run_folder import RunFolder


def write_run(path: Path, older: bool) -> RunFolder:
    run = samples.write_run(path)
    summary = RunFolder(run).summary
    scores = summary["scores"]
    for one in (*scores["commands"], *scores["streaming"]["commands"]):
        one |= {"failures": {"missed": 4}, "states": {"tracking": 60}}
        if older:
            del one["tracking"], one["frames_located"]
            one["identity_switches"] = 2
    if older:
        del scores["streaming"]
    (run / "summary.json").write_text(json.dumps(summary))
    return RunFolder(run)


def test_a_batch_sums_up_tracking_and_streaming(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, older=False) for name in "ab"]
    found = summarise(tmp_path, [outcome_of_run(run.path.name, run) for run in runs])
    alone = runs[0].summary["scores"]["all"]
    assert found["scores"]["region_and_boundary"] == pytest.approx(alone["region_and_boundary"])
    assert (found["scores"]["commands_acquired"], found["scores"]["commands_shown"]) == (4, 4)
    assert found["scores"]["tracking"]["matches"] == 2 * alone["tracking"]["matches"]
    assert found["scores"]["tracking"]["mota"] == pytest.approx(alone["tracking"]["mota"])
    streaming = 0.9 * alone["region_and_boundary"]
    assert found["streaming"]["region_and_boundary"] == pytest.approx(streaming)


def test_a_batch_with_a_run_of_an_older_version_does_not_know_its_tracking(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", older=False), write_run(tmp_path / "b", older=True)]
    found = summarise(tmp_path, [outcome_of_run(run.path.name, run) for run in runs])
    assert found["scores"]["tracking"] is None
    assert (found["scores"]["commands_acquired"], found["commands_scored"]) == (4, 4)
    assert found["streaming"]["commands_shown"] == 2
