# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino train` on miniature data sets in their original formats."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from miniature_benchmarks import make_a2d_sentences, make_ref_youtube_vos, make_scenes

import referdino_core as rd
from referdino_core.checkpoint import read_tensors
from referdino_core.cli import main
from referdino_core.world import WorldRenderer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SINGLE = ["model=nano", "scales=0.4,0.5", "validation_clips=2", "epochs=1"]
SMALL = [*SINGLE, "clip_frames=3"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ytvos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos with two sentences each, one of them held back for validation."""
    root = tmp_path_factory.mktemp("data")
    with WorldRenderer() as renderer:
        data = make_ref_youtube_vos(root / "rvos", make_scenes(renderer, 3), annotated=True)
    for folder in ("", "meta_expressions"):
        (data / folder / "valid").rename(data / folder / "train")
    described = data / "meta_expressions" / "train" / "meta_expressions.json"
    content = json.loads(described.read_text())
    del content["videos"]["tested"]
    described.write_text(json.dumps(content))
    return data


def command(data: Path, out: Path, *options: str) -> list[str]:
    recipe = ["train", "--recipe", "ytvos_swint", "--data", str(data), "--out", str(out)]
    return [*recipe, "--workers", "0", "--device", "cpu", "--weights", "random", *options]


def curve(out: Path) -> list[dict[str, float]]:
    """Losses of every step, without the time."""
    lines = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name != "seconds"} for line in lines]


def in_process_of_its_own(arguments: list[str], *launcher: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    python = [sys.executable, *launcher, "-m", "referdino_core.cli", *arguments]
    return subprocess.Popen(python, env=environment, stderr=subprocess.PIPE)


def test_an_epoch_leaves_weights_that_load_a_curve_and_pictures(
    tmp_path: Path, ytvos: Path
) -> None:
    out = tmp_path / "run"
    assert main(command(ytvos, out, "--set", *SMALL, "averaging=0.9")) == 0
    lines = curve(out)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["total"] > 0 for line in lines)
    assert list((out / "validation" / "epoch_001").glob("*.jpg"))
    merged = read_tensors(out / "last.pth")
    assert not any("lora" in name for name in merged)
    for name in ("last.pth", "best.safetensors"):
        model = rd.build("nano")
        rd.load_checkpoint(model, out / name)
    alone = read_tensors(out / "last_lora.safetensors")
    assert alone and all(name.endswith((".lora_A", ".lora_B")) for name in alone)


def test_learning_lowers_the_loss(tmp_path: Path, ytvos: Path) -> None:
    out = tmp_path / "run"
    settings = [*SMALL, "epochs=6", "learning_rate=1e-3", "flip=0", "crop=0", "distortion=0"]
    assert main(command(ytvos, out, "--set", *settings)) == 0
    totals = [line["total"] for line in curve(out)]
    assert sum(totals[-4:]) < 0.8 * sum(totals[:4])


def test_a_killed_run_goes_on_to_the_same_losses(tmp_path: Path, ytvos: Path) -> None:
    # Steps that take long enough to be killed in.
    settings = ["--set", *SMALL, "scales=0.8,1", "clip_frames=6", "save_every=2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(command(ytvos, whole, *settings)) == 0
    process = in_process_of_its_own(command(ytvos, killed, *settings))
    deadline = time.monotonic() + 200
    while not (killed / "curve.jsonl").exists() or len(curve(killed)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "last.pth").exists()
    assert in_process_of_its_own(command(ytvos, killed, *settings)).wait(200) == 0
    assert curve(killed) == curve(whole)
    found, expected = (torch.load(out / "last.pth") for out in (killed, whole))
    for name, tensor in expected["model_state_dict"].items():
        assert torch.equal(found["model_state_dict"][name], tensor), name


def test_a_run_is_saved_where_no_gradients_are_being_accumulated(
    tmp_path: Path, ytvos: Path
) -> None:
    out = tmp_path / "run"
    settings = ["--set", *SMALL, "accumulation=2", "save_every=1"]
    assert main(command(ytvos, out, "--steps", "1", *settings)) == 0
    assert torch.load(out / "state.pt", weights_only=True)["step"] == len(curve(out)) == 2
    assert main(command(ytvos, out, *settings)) == 0
    whole = tmp_path / "whole"
    assert main(command(ytvos, whole, *settings)) == 0
    assert curve(out) == curve(whole)


def test_two_processes_share_a_run(tmp_path: Path, ytvos: Path) -> None:
    out = tmp_path / "run"
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")
    process = in_process_of_its_own(command(ytvos, out, "--set", *SMALL), *launcher)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors.decode()[-2000:]
    assert [line["step"] for line in curve(out)] == [1, 2]
    rd.load_checkpoint(rd.build("nano"), out / "last.pth")


def test_single_frames_train_without_a_temporal_decoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("h5py")
    with WorldRenderer() as renderer:
        data = make_a2d_sentences(tmp_path / "data", make_scenes(renderer, 2))
    listed = data / "Release" / "videoset.csv"
    rows = [row.split(",") for row in listed.read_text().splitlines()]
    listed.write_text("\n".join(",".join([*row[:8], "0", *row[9:]]) for row in rows) + "\n")
    out = tmp_path / "run"
    arguments = ["train", "--recipe", "a2d_swinb", "--data", str(data), "--out", str(out)]
    quick = ["--weights", "random", "--workers", "0", "--device", "cpu"]
    assert main([*arguments, *quick, "--set", *SINGLE]) == 0
    assert not any(name.startswith("temporal_decoder") for name in read_tensors(out / "last.pth"))


def test_swin_t_of_the_recipe_takes_a_step(tmp_path: Path, ytvos: Path) -> None:
    pytest.importorskip("tokenizers")
    out = tmp_path / "run"
    if not any((Path.home() / ".cache").glob("**/bert-base-uncased/vocab.txt")):
        pytest.skip("the vocabulary of BERT is not downloaded: referdino download bert")
    assert main(command(ytvos, out, "--steps", "1", "--set", "scales=0.2")) == 0
    assert len(curve(out)) == 1


def test_bundled_weights_are_fine_tuned_from_where_they_are(tmp_path: Path, ytvos: Path) -> None:
    fresh, tuned = tmp_path / "fresh", tmp_path / "tuned"
    quiet = ["--steps", "1", "--set", *SMALL, "scales=1", "flip=0", "crop=0", "distortion=0"]
    assert main(command(ytvos, fresh, *quiet)) == 0
    assert main(command(ytvos, tuned, "--weights", "nano", *quiet)) == 0
    assert curve(tuned)[0]["dice"] < 0.5 * curve(fresh)[0]["dice"]


def test_weights_to_start_from_that_are_missing_are_one_line(
    tmp_path: Path, ytvos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = {"mevis_swint": "groundingdino_swint_ogc", "ytvos_swint": "coco_swint"}
    for recipe, start in starts.items():
        arguments = ["train", "--recipe", recipe, "--data", str(ytvos), "--out", str(tmp_path)]
        assert main([*arguments, "--set", "model=nano"]) == 1
        assert f"run: referdino download {start}" in capsys.readouterr().err


def test_a_changed_recipe_is_told_and_refused_unless_accepted(
    tmp_path: Path, ytvos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(ytvos, out, "--steps", "1", "--set", *SMALL)) == 0
    changed = command(ytvos, out, "--steps", "2", "--set", *SMALL, "gradient_norm=1")
    assert main(changed) == 1
    assert "gradient_norm 0.1 -> 1.0" in capsys.readouterr().err
    assert main([*changed, "--accept-changes"]) == 0
    assert len(curve(out)) == 2


def test_an_unreadable_image_is_named_counted_and_replaced(
    tmp_path: Path, ytvos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(ytvos, data)
    image = sorted((data / "train" / "JPEGImages").iterdir())[0]
    for path in sorted(image.glob("*.jpg"))[:1]:
        path.write_bytes(b"not an image")
    out = tmp_path / "run"
    assert main(command(data, out, "--set", *SMALL)) == 0
    errors = capsys.readouterr().err
    assert "Replaced (1 so far)" in errors and image.name in errors
    assert len(curve(out)) == 4


def test_a_loss_that_is_not_finite_stops_and_names_the_clips(
    tmp_path: Path, ytvos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    settings = [*SMALL, "learning_rate=1e30", "gradient_norm=1e30", "save_every=1"]
    assert main(command(ytvos, out, "--set", *settings)) == 1
    errors = capsys.readouterr().err
    assert "is not finite; its clips are" in errors and "last saved state is kept" in errors
    assert (out / "state.pt").exists()
