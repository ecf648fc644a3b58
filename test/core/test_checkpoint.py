# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: reference names, LoRA, partial ones, and files that are none."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import golden
import pytest
import torch
from torch import Tensor

import referdino_core as rd
from referdino_core.building import architecture_of
from referdino_core.checkpoint import REDUNDANT, merge_lora, reference_name, save_weights


@pytest.fixture(scope="module")
def nano() -> rd.ReferDINO:
    torch.manual_seed(0)
    return rd.build("nano")


@pytest.fixture
def tensors(nano: rd.ReferDINO) -> dict[str, Tensor]:
    return {reference_name(name): tensor for name, tensor in nano.state_dict().items()}


@pytest.mark.parametrize("name", ["swint", "swinb"])
def test_every_tensor_of_a_released_checkpoint_has_a_place_or_a_reason_to_have_none(
    name: str,
) -> None:
    listing = json.loads((golden.DIRECTORY / f"state_dict_{name}.json").read_text())["tensors"]
    with torch.device("meta"):
        model = rd.build(name)
    ours = {reference_name(key): tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    placed = set()
    for key, shape, _, *_ in listing:
        if key in ours:
            assert ours[key] == tuple(shape), key
            placed.add(key)
        else:
            assert REDUNDANT.match(key) or key.endswith((".lora_A", ".lora_B")), key
    assert placed == set(ours)


def test_lora_is_merged_with_a_thirty_second_of_the_product() -> None:
    second, first = torch.randn(6, 32), torch.randn(32, 4)
    weight = torch.randn(6, 4)
    merged = merge_lora({"x.weight": weight, "x.lora_A": first, "x.lora_B": second})
    assert set(merged) == {"x.weight"}
    torch.testing.assert_close(merged["x.weight"], weight + second @ first / 32)


def test_half_a_lora_pair_is_named() -> None:
    with pytest.raises(rd.CheckpointError, match=r"x\.lora_A"):
        merge_lora({"x.weight": torch.zeros(2, 2), "x.lora_A": torch.zeros(32, 2)})


@pytest.mark.parametrize("wrapper", ["model_state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_come_back_from_a_file(
    tensors: dict[str, Tensor], tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    content = {prefix + name: tensor for name, tensor in tensors.items()}
    path = tmp_path / "weights.pth"
    torch.save({wrapper: content} if wrapper else content, path)
    torch.manual_seed(1)
    fresh = rd.build("nano")
    rd.load_checkpoint(fresh, path)
    for name, tensor in fresh.state_dict().items():
        torch.testing.assert_close(tensor, tensors[reference_name(name)])


def test_safetensors_keep_half_precision(nano: rd.ReferDINO, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(nano, path)
    torch.manual_seed(1)
    fresh = rd.build("nano")
    rd.load_checkpoint(fresh, path)
    for name, tensor in nano.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_missing_unknown_and_misshapen_tensors_are_named(
    nano: rd.ReferDINO, tensors: dict[str, Tensor]
) -> None:
    before = {name: tensor.clone() for name, tensor in nano.state_dict().items()}
    tensors["feat_map.mystery"] = torch.zeros(1)
    del tensors["feat_map.bias"]
    with pytest.raises(rd.CheckpointError) as caught:
        rd.load_checkpoint(nano, tensors)
    assert "1 missing (feat_map.bias)" in str(caught.value)
    assert "1 unknown (feat_map.mystery)" in str(caught.value)
    tensors["feat_map.weight"] = torch.zeros(3, 3)
    with pytest.raises(rd.CheckpointError, match=r"feat_map.weight is \(3, 3\), not \(128, 128\)"):
        rd.load_checkpoint(nano, tensors, strict=False)
    assert all(torch.equal(nano.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_grounding_checkpoint_loads_in_part_and_names_what_it_lacks(
    nano: rd.ReferDINO, tensors: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    grounding = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(("temporal_decoder", "mask_decoder", "pixel_decoder"))
    }
    with caplog.at_level(logging.WARNING, logger="referdino"):
        rd.load_checkpoint(nano, grounding, strict=False)
    assert "missing (mask_decoder.0." in caplog.text


def test_another_architecture_is_refused(nano: rd.ReferDINO) -> None:
    with pytest.raises(rd.CheckpointError, match="does not fit nano"):
        rd.load_checkpoint(nano, {"backbone.0.patch_embed.proj.weight": torch.zeros(96, 3, 4, 4)})
    with pytest.raises(rd.CheckpointError, match="shares no tensor"):
        rd.load_checkpoint(nano, {"something.else": torch.zeros(1)}, strict=False)


@pytest.mark.parametrize(("width", "name"), [(96, "swint"), (128, "swinb"), (32, "nano")])
def test_an_architecture_is_recognised_by_its_first_projection(width: int, name: str) -> None:
    projection = {"backbone.0.patch_embed.proj.weight": torch.zeros(width, 3, 4, 4)}
    assert architecture_of(projection, Path("x.pth")) == name


class Payload:
    """What a hostile pickle looks like: loading it would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(
    nano: rd.ReferDINO, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hostile.pth"
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(rd.CheckpointError, match="not a readable checkpoint"):
        rd.load_checkpoint(nano, path)
    assert "this must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_one_line(
    nano: rd.ReferDINO, tensors: dict[str, Tensor], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_weights(nano, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(rd.CheckpointError, match="not a readable") as caught:
        rd.load_checkpoint(nano, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"a": 1}}, {1: torch.zeros(2)}], ids=str)
def test_a_file_of_something_else_is_refused(
    nano: rd.ReferDINO, tmp_path: Path, content: object
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(rd.CheckpointError):
        rd.load_checkpoint(nano, path)


def test_a_missing_file_is_named(nano: rd.ReferDINO, tmp_path: Path) -> None:
    with pytest.raises(rd.CheckpointError, match=r"nowhere\.pth"):
        rd.load_checkpoint(nano, tmp_path / "nowhere.pth")
    with pytest.raises(rd.CheckpointError, match=r"nowhere\.pth"):
        rd.Session(tmp_path / "nowhere.pth")


def test_settings_of_the_network_are_checked() -> None:
    with pytest.raises(rd.ReferDINOError, match="keep_ratio"):
        rd.build("nano", keep_ratio=1.5)
    with pytest.raises(rd.ReferDINOError, match="patience"):
        rd.build("nano", patience=3)
    with pytest.raises(rd.ReferDINOError, match="pruning_score"):
        rd.build("nano", pruning_score="best")


@torch.no_grad()
@pytest.mark.parametrize("variant", ["released", "paper"])
def test_both_variants_of_pruning_and_relevance_run_and_differ(variant: str) -> None:
    torch.manual_seed(0)
    model = rd.build("nano", num_queries=20, keep_ratio=0.5)
    torch.manual_seed(0)
    other = rd.build(
        "nano", num_queries=20, keep_ratio=0.5, pruning_score=variant, relevance=variant
    )
    other.load_state_dict(model.state_dict())
    pixels, ids = torch.randn(3, 3, 96, 128), torch.tensor([2, 10, 11, 4, 3])
    same = torch.equal(model.segment(pixels, ids).scores, other.segment(pixels, ids).scores)
    assert same is (variant == "released")
