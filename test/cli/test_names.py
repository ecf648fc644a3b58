# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sources of any name through `segment` and `replay`; none loses another's results."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cli_program import error_line, scene, write_video
from full_disk import files_of_at_most

from referdino_core.cli import main
from referdino_core.media import video_encoder
from referdino_core.media.frame_records import read_head
from referdino_core.replay.run_folder import RunFolder
from referdino_core.report import write_report

BALL = "the red ball"


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return write_video(tmp_path / "clip.mp4", 3)


def folders() -> list[str]:
    return sorted(os.listdir("."))


def sources_by_folder() -> dict[str, str]:
    found = {}
    for folder in folders():
        head = read_head(Path(folder) / "frames.json")
        if head is not None:
            found[folder] = Path(head["source"]["description"]).name
    return found


def test_sources_whose_names_differ_in_dots_or_suffix_keep_their_results(clip: Path) -> None:
    names = ["speed_0.5.mp4", "speed_0.8.mp4", "speed_0.8.mkv", "12:30:00.mp4"]
    for name in names:
        shutil.copy(clip, clip.with_name(name))
    for name in (*names, names[0]):  # the first one again, into the same folder
        assert main(["segment", str(clip.with_name(name)), BALL, "--frames", "1"]) == 0
    assert sources_by_folder() == {
        "12:30:00_referdino": "12:30:00.mp4",
        "speed_0.5_referdino": "speed_0.5.mp4",
        "speed_0.8_referdino": "speed_0.8.mp4",
        "speed_0.8.mkv_referdino": "speed_0.8.mkv",
    }


def test_links_have_results_of_their_own_names(clip: Path) -> None:
    for name in ("monday.mp4", "tuesday"):
        clip.with_name(name).symlink_to(clip)
        assert main(["segment", str(clip.with_name(name)), BALL, "--frames", "1"]) == 0
    assert folders() == ["monday_referdino", "tuesday_referdino"]


def test_a_link_that_leads_to_itself_is_reported(
    clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip.with_name("loop.mp4").symlink_to(clip.with_name("loop.mp4"))
    for command in (["segment"], ["replay", "--no-report", "--command"]):
        words = [*command, BALL] if command[0] == "replay" else command
        arguments = [words[0], str(clip.with_name("loop.mp4")), *(words[1:] or [BALL])]
        assert main(arguments) == 1
        assert "loop.mp4 does not exist" in error_line(capfd.readouterr().err)


@pytest.mark.parametrize("name", [b"caf\xe9", b"a:b", b"a\nb"])
def test_any_bytes_are_a_name_for_sources_and_results(name: bytes, clip: Path) -> None:
    source = str(clip.with_name(os.fsdecode(name + b".mp4")))
    shutil.copy(clip, source)
    out = os.fsdecode(b"out " + name)
    assert main(["segment", source, BALL, "--frames", "1", "--out", out]) == 0
    document = json.loads(Path(out, "frames.json").read_text(encoding="utf-8"))
    assert document["source"]["description"] == source
    assert main(["segment", source, BALL, "--frames", "1"]) == 0
    assert main(["segment", source, BALL, "--frames", "1"]) == 0
    assert len(folders()) == 2


def test_a_run_may_have_any_name_up_to_its_page(clip: Path) -> None:
    source, out = clip.with_name(os.fsdecode(b"caf\xe9.mp4")), Path(os.fsdecode(b"r\xe9:1"))
    shutil.copy(clip, source)
    assert main(["replay", str(source), "--command", BALL, "--out", str(out)]) == 0
    assert RunFolder(out).summary["source"]["path"] == str(source)
    page = write_report(out).read_text(encoding="utf-8")
    assert r"caf\xe9.mp4" in page
    assert "video/webm" in page


def test_runs_are_named_like_their_sources_without_loss(clip: Path) -> None:
    for name in ("v0.1.mp4", "v0.2.mp4", "v0.2.avi"):
        shutil.copy(clip, clip.with_name(name))
        source = str(clip.with_name(name))
        assert main(["replay", source, "--command", BALL, "--no-report"]) == 0
    assert folders() == ["v0.1_replay", "v0.2.avi_replay", "v0.2_replay"]


def test_one_bad_name_does_not_stop_a_batch(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    many = clip.with_name("many")
    many.mkdir()
    for name in (b"good.mp4", b"good.mkv", b"caf\xe9.mp4", b"._good.mp4"):
        shutil.copy(clip, many / os.fsdecode(name))
    (many / "lost+found").mkdir()
    (many / "broken.mp4").write_bytes(b"no video")
    arguments = ["replay", str(many), "--command", BALL, "--out", "runs", "--no-report"]
    assert main(arguments) == 1
    assert "broken.mp4" in capfd.readouterr().out
    summary = json.loads(Path("runs/summary.json").read_text(encoding="utf-8"))
    assert [run["name"] for run in summary["runs"]] == [
        "broken", "caf%E9", "good.mkv", "good.mp4",
    ]  # fmt: skip
    assert [run["name"] for run in summary["failed"]] == ["broken"]
    sources = [os.fsencode(run["source"]) for run in summary["runs"]]
    assert sources[1].endswith(b"/caf\xe9.mp4")
    assert (main(arguments), main(arguments)) == (1, 1)  # what is done is recognised


def test_results_do_not_replace_their_source(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", str(clip), BALL, "--out", "o"]) == 0
    before = Path("o/overlay.mp4").read_bytes()
    capfd.readouterr()
    assert main(["segment", "o/overlay.mp4", BALL, "--out", "o"]) == 1
    assert "would be replaced by the results" in error_line(capfd.readouterr().err)
    assert Path("o/overlay.mp4").read_bytes() == before


def test_a_full_disk_leaves_neither_file(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", str(clip), BALL, "--out", "whole"]) == 0
    size = Path("whole/overlay.mp4").stat().st_size
    for limit in (size - 10, size // 2):
        capfd.readouterr()
        with files_of_at_most(limit):
            assert main(["segment", str(clip), BALL, "--out", "o"]) == 1
        assert "overlay.mp4 cannot be written: File too large" in error_line(capfd.readouterr().err)
        assert os.listdir("o") == []


def test_results_are_kept_where_no_encoder_takes_the_overlay(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(video_encoder, "_is_there", lambda name: False)
    assert main(["segment", str(clip), BALL, "--out", "o"]) == 0
    captured = capfd.readouterr()
    assert captured.err.count("cannot be written as a video") == 1
    assert "overlay.mp4" not in captured.out
    assert os.listdir("o") == ["frames.json"]

    assert main(["replay", str(clip), "--command", BALL, "--out", "r"]) == 0
    run = RunFolder("r")
    assert run.summary["overlay"] is None
    assert [one.count("cannot be written as a video") for one in run.summary["problems"]] == [1]
    assert "The run has no overlay video." in (run.path / "report.html").read_text()


def test_an_image_beside_what_systems_leave(clip: Path, tmp_path: Path) -> None:
    import cv2

    images = tmp_path / "images"
    images.mkdir()
    for index in range(2):
        cv2.imwrite(str(images / f"{index}.png"), scene(index))
        (images / f"._{index}.png").write_bytes(b"\0\5\26\7")
    (images / "Thumbs.db").write_bytes(b"")
    assert main(["segment", str(images), BALL]) == 0
    document = json.loads(Path("images_referdino/frames.json").read_text())
    assert [frame["index"] for frame in document["frames"]] == [0, 1]
