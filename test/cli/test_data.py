# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino data check` on miniature data sets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from miniature_benchmarks import Scene, make_scenes
from miniature_training_sets import changed_clips, make_own_clips, training_split

from referdino_core.cli import main
from referdino_core.training.data_check import SamplePicture, drawn
from referdino_core.world import WorldRenderer


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, scenes: list[Scene]) -> Path:
    return make_own_clips(tmp_path_factory.mktemp("own") / "clips", scenes)


def test_good_clips_are_counted_and_drawn(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    assert main(["data", "check", str(clips), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "2 clips, 4 sentences, 4 objects, 6 annotated frames can be used.",
        "no problems.",
    ]
    assert lines[-1] == str(out / "index.html")
    page = (out / "index.html").read_text()
    pictures = sorted(out.glob("*.jpg"))
    assert len(pictures) == page.count("<img") == 4
    assert cv2.imread(str(pictures[0])).shape == (120, 160, 3)


def test_every_fault_is_named_with_its_file(
    tmp_path: Path,
    clips: Path,
    scenes: list[Scene],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ghost = {"text": "the violet carafe that vanished", "objects": [2]}
    first = next(iter(json.loads((clips / "clips.json").read_text())["clips"].values()))
    masks = {"1": first["masks"]["1"], "2": dict.fromkeys(first["masks"]["1"])}
    masks["1"]["2"] = {"size": [120, 160], "counts": [7]}
    folder = changed_clips(
        clips, tmp_path / "clips", masks=masks, sentences=[*first["sentences"][:1], ghost]
    )
    (folder / "scene1" / "image4.png").write_bytes(b"no image")
    small = cv2.imread(str(folder / "scene1" / "image0.png"))[:60, :80]
    cv2.imwrite(str(folder / "scene1" / "image2.png"), small)
    described = json.loads((folder / "clips.json").read_text())
    described["clips"]["gone"] = {**first, "source": "gone.mp4"}
    (folder / "clips.json").write_text(json.dumps(described))
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "2 clips, 4 sentences, 4 objects, 3 annotated frames can be used." in out
    assert "5 problems:" in out
    for line in (
        "the mask of object 1 in frame 2: its run lengths do not cover 120x160",
        "no annotated frame shows what 'the violet carafe that vanished' means (objects 2)",
        "image4.png cannot be read",
        "frame 00002 has another size than the first",
        "gone.mp4 does not exist; correct its source",
    ):
        assert line in out, line
    assert "nano does not know" in out and "carafe (1)" in out and "vanished (1)" in out
    assert "--set words=carafe," in out
    assert (tmp_path / "clips_check" / "index.html").exists()


@pytest.mark.parametrize("name", ["ref-youtube-vos", "mevis", "refcoco", "a2d-sentences"])
def test_published_data_sets_are_checked_too(
    tmp_path: Path, scenes: list[Scene], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "a2d-sentences":
        pytest.importorskip("h5py")
    folder = training_split(tmp_path / "data", name, scenes)
    out = tmp_path / "out"
    status = main(["data", "check", str(folder), "--set", name, "--out", str(out)])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert "no problems" in printed and list(out.glob("*.jpg"))


def test_a_sentence_that_means_two_things_is_named(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [{"text": "the ball", "objects": [1]}, {"text": "The  ball", "objects": [2]}]
    folder = changed_clips(clips, tmp_path / "clips", sentences=twice)
    assert main(["data", "check", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "'The  ball' means objects 1, and also 2" in capsys.readouterr().out


def test_a_folder_without_a_description_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "clips.json does not exist" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("command", ["data check", "train"])
def test_help_has_examples_and_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    output = capsys.readouterr().out
    assert f"\n  referdino {command}" in output
    assert max(map(len, output.splitlines())) <= 100


def test_masks_are_tinted_and_outlined() -> None:
    image, mask = np.full((40, 40, 3), 100, np.uint8), np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    found = drawn(SamplePicture("clip", "it", image, mask))
    assert (found[mask] != image[mask]).any(axis=1).all()
    assert (found[10, 15] == 255).all() and (found[~mask] == 100).all()
    assert (image == 100).all()
