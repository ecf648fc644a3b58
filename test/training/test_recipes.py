# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Every recipe takes two steps on miniature data in the original formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from miniature_benchmarks import Scene, make_scenes
from miniature_training_sets import training_split

import referdino_core as rd
from referdino_core.checkpoint import read_tensors
from referdino_core.cli import main
from referdino_core.download import ASSETS
from referdino_core.training.video_recipes import RECIPES
from referdino_core.world import WorldRenderer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SMALL = ["model=nano", "scales=0.4", "validation_clips=2", "hold_back=3", "clips_per_step=1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, renderer: WorldRenderer) -> Path:
    """A folder with every data set: `NAME/`, and those of COCO together in `refcoco/`."""
    root = tmp_path_factory.mktemp("data")
    scenes: list[Scene] = make_scenes(renderer, 3)
    names = {one.name for recipe in RECIPES.values() for one in recipe.data_sets}
    for name in sorted(names):
        if name == "a2d-sentences":
            pytest.importorskip("h5py")
        training_split(root / ("refcoco" if name.startswith("refcoco") else name), name, scenes)
    return root


def arguments(recipe: str, data: Path, out: Path, *options: str) -> list[str]:
    names = [one.name for one in RECIPES[recipe].data_sets]
    folders = [f"{n}={data / ('refcoco' if n.startswith('refcoco') else n)}" for n in names]
    given = ["train", "--recipe", recipe, "--data", *folders, "--out", str(out)]
    quick = ["--weights", "random", "--workers", "0", "--device", "cpu"]
    return [*given, *quick, *options]


def curve(out: Path) -> list[dict[str, float]]:
    """Losses of every step, without the time that it took."""
    lines = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_two_steps_of_every_recipe(tmp_path: Path, data: Path, recipe: str) -> None:
    out = tmp_path / "run"
    assert main(arguments(recipe, data, out, "--steps", "2", "--set", *SMALL)) == 0
    lines = curve(out)
    assert [line["step"] for line in lines] == [1, 2] and all(line["total"] > 0 for line in lines)
    assert (out / "state.pt").exists()


def test_recipes_start_from_weights_that_can_be_got() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.start in (*ASSETS, "nano"), name


def test_sets_that_are_trained_on_together_go_on_to_the_same_losses(
    tmp_path: Path, data: Path
) -> None:
    settings = ["--set", *SMALL, "sets=ref-youtube-vos,refcoco:0.5", "epochs=1"]
    given = [f"ref-youtube-vos={data / 'ref-youtube-vos'}", f"refcoco={data / 'refcoco'}"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    def command(out: Path, *options: str) -> list[str]:
        start = ["train", "--recipe", "ytvos_swint", "--data", *given, "--out", str(out)]
        quick = ["--weights", "random", "--workers", "0", "--device", "cpu"]
        return [*start, *quick, *options, *settings]

    assert main(command(whole)) == 0
    assert len(curve(whole)) == 4 + 4
    assert main(command(stopped, "--steps", "3")) == 0
    assert main([*command(stopped)[: -len(settings)], "--workers", "2", *settings]) == 0
    assert curve(stopped) == curve(whole)


def test_own_clips_fine_tune_the_bundled_weights(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "run"
    given = ["train", "--recipe", "own_nano", "--data", str(data / "own-clips"), "--out", str(out)]
    settings = ["--workers", "0", "--device", "cpu", "--set", *SMALL, "epochs=1"]
    assert main([*given, *settings]) == 0
    assert list((out / "validation" / "epoch_001").glob("*.jpg"))
    assert not any("lora" in name for name in read_tensors(out / "best.safetensors"))
    rd.load_checkpoint(rd.build("nano"), out / "best.safetensors")


def test_a_missing_folder_of_one_set_is_one_line(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", f"ref-youtube-vos={data / 'ref-youtube-vos'}", "--out", str(tmp_path)]
    assert main(["train", "--recipe", "joint_swint", *given, "--weights", "random"]) == 1
    assert "needs refcoco; give its folder: --data refcoco=DIR" in capsys.readouterr().err
