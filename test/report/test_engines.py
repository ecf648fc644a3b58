# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Both engines of a comparison by name, with rate and memory; the memory of a run in its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import run_folder_samples as samples

from referdino_core.replay.run_folder import RunFolder
from referdino_core.report import write_comparison, write_report
from referdino_core.report.engines import engine_rows, engine_use

PEER = {"name": "grounded-sam2", "networks": "detector, tracker", "checkpoint": None, "sha256": ""}


def add_memory(run: Path, start: int, growth: int) -> Path:
    """Give every image of a run a use of memory that grows."""
    path = run / "timing.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for place, line in enumerate(lines):
        line["memory"] = {"resident": start + growth * place, "state": growth * place}
    samples.write_lines(path, lines)
    return run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    ours = add_memory(samples.write_run(tmp_path / "a"), 500_000_000, 0)
    peer = samples.write_run(
        tmp_path / "b", samples.Faults(wrong=range(0)), changes={"model": PEER}
    )
    return ours, add_memory(peer, 900_000_000, 1_000_000)


def test_both_engines_are_named_with_rate_and_memory(runs: tuple[Path, Path]) -> None:
    rows = engine_rows(*(engine_use([RunFolder(run)]) for run in runs))
    found = {name: values for name, *values in rows}
    name = json.loads((runs[0] / "summary.json").read_text())["model"]["name"]
    assert found["model"] == [name, "grounded-sam2 (detector, tracker)"]
    assert found["inference of an image, median"] == ["33.1 ms"] * 2
    assert [float(rate) for rate in found["images per second"]] == pytest.approx([30.4] * 2, abs=1)
    assert found["memory of the process, peak"] == ["500 MB", "956 MB"]
    assert found["memory of the stream, peak"] == ["0.00 MB", "56 MB"]
    assert "memory on the GPU, peak" not in found


def test_the_page_names_both_engines_beside_their_moments(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    page = write_comparison(*runs, tmp_path / "pair.html").read_text(encoding="utf-8")
    assert 'id="engines"' in page
    assert "Won: B (grounded-sam2 (detector, tracker)) is better" in page


def test_runs_without_measured_memory_are_compared_too(tmp_path: Path) -> None:
    both = [samples.write_run(tmp_path / name) for name in "ab"]
    page = write_comparison(*both, tmp_path / "pair.html").read_text(encoding="utf-8")
    assert 'id="engines"' in page and "memory of the process" not in page


def test_the_report_shows_memory_that_grows(runs: tuple[Path, Path]) -> None:
    page = write_report(runs[1]).read_text(encoding="utf-8")
    row = page.partition("<td>memory of the stream</td>")[2].partition("</tr>")[0]
    assert [cell.partition("<")[0] for cell in row.split("<td>")[1:]] == [
        "0.00 MB", "56 MB", "56 MB",
    ]  # fmt: skip
