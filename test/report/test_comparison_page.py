# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a pair, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import run_folder_samples as samples
from report_browser import OpenPage, chromium

from referdino_core.replay.run_folder import RunFolder
from referdino_core.report import write_comparison

pytestmark = pytest.mark.browser

FAULTS_OF_B = samples.Faults(wrong=range(0), missed=range(54, 58))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    changes = {"runtime": "onnxruntime fp32"}
    return (
        samples.write_run(folder / "a"),
        samples.write_run(folder / "b", FAULTS_OF_B, changes=changes),
    )


def test_a_pair_shows_differences_highlights_and_the_same_frame_of_both(
    browser: Any, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    with OpenPage(browser, write_comparison(*runs, tmp_path / "pair.html")) as opened:
        page = opened.page
        headings = page.locator("h2").all_text_contents()
        assert headings[0] == "What changed"
        assert "onnxruntime fp32" in page.text_content("#changed")
        assert "scored with the latest result" in page.text_content("#scoring")
        assert "too few" in page.text_content("#measures")
        assert "missed → right" not in page.text_content("#lost")
        assert "right → missed" in page.text_content("#lost")
        assert "wrong object → right" in page.text_content("#won")
        assert page.locator("#won .moment img").count() >= 2
        opened.click_timeline(0, 5.55)
        opened.wait_for_position(55)
        shown = [samples.frame_in_image(opened.video_image(place)) for place in (0, 1)]
        assert shown == [55, 55]
        readings = page.locator(".readings").all_text_contents()
        assert "missed" not in readings[0] and "missed" in readings[1]
        assert opened.complaints == [] and opened.requests == []


def test_never_is_reported_with_its_count_and_an_infinite_difference(
    browser: Any, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    scores = RunFolder(runs[0]).summary["scores"]
    for one in scores["commands"]:
        one["time_to_acquire"] = None
    never = samples.write_run(tmp_path / "never", changes={"scores": scores})
    with OpenPage(browser, write_comparison(runs[0], never, tmp_path / "p.html")) as opened:
        row = opened.page.locator("#measures tr", has_text="time to acquire")
        cells = row.locator("td").all_text_contents()
        assert cells[1:] == [
            "worse, too few to be sure", "+∞", "too few", "0.10 s (2 of 2)", "never (0 of 2)", "2",
        ]  # fmt: skip
        difference = row.locator("td:nth-child(3)").get_attribute("data-value")
        assert difference == "Infinity"
        assert opened.complaints == []


def test_many_clips_are_compared_by_clip(
    browser: Any, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    for side, run in zip("ab", runs, strict=True):
        for number in range(8):
            shutil.copytree(run, tmp_path / side / f"clip_{number}")
    written = write_comparison(tmp_path / "a", tmp_path / "b", tmp_path / "many.html")
    phone = {"viewport": {"width": 360, "height": 740}}
    with OpenPage(browser, written, **phone) as opened:
        assert opened.page.locator("#clips tbody tr").count() == 8
        assert "over clips" in opened.page.text_content("main")
        assert "too few" not in opened.page.text_content("#measures")
        assert opened.page.locator("#won .moment img").count() >= 2
        too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert opened.page.evaluate(too_wide) == 0
        assert opened.complaints == []


def test_different_commands_are_reported_at_the_top(
    browser: Any, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    other = samples.write_run(tmp_path / "c", sentences=samples.SENTENCES | {"1": "the green ball"})
    with OpenPage(browser, write_comparison(runs[0], other, tmp_path / "p.html")) as opened:
        text = opened.page.locator("#other-commands")
        assert "only A: “the red ball”" in text.text_content()
        assert "only B: “the green ball”" in text.text_content()
        assert text.bounding_box()["y"] < opened.page.locator("h2").nth(1).bounding_box()["y"]
    commands = RunFolder(runs[0]).summary["commands"]
    commands[0]["objects"] = [3]
    moved = samples.write_run(tmp_path / "d", changes={"commands": commands})
    text = write_comparison(runs[0], moved, tmp_path / "q.html").read_text(encoding="utf-8")
    assert "“the red ball” is scored against different objects: A 1, B 3" in text
    same = write_comparison(*runs, tmp_path / "same.html").read_text(encoding="utf-8")
    assert "other-commands" not in same


def test_a_phone_shows_verdicts_and_intervals_without_scrolling_sideways(
    browser: Any, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}}
    with OpenPage(browser, write_comparison(*runs, tmp_path / "p.html"), **phone) as opened:
        cells = opened.page.locator("#measures td").evaluate_all(
            "cells => cells.map(cell => cell.getBoundingClientRect().right)"
        )
        assert cells and max(cells) <= 360
        assert opened.page.locator("#measures .interval").first.is_visible()
