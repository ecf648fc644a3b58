# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a run, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import run_folder_samples as samples
from report_browser import OpenPage, chromium

from referdino_core.replay.run_folder import RunFolder
from referdino_core.report import write_report

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"problems": ["The bag breaks off after 6.0 s; it was replayed up to there."]}
    return write_report(samples.write_run(tmp_path_factory.mktemp("run") / "a", changes=changes))


@pytest.fixture(scope="module")
def shared(browser: Any, report: Path) -> Iterator[OpenPage]:
    """The report, opened once for the tests to which its state does not matter."""
    with OpenPage(browser, report) as opened:
        yield opened


def test_a_report_loads_without_complaint_and_without_network(browser: Any, report: Path) -> None:
    with OpenPage(browser, report) as opened:
        opened.video_image()
        assert opened.page.locator(".plot .main-svg").count() > 0
        assert opened.complaints == []
        assert opened.requests == []


@pytest.mark.parametrize("frame", [0, 33, 59])
def test_a_click_on_a_timeline_shows_that_frame(shared: OpenPage, frame: int) -> None:
    shared.click_timeline(1, (frame + 0.5) / samples.RATE)
    shared.wait_for_position(frame)
    assert samples.frame_in_image(shared.video_image()) == frame
    shown = shared.page.evaluate("document.querySelector('video').currentTime")
    assert frame / samples.RATE <= shown < (frame + 1) / samples.RATE
    assert f"frame {frame} " in shared.page.text_content(".where")


def test_the_readings_tell_what_holds_in_the_frame(shared: OpenPage) -> None:
    shared.click_timeline(0, 3.15)
    shared.wait_for_position(31)
    readings = shared.page.locator(".readings .found").all_text_contents()
    assert "occluded" in readings[0] and "missed" in readings[0]
    assert "tracking" in readings[1]
    shared.click_timeline(0, 1.05)
    shared.wait_for_position(10)
    readings = shared.page.locator(".readings .found").all_text_contents()
    assert "dropped" in readings[0]
    assert readings[1] == "not given"


def test_keys_step_through_the_frames(browser: Any, report: Path) -> None:
    with OpenPage(browser, report) as opened:
        opened.page.locator(".timeline").first.focus()
        for key, frame in (("ArrowRight", 1), ("PageUp", 11), ("ArrowLeft", 10), ("End", 59)):
            opened.page.keyboard.press(key)
            opened.wait_for_position(frame)
        assert samples.frame_in_image(opened.video_image()) == 59


def test_a_playing_video_moves_the_cursors(browser: Any, report: Path) -> None:
    with OpenPage(browser, report) as opened:
        left = "parseFloat(document.querySelectorAll('.cursor')[1].style.left)"
        before = opened.page.evaluate(left)
        opened.page.click(".play")
        opened.page.wait_for_function(
            "() => Number(document.documentElement.dataset.position) >= 5"
        )
        assert opened.page.evaluate(left) > before


def test_a_highlight_and_a_thumbnail_are_ways_to_their_frame(shared: OpenPage) -> None:
    sample = shared.page.locator(".moment", has_text="wrong object").first
    frame = int(sample.get_attribute("data-seek"))
    assert frame in samples.Faults().wrong
    sample.click()
    shared.wait_for_position(frame)
    assert samples.frame_in_image(shared.video_image()) == frame
    shared.page.locator(".film button").nth(30).click()
    shared.wait_for_position(
        int(shared.page.locator(".film button").nth(30).get_attribute("data-seek"))
    )


def test_a_sentence_is_text_and_never_markup(shared: OpenPage, report: Path) -> None:
    shown = shared.page.locator("h3").all_text_contents()
    assert samples.HOSTILE_SENTENCE in shown
    labels = shared.page.locator(".plot text").all_text_contents()
    assert any(label.startswith("the <script>alert(1)") for label in labels)
    assert "<script>alert(1)" not in report.read_text(encoding="utf-8")


