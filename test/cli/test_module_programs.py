# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Programs that are run as modules: what they cannot do is one line, before any work is done."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from repository import REPOSITORY

from referdino_core.cli import replay_demo
from referdino_core.world import WorldRenderer, WorldUnavailable

TRAINING = "referdino_core.training"
EVALUATION = "referdino_core.evaluation"
FOLLOWING = "referdino_core.follow_evaluation"
REPLAY = "referdino_core.cli.replay_demo"
EXPORTS = "referdino_core.evaluation.export_table"

pytestmark = pytest.mark.slow


def program(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("module", [TRAINING, EVALUATION, FOLLOWING, REPLAY])
def test_results_that_cannot_be_written_are_one_line_before_any_work(
    module: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    place = tmp_path / "file" / "results"
    outcome = program(module, "--out", place / "table.md" if module == EVALUATION else place)
    assert outcome.returncode == 1
    [line] = outcome.stderr.splitlines()
    assert f"{place} cannot be written: Not a directory." in line
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("module", "option", "value"),
    [
        (EVALUATION, "--clips", "0"),
        (EXPORTS, "--clips", "-2"),
        (FOLLOWING, "--episodes", "-1"),
        (FOLLOWING, "--first", "1.5"),
        (FOLLOWING, "--rate", "0"),
        (FOLLOWING, "--latency", "-0.1"),
        (FOLLOWING, "--drift", "nan"),
        (FOLLOWING, "--camera-height", "inf"),
        (REPLAY, "--seconds", "nan"),
        (REPLAY, "--clip", "-1"),
    ],
)
def test_numbers_out_of_their_limits_are_named(
    module: str,
    option: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = module if module in (REPLAY, EXPORTS) else f"{module}.__main__"
    monkeypatch.setattr(sys, "argv", ["program", f"{option}={value}"])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(name).main()
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: {value!r} is not a " in last


def test_tables_are_no_folder(tmp_path: Path) -> None:
    outcome = program(EVALUATION, "--out", tmp_path)
    assert outcome.returncode == 1 and outcome.stdout == ""
    [line] = outcome.stderr.splitlines()
    assert f"{tmp_path} is a folder; give the name of a file." in line


def test_training_reads_the_weights_that_it_starts_from_first(tmp_path: Path) -> None:
    outcome = program(TRAINING, "--out", tmp_path, "--start", tmp_path / "missing.safetensors")
    assert outcome.returncode == 1
    assert "training: error: There is no checkpoint at" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_replay_demo_leaves_a_bag_a_report_and_scores_against_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        WorldRenderer().close()
    except WorldUnavailable as error:
        pytest.skip(str(error))
    assert replay_demo.main(["--out", str(tmp_path), "--seconds", "1.2"]) == 0
    assert (tmp_path / "recording" / "metadata.yaml").is_file()
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "12 frames: 12 processed, 0 dropped, 0 failed" in printed
    assert "J&F" in printed and "all  " in printed
