# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`--model` of other published models, as users give it, on small random networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import peer_samples
from bag_samples import TRUTH_TOPIC, scene, write_bag
from miniature_benchmarks import make_mevis, make_scenes

from referdino_core.cli import main
from referdino_core.world import WorldRenderer


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    peer_samples.set_visibility(peer_samples.sam2_network(), 4.0)
    return peer_samples.save_folders(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("recording") / "drive", scene(4, with_truth=True))


def test_one_word_changes_the_engine_of_a_replay(
    bag: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["replay", str(bag), "--command", "the red ball", "--means", "the red ball=2"]
    arguments += ["--ground-truth", f"topic:{TRUTH_TOPIC}"]
    runs = []
    for model, checkpoint, change in (
        ("grounded-sam2", folders, "detect_images=5"),
        ("grounding-dino", folders / "detector", "box_threshold=0.3"),
    ):
        out = tmp_path / model
        runs.append(out)
        given = [*arguments, "--model", model, "--checkpoint", str(checkpoint), "--set", change]
        assert main([*given, "--select", "one", "--device", "cpu", "--out", str(out)]) == 0
        assert f"4 frames: 4 processed, 0 dropped, 0 failed ({model}" in capsys.readouterr().out
        summary = json.loads((out / "summary.json").read_text())
        name, _, value = change.partition("=")
        assert summary["settings"][name] == float(value)
        assert summary["model"]["name"] == model and (out / "report.html").is_file()
    page = tmp_path / "pair.html"
    assert main(["compare", *map(str, runs), "--out", str(page)]) == 0
    assert "A: grounded-sam2 (detector, tracker)" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "sam3"], "huggingface.co/facebook/sam3"),
        (["--model", "grounded-sam2", "--window", "4"], "takes no --window"),
        (["--model", "grounded-sam2", "--exports", "x"], "no --exports"),
        (["--model", "grounded-sam2", "--set", "accept=0.4"], "there is no 'accept'"),
        (["--model", "grounded-sam2", "--set", "hold=-1"], "hold is -1.0"),
        (["--model", "grounded-sam2", "--inference", "whole-clip"], "streams only"),
        (["--model", "grounded-sam2", "--runtime", "onnxruntime"], "PyTorch only"),
        (["--model", "grounded-sam2"], "referdino download grounding-dino-tiny"),
    ],
)
def test_what_does_not_apply_to_a_peer_is_refused_in_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path / "cache"))
    bag = write_bag(tmp_path / "drive", scene(2))
    given = ["replay", str(bag), "--command", "the red ball", "--out", str(tmp_path / "run")]
    assert main([*given, *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error


def test_a_benchmark_is_evaluated_in_the_stream(
    folders: Path, tmp_path: Path, renderer: WorldRenderer
) -> None:
    data = make_mevis(tmp_path / "data", make_scenes(renderer))
    given = ["evaluate", "mevis", "--data", str(data), "--out", str(tmp_path / "out")]
    given += ["--videos", "scene0", "--inference", "stream", "--device", "cpu"]
    assert main([*given, "--model", "grounded-sam2", "--checkpoint", str(folders)]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["model"]["name"] == "grounded-sam2"
    (found,) = summary["inference"].values()
    assert found["complete"] and 0 <= found["scores"]["region_and_boundary"] <= 1
    # The expressions of this benchmark may mean several objects.
    assert found["settings"]["select"] == "all"


def test_evaluate_wants_the_stream_and_other_commands_refuse_a_peer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["evaluate", "mevis", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*given, "--model", "grounded-sam2"]) == 1
    assert "give --inference stream" in capsys.readouterr().err
    given = ["segment", str(tmp_path / "clip.mp4"), "the red ball", "--model", "sam3"]
    assert main(given) == 1
    assert capsys.readouterr().err.startswith("referdino: error:")


def test_info_tells_how_to_get_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", "grounded-sam2"]) == 0
    out = capsys.readouterr().out
    assert "referdino download grounding-dino-tiny sam2.1-hiera-tiny" in out
    assert "facebook/sam3" in out


def test_the_downloads_of_peers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "--list"]) == 0
    out = capsys.readouterr().out
    for name in ("grounding-dino-base", "sam2.1-hiera-small", "edgetam"):
        assert name in out
