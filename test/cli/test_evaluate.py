# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino evaluate` with the bundled model on miniature benchmarks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from miniature_benchmarks import (
    Scene,
    make_a2d_sentences,
    make_jhmdb_sentences,
    make_mevis,
    make_ref_davis17,
    make_ref_youtube_vos,
    make_scenes,
)

from referdino_core.cli import main
from referdino_core.world import WorldRenderer


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


def evaluate(name: str, root: Path, out: Path, *options: str) -> dict[str, Any]:
    assert main(["evaluate", name, "--data", str(root), "--out", str(out), *options]) == 0
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


class TestResults:
    @pytest.mark.parametrize(
        ("name", "make", "measure"),
        [
            ("ref-davis17", make_ref_davis17, "region_and_boundary"),
            ("mevis", make_mevis, "region_and_boundary"),
            ("a2d-sentences", make_a2d_sentences, "mean_iou"),
            ("jhmdb-sentences", make_jhmdb_sentences, "mean_iou"),
        ],
    )
    def test_both_ways_of_inference_are_scored_side_by_side(
        self,
        tmp_path: Path,
        scenes: list[Scene],
        capfd: pytest.CaptureFixture[str],
        name: str,
        make: Callable[[Path, list[Scene]], Path],
        measure: str,
    ) -> None:
        if name == "a2d-sentences":
            pytest.importorskip("h5py")
        root = make(tmp_path / "data", scenes)
        options = ["--inference", "both", "--videos", "scene0"]
        summary = evaluate(name, root, tmp_path / "out", *options)
        assert summary["benchmark"] == name
        assert summary["model"]["name"] == "nano" and len(summary["model"]["sha256"]) == 64
        assert list(summary["inference"]) == ["whole-clip", "stream"]
        for run in summary["inference"].values():
            assert run["complete"] and run["problems"] == [] and run["frames_unread"] == 0
            assert 0.2 < run["scores"][measure] <= 1
        printed = capfd.readouterr().out
        assert "| whole-clip | stream | price of causality |" in printed
        assert str(tmp_path / "out" / "summary.json") in printed

    def test_the_server_gets_its_zip_and_no_scores_are_made_up(
        self, tmp_path: Path, scenes: list[Scene], capfd: pytest.CaptureFixture[str]
    ) -> None:
        root = make_ref_youtube_vos(tmp_path / "data", scenes)
        summary = evaluate("ref-youtube-vos", root, tmp_path / "out", "--videos", "1")
        assert summary["videos"] == ["scene0"]
        assert summary["inference"]["whole-clip"]["scores"] is None
        archive = tmp_path / "out/whole-clip/submission.zip"
        assert str(archive) in capfd.readouterr().out
        with zipfile.ZipFile(archive) as file:
            assert len(file.namelist()) == 10
            assert all(name.startswith("Annotations/scene0/") for name in file.namelist())

    def test_a_second_run_takes_up_the_first(self, tmp_path: Path, scenes: list[Scene]) -> None:
        root = make_mevis(tmp_path / "data", scenes)
        options = ["--inference", "stream", "--videos"]
        evaluate("mevis", root, tmp_path / "out", *options, "1")
        records = tmp_path / "out/stream/records"
        before = {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
        assert len(before) == 3
        summary = evaluate("mevis", root, tmp_path / "out", *options, "2")
        after = {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
        assert len(after) == 6 and before.items() <= after.items()
        assert summary["inference"]["stream"]["clips"] == 2
        evaluate("mevis", root, tmp_path / "out", *options, "1", "--window", "3")
        changed = [path for path in before if path.stat().st_mtime_ns != before[path]]
        assert len(changed) == 3

    def test_problems_are_printed_and_listed(
        self, tmp_path: Path, scenes: list[Scene], capfd: pytest.CaptureFixture[str]
    ) -> None:
        root = make_ref_davis17(tmp_path / "data", scenes)
        (root / "valid/JPEGImages/scene0/00010.jpg").unlink()
        options = ["--inference", "stream", "--videos", "scene0"]
        run = evaluate("ref-davis17", root, tmp_path / "out", *options)["inference"]["stream"]
        assert run["frames_unread"] == 1
        (problem,) = run["problems"]
        assert "scene0, frame 00010 is skipped" in problem
        assert f"- {problem}" in capfd.readouterr().out


class TestInterruption:
    def test_ctrl_c_keeps_what_was_done(self, tmp_path: Path, scenes: list[Scene]) -> None:
        many = [
            Scene(f"scene{k}", scenes[0].frames, scenes[0].labels, scenes[0].sentences)
            for k in range(60)
        ]
        root = make_mevis(tmp_path / "data", many)
        arguments = ["evaluate", "mevis", "--data", str(root), "--out", str(tmp_path / "out")]
        process = subprocess.Popen(
            [sys.executable, "-m", "referdino_core.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 240
        while not list((tmp_path / "out").rglob("records/*/*.json")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert "resumes from here" in err
        run = json.loads((tmp_path / "out/summary.json").read_text())["inference"]["whole-clip"]
        assert run["complete"] is False
        assert 0 < run["expressions"] < 180
        assert f"| expressions processed | {run['expressions']} |" in out
        assert not list((tmp_path / "out").rglob("*.partial*"))


class TestBadInput:
    @staticmethod
    def refused(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
        assert main(["evaluate", *arguments]) == 1
        captured = capfd.readouterr().err
        assert "Traceback" not in captured
        (error,) = [line for line in captured.splitlines() if "error" in line]
        return error

    def test_data_that_are_not_there(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["mevis", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
        assert "meta_expressions.json does not exist" in self.refused(arguments, capfd)
        assert not (tmp_path / "out").exists()

    def test_a_video_that_is_not_there(
        self, tmp_path: Path, scenes: list[Scene], capfd: pytest.CaptureFixture[str]
    ) -> None:
        root = make_mevis(tmp_path / "data", scenes)
        arguments = ["mevis", "--data", str(root), "--out", str(tmp_path / "out")]
        arguments += ["--videos", "scene0", "scene7"]
        assert "has no video scene7" in self.refused(arguments, capfd)

    def test_nothing_that_can_be_predicted(
        self, tmp_path: Path, scenes: list[Scene], capfd: pytest.CaptureFixture[str]
    ) -> None:
        root = make_mevis(tmp_path / "data", scenes[:1])
        for path in (root / "valid_u/JPEGImages/scene0").iterdir():
            path.write_bytes(b"no JPEG")
        arguments = ["mevis", "--data", str(root), "--out", str(tmp_path / "out")]
        assert "Nothing could be predicted" in self.refused(arguments, capfd)
        summary = json.loads((tmp_path / "out/summary.json").read_text())
        assert len(summary["inference"]["whole-clip"]["problems"]) == 6

    @pytest.mark.parametrize(
        "arguments", [[], ["mevis"], ["imagenet", "--data", "a", "--out", "b"]]
    )
    def test_a_wrong_command_line_is_status_2(
        self, capfd: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", *arguments])
        assert caught.value.code == 2
        assert "usage: referdino evaluate" in capfd.readouterr().err
