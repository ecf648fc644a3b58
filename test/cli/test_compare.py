# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino report` and `referdino compare`, as a shell sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import run_folder_samples as samples

from referdino_core.cli import main


def test_report_writes_the_page_again_in_place_of_the_old_one(tmp_path: Path) -> None:
    run = samples.write_run(tmp_path / "a", frames=12)
    page = run / "report.html"
    page.write_text("an older page", encoding="utf-8")
    told = subprocess.run(
        [sys.executable, "-m", "referdino_core.cli", "report", str(run)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == f"{page}\n"
    assert told.stderr == ""
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".")) == []


def test_compare_writes_where_it_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [samples.write_run(tmp_path / name, frames=12) for name in "ab"]
    out = tmp_path / "pages" / "pair.html"
    assert main(["compare", *map(str, runs), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "No frame differs enough" in out.read_text(encoding="utf-8")


def test_what_is_no_run_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = samples.write_run(tmp_path / "a", frames=3)
    (run / "summary.json").unlink()
    for arguments in (["report", str(run)], ["compare", str(run), str(run)]):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("referdino: error: ") and error.count("\n") == 1
        assert "holds no run" in error
    assert not (run / "report.html").exists()


def test_a_damaged_line_is_named_and_leaves_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = samples.write_run(tmp_path / "a", frames=3)
    with (run / "frames.jsonl").open("a", encoding="utf-8") as lines:
        lines.write('{"index": 3, "st')
    assert main(["report", str(run)]) == 1
    assert "line 4" in capsys.readouterr().err
    assert not (run / "report.html").exists()
