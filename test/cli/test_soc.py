# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC from the command line, with a small random network: evaluate, replay, compare, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_program import FRAME_COUNT, write_video
from miniature_benchmarks import (
    Scene,
    make_a2d_sentences,
    make_jhmdb_sentences,
    make_ref_davis17,
    make_ref_youtube_vos,
    make_scenes,
)
from soc_samples import install_small_soc

from referdino_core.cli import main
from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS
from referdino_core.peers.soc.reading import FrameSize
from referdino_core.world import WorldRenderer

pytest.importorskip("transformers", reason="SOC's text encoder is that of transformers")


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


@pytest.fixture
def soc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that choose SOC."""
    checkpoint = install_small_soc(tmp_path, monkeypatch)
    return ["--model", "soc_swint", "--checkpoint", str(checkpoint)]


class TestEvaluate:
    @pytest.mark.parametrize(
        ("name", "make"),
        [
            ("ref-youtube-vos", make_ref_youtube_vos),
            ("ref-davis17", make_ref_davis17),
            ("a2d-sentences", make_a2d_sentences),
            ("jhmdb-sentences", make_jhmdb_sentences),
        ],
    )
    def test_its_published_benchmarks_are_evaluated(
        self,
        tmp_path: Path,
        scenes: list[Scene],
        soc: list[str],
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        make: Callable[[Path, list[Scene]], Path],
    ) -> None:
        if name == "a2d-sentences":
            pytest.importorskip("h5py")
        entry = BENCHMARKS[name]
        small_frames = replace(entry, soc=replace(entry.soc, frame_size=FrameSize(96, 160)))
        monkeypatch.setitem(BENCHMARKS, name, small_frames)
        root, out = make(tmp_path / "data", scenes), tmp_path / "out"
        given = ["--data", str(root), "--out", str(out), "--videos", "scene0", *soc]
        assert main(["evaluate", name, *given]) == 0
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        assert summary["model"]["name"] == "soc_swint" and len(summary["model"]["sha256"]) == 64
        (run,) = summary["inference"].values()
        assert run["complete"] and run["problems"] == [] and run["frames_unread"] == 0
        if name == "ref-youtube-vos":
            assert (out / "whole-clip" / "submission.zip").is_file()
        else:
            assert run["scores"] is not None

    def test_what_it_cannot_do_is_refused_in_one_line(
        self, tmp_path: Path, scenes: list[Scene], soc: list[str], capfd: pytest.CaptureFixture[str]
    ) -> None:
        root = make_ref_davis17(tmp_path / "data", scenes)
        given = ["--data", str(root), "--out", str(tmp_path / "out"), *soc]
        for arguments, reason in (
            (["mevis", *given], "no published protocol for mevis"),
            (["ref-davis17", *given, "--inference", "both"], "is not causal"),
            (["ref-davis17", *given, "--precision", "bf16"], "fp32 only"),
            (["ref-davis17", *given, "--select", "all"], "selects one object"),
            (["ref-davis17", *given, "--window", "4"], "leave --exports, --window"),
            (["ref-davis17", *given, "--exports", "x"], "has no exports"),
            (["ref-davis17", *given, "--single-frame"], "--single-frame out"),
            (["refcoco", *given], "no published protocol for refcoco"),
        ):
            assert main(["evaluate", *arguments]) != 0
            assert reason in capfd.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_weights_and_vocabulary_that_are_missing_are_named(
        self, tmp_path: Path, scenes: list[Scene], soc: list[str], capfd: pytest.CaptureFixture[str]
    ) -> None:
        root = make_ref_davis17(tmp_path / "data", scenes)
        given = ["ref-davis17", "--data", str(root), "--out", str(tmp_path / "out")]
        assert main(["evaluate", *given, "--model", "soc_swinb"]) != 0
        assert "give the file with --checkpoint" in capfd.readouterr().err
        (tmp_path / "cache" / "roberta-base" / "merges.txt").unlink()
        assert main(["evaluate", *given, *soc]) != 0
        assert "referdino download roberta" in capfd.readouterr().err


class TestReplay:
    def test_a_recording_is_replayed_at_once_and_compared_with_ours(
        self, tmp_path: Path, soc: list[str], capfd: pytest.CaptureFixture[str]
    ) -> None:
        video, runs = write_video(tmp_path / "ball.mp4"), tmp_path / "runs"
        whole = ["--inference", "whole-clip", "--no-report", "--command", "the red ball"]
        replay = ["replay", str(video), *whole]
        assert main([*replay, *soc, "--out", str(runs / "soc")]) == 0
        printed = capfd.readouterr()
        assert f"over {FRAME_COUNT} frames needs about" in printed.err
        assert main([*replay, "--out", str(runs / "nano")]) == 0
        summaries = [
            json.loads((runs / name / "summary.json").read_text()) for name in ("soc", "nano")
        ]
        for summary in summaries:
            assert summary["inference"] == "whole-clip" and summary["problems"] == []
            assert summary["frames"]["answered"] == FRAME_COUNT
        assert [summary["model"]["name"] for summary in summaries] == ["soc_swint", "nano"]
        page = tmp_path / "comparison.html"
        pytest.importorskip("plotly")
        assert main(["compare", str(runs / "soc"), str(runs / "nano"), "--out", str(page)]) == 0
        assert "soc_swint" in page.read_text(encoding="utf-8")

    def test_two_runs_are_equal_and_many_recordings_share_the_model(
        self, tmp_path: Path, soc: list[str]
    ) -> None:
        folder = tmp_path / "recordings"
        folder.mkdir()
        for name in ("one", "two"):
            write_video(folder / f"{name}.mp4", frame_count=3)
        whole = ["--inference", "whole-clip", "--no-report", "--command", "the red ball", *soc]
        assert main(["replay", str(folder), *whole, "--out", str(tmp_path / "runs")]) == 0
        lines = [
            (tmp_path / "runs" / name / "frames.jsonl").read_bytes() for name in ("one", "two")
        ]
        assert lines[0] == lines[1] and len(lines[0].splitlines()) == 3
        summary: dict[str, Any] = json.loads((tmp_path / "runs" / "summary.json").read_text())
        assert summary["done"] == 2 and summary["inference"] == "whole-clip"

    def test_what_needs_a_stream_is_refused(
        self, tmp_path: Path, soc: list[str], capfd: pytest.CaptureFixture[str]
    ) -> None:
        video = write_video(tmp_path / "ball.mp4", frame_count=3)
        commands = tmp_path / "commands.yaml"
        commands.write_text('[{at: 0, text: "the red ball"}, {at: 0.2, text: "the blue box"}]')
        whole = ["replay", str(video), "--inference", "whole-clip", *soc]
        for arguments, reason in (
            ([*whole, "--command", "a ball", "--realtime-on", "40ms"], "not causal"),
            ([*whole, "--commands", str(commands)], "active from the first frame"),
            ([*whole, "--command", "a ball", "--exports", "x"], "has no exports"),
            ([*whole, "--command", "a ball", "--set", "accept=0.9"], "no thresholds"),
            (["replay", str(video), "--command", "a ball", *soc], "not causal"),
            (["segment", str(video), "a ball", *soc], "not causal"),
            (["segment", str(video), "a ball", "--checkpoint", soc[-1]], "not causal"),
            (["export", "--size", "64x96", *soc], "not causal"),
        ):
            assert main([*arguments, "--out", str(tmp_path / "run")]) != 0
            assert reason in capfd.readouterr().err

    def test_a_recording_that_does_not_fit_into_memory_is_refused(
        self,
        tmp_path: Path,
        soc: list[str],
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("referdino_core.replay.whole_clip.free_memory", lambda device: 1e8)
        video = write_video(tmp_path / "ball.mp4")
        arguments = ["--command", "a ball", "--inference", "whole-clip", *soc]
        assert main(["replay", str(video), *arguments, "--out", str(tmp_path / "run")]) != 0
        assert "0.1 GB are free: give a shorter recording" in capfd.readouterr().err


def test_info_tells_its_parts_and_whether_weights_fit(
    soc: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", *soc]) == 0
    printed = capfd.readouterr().out
    assert "fits soc_swint" in printed and "text encoder" in printed and "mask head" in printed
