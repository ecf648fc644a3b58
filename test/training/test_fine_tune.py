# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning of the bundled model: a changed world, new words, known words that stay."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from cuda_kernel_cases import load_script
from repository import REPOSITORY

import referdino_core as rd
from referdino_core.building import WORD_EMBEDDING, load_model, vocabulary_of
from referdino_core.cli import main
from referdino_core.models import weights_file
from referdino_core.target import TargetState, mask_overlap
from referdino_core.training.clip_samples import TrainingClip
from referdino_core.training.frame_stage import clip_losses_by_frame
from referdino_core.training.learnt_parts import parameter_groups
from referdino_core.training.targets import ClipGroundTruth
from referdino_core.training.video_recipes import RECIPES, changed
from referdino_core.training.video_training import build_model, save_run_weights
from referdino_core.world import WorldRenderer

example = load_script(REPOSITORY / "examples" / "fine_tune.py")


def noise(height: int, width: int, seed: int) -> TrainingClip:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(2, height, width, dtype=torch.bool)
    masks[0, 10:30, 12:40] = True
    pixels = torch.randn(2, 3, height, width, generator=generator)
    ids = torch.tensor([2, 6, 62, 16, 4, 3])
    return TrainingClip("noise", pixels, ids, ClipGroundTruth.from_masks(masks), ())


def test_only_text_encoder_grounder_and_the_rows_of_added_words_change(tmp_path: Path) -> None:
    recipe = changed(RECIPES["own_nano"], ["words=pink,brown"])
    model = build_model(recipe, weights_file("nano"), 0)
    assert model.configuration.added_words == ("pink", "brown")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    groups = parameter_groups(model, recipe)
    optimiser = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1)
    terms = clip_losses_by_frame(model, [noise(64, 96, 0), noise(64, 96, 1), noise(48, 64, 2)])
    total = torch.stack(list(terms.values())).sum()
    assert bool(total.isfinite())
    total.backward()
    optimiser.step()
    after = model.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved and all(name.startswith(("text_encoder.", "grounder.")) for name in moved)
    known = len(vocabulary_of(model.configuration)) - 2
    rows = [tensors[WORD_EMBEDDING] for tensors in (before, after)]
    assert torch.equal(rows[1][:known], rows[0][:known])
    assert not torch.equal(rows[1][known], rows[0][known])
    save_run_weights(model, tmp_path, "tuned")
    assert not (tmp_path / "tuned_lora.safetensors").exists()
    again = build_model(changed(recipe, ["words=brown,teal"]), tmp_path / "tuned.safetensors", 0)
    assert again.configuration.added_words == ("pink", "brown", "teal")
    loaded = load_model(tmp_path / "tuned.safetensors", "cpu").state_dict()[WORD_EMBEDDING]
    torch.testing.assert_close(loaded, rows[1], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_grown_vocabulary_works_exported_as_it_does_in_pytorch(
    tmp_path: Path, renderer: WorldRenderer
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = build_model(changed(RECIPES["own_nano"], ["words=crimson"]), weights_file("nano"), 0)
    with torch.no_grad():
        embedding = model.state_dict()[WORD_EMBEDDING]
        words = vocabulary_of(model.configuration)
        # As if training had found that the word is hardly another one than "red".
        embedding[words.index("crimson")] = 0.95 * embedding[words.index("red")]
    save_run_weights(model, tmp_path, "grown")
    weights, exported = tmp_path / "grown.safetensors", tmp_path / "exported"
    command = ["export", "--checkpoint", str(weights), "--size", "120x160", "--tokens", "16"]
    command += ["--deformable-attention", "grid_sample", "--no-check", "--out", str(exported)]
    assert main(command) == 0
    clip = next(
        one
        for one in (renderer.clip("test", index) for index in range(20))
        if any(item.colour == "red" for item in one.objects)
    )
    found = {}
    for runtime, exports in (("torch", None), ("onnxruntime", exported)):
        session = rd.Session(weights, device="cpu", runtime=runtime, exports=exports)
        session.command("the crimson object")
        images = zip(clip.frames[:4], clip.stamps.tolist(), strict=False)
        (found[runtime],) = [session.step(image, stamp) for image, stamp in images][-1]
    expected, one = found["torch"], found["onnxruntime"]
    assert expected.state is TargetState.TRACKING and expected.mask.any()
    assert (one.state, one.track_id) == (expected.state, expected.track_id)
    assert mask_overlap(one.mask, expected.mask) > 0.995
    assert one.predicted_box == pytest.approx(expected.predicted_box, abs=0.01)
    assert one.frame_score == pytest.approx(expected.frame_score, abs=1e-4)


def test_clips_of_one_size_or_several_give_the_same_losses() -> None:
    model = load_model("nano", "cpu")
    alike = [noise(64, 96, 0), noise(64, 96, 1)]
    with torch.no_grad():
        alone = [clip_losses_by_frame(model, [clip]) for clip in alike]
        other = clip_losses_by_frame(model, [noise(48, 64, 2)])
        mixed = clip_losses_by_frame(model, [alike[0], noise(48, 64, 2)])
    for name, loss in mixed.items():
        torch.testing.assert_close(loss, (alone[0][name] + other[name]) / 2, msg=name)


def test_repainting_changes_the_colour_alone() -> None:
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    frames[...] = (140, 36, 184)  # the world's purple
    frames[0, 0] = (70, 18, 92)  # in the shade
    mask = np.zeros((1, 4, 4), bool)
    mask[:, :, :3] = True
    example.repaint(frames, mask, "purple")
    pink = np.array(example.NEW_COLOURS["purple"][1]) * 255
    np.testing.assert_allclose(frames[0, 2, 1], pink, atol=14)
    np.testing.assert_allclose(frames[0, 0, 1], pink / 2, atol=10)
    assert tuple(frames[0, 2, 3]) == (140, 36, 184)


@pytest.mark.slow
def test_the_example_improves_a_changed_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--clips", "12", "--unseen", "8", "--set", "epochs=3", "validation_clips=1"]
    assert example.main(["--out", str(tmp_path), *short]) == 0
    printed = capsys.readouterr().out
    row = re.search(r"\| new colour \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", printed)
    assert row is not None, printed
    count, before, after = int(row[1]), float(row[2]), float(row[3])
    assert count >= 8 and after > before + 0.05, printed