def test_problems_stand_at_the_top(shared: OpenPage) -> None:
    problems = shared.page.locator(".problems")
    assert "breaks off after 6.0 s" in problems.text_content()
    top = problems.bounding_box()["y"]
    assert top < shared.page.locator(".tiles").bounding_box()["y"]


def test_tables_sort_both_ways(shared: OpenPage) -> None:
    head = shared.page.locator("#commands th", has_text="given")
    cells = shared.page.locator("#commands tbody td:nth-child(2)")
    orders = []
    for _ in range(2):
        head.locator("button").click()
        orders.append((head.get_attribute("aria-sort"), cells.all_text_contents()))
    assert orders == [
        ("ascending", ["0.00 s", "2.00 s"]),
        ("descending", ["2.00 s", "0.00 s"]),
    ]


def test_a_phone_shows_the_page_without_scrolling_sideways(browser: Any, report: Path) -> None:
    with OpenPage(browser, report, **PHONE) as opened:
        too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert opened.page.evaluate(too_wide) == 0
        widths = opened.page.evaluate(
            "[...document.querySelectorAll('.plot .main-svg')].map("
            "plot => plot.getBoundingClientRect().right)"
        )
        assert max(widths) <= PHONE["viewport"]["width"]
        opened.page.locator(".timeline").first.tap(position={"x": 200, "y": 60})
        opened.page.wait_for_function(
            "() => Number(document.documentElement.dataset.position) > 10"
        )


def test_the_page_prints_with_its_plots(browser: Any, report: Path) -> None:
    with OpenPage(browser, report) as opened:
        document = opened.page.pdf(format="A4")
        assert document.startswith(b"%PDF")
        assert document.count(b"/Type /Page\n") + document.count(b"/Type /Page ") >= 2
        opened.page.emulate_media(media="print")
        opened.page.wait_for_function(
            "() => [...document.querySelectorAll('.plot .main-svg')].every("
            "plot => plot.getBoundingClientRect().width <= 680)"
        )


