# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""LoRA: the published names, no change at first, and weights that it is merged into."""

from __future__ import annotations

import re
from collections import Counter

import torch

import referdino_core as rd
from referdino_core.checkpoint import read_tensors, save_weights
from referdino_core.training.learnt_parts import LEARNT_IN_BACKBONES, prepare_for_training
from referdino_core.training.lora import LoRALinear, add_lora, lora_tensors, merged_tensors
from referdino_core.training.video_recipes import RECIPES, changed

# Of the released Swin-T checkpoint, with layer numbers left out; one copy of shared layers.
PUBLISHED = {
    "transformer.encoder.layers.#.linear#": 12,
    "transformer.encoder.text_layers.#.linear#": 12,
    "transformer.decoder.layers.#.linear#": 12,
    **{
        f"transformer.{place}.{name}": 6
        for place in ("encoder.layers.#.self_attn", "decoder.layers.#.cross_attn")
        for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
    },
    **{
        f"transformer.encoder.fusion_layers.#.attn.{name}": 6
        for name in (
            *("v_proj", "l_proj", "values_v_proj", "values_l_proj", "out_v_proj", "out_l_proj"),
        )
    },
    "transformer.decoder.ref_point_head.layers.#": 2,
}


def small_model() -> rd.ReferDINO:
    torch.manual_seed(0)
    return rd.build("nano")


def test_the_layers_with_a_lora_are_those_of_the_released_checkpoints() -> None:
    with torch.device("meta"):
        model = rd.build("swint")
    add_lora(model)
    names = [name for name in lora_tensors(model) if name.endswith(".lora_A")]
    layers = (re.sub(r"\d+", "#", name.removesuffix(".lora_A")) for name in names)
    assert Counter(layers) == PUBLISHED


def test_a_fresh_lora_changes_nothing_and_a_learnt_one_is_merged_as_it_computes() -> None:
    model = small_model()
    pixels, ids = torch.rand(2, 3, 64, 96), torch.tensor([2, 5, 6, 3])
    with torch.no_grad():
        before = model.segment(pixels, ids)
        add_lora(model)
        torch.testing.assert_close(model.segment(pixels, ids).scores, before.scores)
        for module in model.modules():
            if isinstance(module, LoRALinear):
                torch.nn.init.normal_(module.lora_B, std=0.05)
        learnt = model.segment(pixels, ids)
        assert not torch.allclose(learnt.scores, before.scores)
        other = small_model()
        rd.load_checkpoint(other, merged_tensors(model))
        merged = other.segment(pixels, ids)
    torch.testing.assert_close(merged.scores, learnt.scores, rtol=1e-3, atol=1e-3)


def test_saved_weights_hold_the_merged_lora(tmp_path) -> None:
    model = small_model()
    add_lora(model)
    save_weights(model, tmp_path / "weights.safetensors")
    assert set(read_tensors(tmp_path / "weights.safetensors")) == set(merged_tensors(model))
    rd.load_checkpoint(rd.build("nano"), tmp_path / "weights.safetensors")


def test_backbones_stay_but_for_layer_norms_of_bert_and_of_the_finest_map() -> None:
    model = small_model()
    prepare_for_training(model, RECIPES["ytvos_swint"])
    learnt = {name for name, p in model.named_parameters() if p.requires_grad}
    kept = {name for name, p in model.named_parameters() if not p.requires_grad}
    in_backbones = [n for n in learnt if n.startswith(("image_encoder", "text_encoder.bert"))]
    assert in_backbones and all(LEARNT_IN_BACKBONES.match(name) for name in in_backbones)
    assert {"text_encoder.feature_map.weight"} <= learnt
    for part in ("pixel_decoder", "mask_decoder", "temporal_decoder", "box_head"):
        assert not any(part in name for name in kept), part
    adapted = {name.removesuffix("lora_A") for name in learnt if name.endswith(".lora_A")}
    assert adapted and all(f"{name}weight" in kept for name in adapted)


def test_recomputed_activations_give_the_same_gradients() -> None:
    gradients = []
    for choice in ("checkpointing=false", "checkpointing=true"):
        model = small_model()
        prepare_for_training(model, changed(RECIPES["ytvos_swint"], [choice]))
        torch.manual_seed(1)
        grounding = model.grounder(
            model.image_encoder(torch.rand(1, 3, 64, 96)),
            model.text_encoder([torch.tensor([2, 5, 6, 3])]),
        )
        grounding.queries.square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    kept, recomputed = gradients
    assert kept.keys() == recomputed.keys() and kept
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, msg=name)