def test_without_a_video_the_nearest_image_is_shown(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where FFmpeg has no VP8: an encoder that no build of it knows."""
    monkeypatch.setattr("referdino_core.report.overlay_images.WEBM_ENCODERS", {"zzzz": {}})
    report = write_report(samples.write_run(tmp_path / "a"))
    with OpenPage(browser, report) as opened:
        assert opened.page.locator("video").count() == 0
        assert "cannot write VP8" in opened.page.text_content(".player")
        opened.click_timeline(0, 3.35)
        opened.wait_for_position(33)
        assert opened.page.locator(".player img").get_attribute("data-position") == "33"
        assert opened.page.locator(".player img").is_visible()
        assert opened.complaints == []


def test_a_run_without_truth_is_shown_unscored(browser: Any, tmp_path: Path) -> None:
    report = write_report(samples.write_run(tmp_path / "a", truth=False))
    with OpenPage(browser, report) as opened:
        text = opened.page.text_content("main")
        assert "nothing is scored" in text
        assert "Failures by kind" not in text
        assert opened.page.locator(".moment").count() > 0
        assert opened.complaints == []


def test_a_thinned_video_follows_the_timeline(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("referdino_core.report.run_report.MAX_VIDEO_BYTES", 100_000)
    report = write_report(samples.write_run(tmp_path / "a"))
    with OpenPage(browser, report) as opened:
        caption = opened.page.text_content(".player figcaption")
        step = int("".join(filter(str.isdigit, caption)))
        assert step > 1
        opened.click_timeline(0, 4.75)
        opened.wait_for_position(47)
        assert samples.frame_in_image(opened.video_image()) == 47 // step * step


def test_frames_that_could_not_be_processed_are_marked(browser: Any, tmp_path: Path) -> None:
    faults = samples.Faults(failed=(15,))
    report = write_report(samples.write_run(tmp_path / "a", faults))
    with OpenPage(browser, report) as opened:
        assert "failed" in opened.page.text_content(".tiles")
        opened.click_timeline(0, 1.55)
        opened.wait_for_position(15)
        assert "not read" in opened.page.locator(".readings .found").first.text_content()


def test_how_frames_are_scored_as_live_stands_by_the_scores(report: Path, tmp_path: Path) -> None:
    assert "A dropped frame is scored with the latest result" in report.read_text(encoding="utf-8")
    every = samples.write_run(tmp_path / "a", frames=3, changes={"clock": {"kind": "every frame"}})
    assert "A dropped frame is scored" not in write_report(every).read_text(encoding="utf-8")


def tiles_of(opened: OpenPage) -> dict[str, str]:
    tiles = opened.page.locator(".tiles li").evaluate_all(
        "list => list.map(tile => [...tile.children].map(part => part.textContent))"
    )
    return {name: f"{value} · {explanation}" for name, value, explanation in tiles}


def test_never_is_reported_as_never_and_counted(browser: Any, tmp_path: Path) -> None:
    run = samples.write_run(tmp_path / "a")
    summary = RunFolder(run).summary
    first, second = summary["scores"]["commands"]
    first |= {"time_to_acquire": None, "centre_error": None, "frames_located": 0}
    summary["scores"]["all"] |= {
        "time_to_acquire": None, "commands_acquired": 1, "centre_error": 2.5, "commands_located": 2,
    }  # fmt: skip
    (run / "summary.json").write_text(json.dumps(summary))
    with OpenPage(browser, write_report(run)) as opened:
        tiles = tiles_of(opened)
        assert tiles["time to acquire"].startswith("never · 1 of 2 commands")
        assert tiles["centre error"].startswith("2.5 px · 2 of 2 commands")
        shown = first["frames_with_truth"] - first["frames_absent"]
        heads = opened.page.locator("#commands th button").all_text_contents()
        for name, texts in (
            ("time to acquire", ["0.10 s", "never"]),
            (
                "centre error",
                [f"1.5 px ({second['frames_located']} of 40)", f"never (0 of {shown})"],
            ),
        ):
            column = heads.index(name) + 1
            cells = opened.page.locator(f"#commands tbody td:nth-child({column})")
            opened.page.locator(f"#commands th:nth-child({column}) button").click()
            assert cells.all_text_contents() == texts
        assert opened.complaints == []


def test_tracking_and_streaming_stand_beside_the_other_scores(
    shared: OpenPage, report: Path
) -> None:
    tiles = tiles_of(shared)
    overall = RunFolder(report.parent).summary["scores"]["all"]
    tracking = overall["tracking"]
    assert tiles["IDF1"].startswith(f"{tracking['idf1']:.3f} ")
    assert tiles["MOTA"].startswith(f"{tracking['mota']:.3f} ")
    assert (tiles["identity switches"][:2], tiles["lent ids"][:2]) == ("2 ", "2 ")
    both = overall["region_and_boundary"]
    assert tiles["J&F, streaming"].startswith(f"{0.9 * both:.3f} ")
    last = shared.page.locator("#streaming tr").last.locator("td").all_text_contents()
    assert last[:2] == ["all", f"{both:.3f} → {0.9 * both:.3f}"]
    assert "latest result available" in shared.page.text_content("main")


def test_a_run_of_an_older_version_is_shown_with_what_it_measured(
    browser: Any, tmp_path: Path
) -> None:
    run = samples.write_run(tmp_path / "a")
    summary = RunFolder(run).summary
    del summary["scores"]["streaming"]
    entire = summary["scores"]["all"]
    for scores in (*summary["scores"]["commands"], entire):
        for name in ("tracking", "frames_located"):
            scores.pop(name, None)
        scores["identity_switches"] = 3  # it meant something else then
    for name in ("commands_shown", "commands_acquired", "commands_located"):
        del entire[name]
    (run / "summary.json").write_text(json.dumps(summary))
    assert not any("without_target" in line for line in samples.read_lines(run))
    with OpenPage(browser, write_report(run)) as opened:
        tiles = tiles_of(opened)
        assert tiles["time to acquire"].startswith("0.10 s · from the command")
        assert tiles["IDF1"].startswith("– ") and tiles["identity switches"].startswith("– ")
        assert "J&F, streaming" not in tiles
        assert opened.page.locator("#streaming").count() == 0
        assert opened.complaints == []


def test_a_command_may_have_several_targets_or_none(browser: Any, tmp_path: Path) -> None:
    run = samples.write_run(tmp_path / "a")
    lines = samples.read_lines(run)
    for line in lines:
        targets = {target["given"]: target for target in line["targets"]}
        if line["index"] == 25:
            targets[0] |= {"state": "lost", "score": 0.2}
            line["targets"].append(targets[0] | {"state": "tracking", "score": 0.8})
        if line["index"] == 40:
            missed = {"region": 0.0, "boundary": 0.0, "answered": False, "centre_error": None}
            truth = targets[0]["truth"] | missed
            line["targets"] = [targets[1]]
            entry = {"given": 0, "command": targets[0]["command"], "truth": truth}
            line["without_target"] = [entry]
    samples.write_lines(run / "frames.jsonl", lines)
    with OpenPage(browser, write_report(run)) as opened:
        for frame, expected in ((25, "tracking · 0.80"), (40, "searching · J 0.00 · missed")):
            opened.click_timeline(0, (frame + 0.5) / samples.RATE)
            opened.wait_for_position(frame)
            reading = opened.page.locator(".readings .found").first.text_content()
            assert reading.startswith(expected)
        assert opened.complaints == []


def test_a_phone_shows_the_readings_of_all_commands(browser: Any, tmp_path: Path) -> None:
    sentences = {str(number): f"the ball with the number {number}" for number in range(1, 9)}
    run = samples.write_run(tmp_path / "a", frames=25, sentences=sentences)
    with OpenPage(browser, write_report(run), **PHONE) as opened:
        page = opened.page
        cut = "(list) => list.scrollHeight - list.clientHeight"
        assert page.locator(".readings").evaluate(cut) == 0
        page.locator(".timeline").last.evaluate("plot => plot.scrollIntoView(false)")
        stage, last = (
            page.locator(name).bounding_box() for name in (".stage", ".timeline >> nth=-1")
        )
        assert stage["y"] >= 0 and stage["y"] + stage["height"] <= last["y"]


def test_a_run_of_one_good_frame_has_points_and_no_worst_moment(
    browser: Any, tmp_path: Path
) -> None:
    for truth in (True, False):
        run = samples.write_run(tmp_path / str(truth), frames=1, truth=truth)
        with OpenPage(browser, write_report(run)) as opened:
            assert "Worst moments" not in opened.page.text_content("main")
            assert "Best moments" in opened.page.text_content("main")
            assert opened.page.locator(".plot .scatterlayer .point").count() >= 2
            labels = opened.page.locator(".timeline .y2tick").all_text_contents()
            assert ("fails" in labels) == truth and "state" in labels


def test_a_run_without_commands_has_no_empty_tables(browser: Any, tmp_path: Path) -> None:
    run = samples.write_run(tmp_path / "a", frames=3, sentences={})
    with OpenPage(browser, write_report(run)) as opened:
        assert "No command was given" in opened.page.text_content("main")
        rows = opened.page.locator("table").evaluate_all(
            "tables => tables.map(table => table.tBodies[0].rows.length)"
        )
        assert rows and min(rows) > 0
        assert "Failures by kind" not in opened.page.text_content("main")
        assert opened.page.locator(".key").count() == 0
        assert opened.complaints == []
