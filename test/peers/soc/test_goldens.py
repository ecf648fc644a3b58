# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC's network against recorded results of the published implementation, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
import soc_golden
import torch
from golden import Golden
from torch import Tensor

import referdino_core as rd
from referdino_core.network.uninitialised_weights import UninitialisedWeights
from referdino_core.peers.soc.soc import SOC, ClipFeatures, choose_query
from referdino_core.training.soc_losses import SOCTargets, soc_losses

pytest.importorskip("transformers", reason="SOC's text encoder is that of transformers")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

CASES = ("tiny_96x128_t4", "tiny_a2d_b2_t8", "tiny_224x288_t9", "base_96x128_t2")
NAMES = {"tiny": "soc_swint", "base": "soc_swinb"}
TERMS = {
    "loss_cls": "classification",
    "loss_bbox": "l1",
    "loss_giou": "giou",
    "loss_sigmoid_focal": "mask",
    "loss_dice": "dice",
    "loss_con": "contrastive",
}
OBJECTS = {
    "tiny_96x128_t4": [(4, 96, 128, (1,), 0)],
    "tiny_a2d_b2_t8": [(1, 96, 128, (), 0), (1, 80, 112, (), 4)],
}
FEATURES, SCORES, BOXES, MASKS = 1e-3, 1e-4, 1e-5, 1e-3
"""Largest absolute differences."""


@dataclass(frozen=True)
class Case:
    """A recorded case and what our network makes of it."""

    name: str
    golden: Golden
    model: SOC
    maps: tuple[Tensor, ...]
    features: ClipFeatures


@lru_cache(maxsize=1)
def network(size: str) -> SOC:
    """The model with the weights of the recordings."""
    with UninitialisedWeights():
        model = rd.build(NAMES[size])
    rd.load_checkpoint(model, {"model_state_dict": soc_golden.state_dict(size), "epoch": 3})
    return model


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    golden = soc_golden.load(request.param)
    model = network(golden.metadata["config"])
    pixels, padding = soc_golden.clips(golden)
    recorded: list[tuple[Tensor, ...]] = []
    hook = model.backbone.register_forward_hook(lambda _m, _i, output: recorded.append(output))
    with torch.inference_mode():
        features = model(
            pixels,
            golden["input_ids"],
            padding if padding.any() else None,
            only_frame=golden.metadata.get("valid_frame"),
        )
    hook.remove()
    yield Case(request.param, golden, model, recorded[0], features)


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def test_backbone_maps(case: Case) -> None:
    step = int(case.golden.metadata["slices"]["backbone_i_sub"].split("::")[-1].rstrip("]"))
    for level, features in enumerate(case.maps):
        found = features.flatten(0, 1)[:, ::8, ::step, ::step]
        assert_near(found, case.golden[f"backbone_{level}_sub"], FEATURES)


def test_tokens_and_sentence(case: Case) -> None:
    text = case.features.text
    assert_near(text.tokens, case.golden["text_tokens"], FEATURES)
    assert_near(text.sentence, case.golden["text_sentence"], FEATURES)


def test_hidden_states_of_roberta(case: Case) -> None:
    encoder, ids = case.model.text_encoder, case.golden["input_ids"]
    with torch.inference_mode():
        encoded = encoder.roberta(input_ids=ids, attention_mask=case.golden["attention_mask"])
    assert_near(encoded.last_hidden_state[..., ::6], case.golden["text_last_hidden"], FEATURES)
    assert_near(encoded.pooler_output, case.golden["text_pooled"], FEATURES)


@pytest.mark.parametrize("case", tuple(OBJECTS), indirect=True)
def test_fused_levels_and_encoded_memory(case: Case) -> None:
    golden, features = case.golden, case.features
    frames = features.queries.shape[2]
    with torch.inference_mode():
        fused = case.model.fuse(features.levels, features.text, frames)
        memory = case.model.transformer(fused).memory
    for level, maps in enumerate(fused.maps):
        cells = maps.unflatten(0, (-1, frames)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        assert_near(cells[:, ::5, ::4], golden[f"fused_{level}_sub"], FEATURES)
    assert_near(memory[:, ::7, ::4], golden["memory_sub"], FEATURES)


def test_tokens_that_saw_the_clip(case: Case) -> None:
    golden = case.golden
    with torch.inference_mode():
        assert_near(
            case.model.sentence_of_clip(case.features), golden["sentence_for_loss"], FEATURES
        )
        if "fused_text_2" in golden.arrays:
            real = ~case.features.text.padding
            assert_near(
                case.model.fuse_text(case.features)[real], golden["fused_text_2"][real], FEATURES
            )
            fused = case.model.fuse_text(case.features, level=0)[..., ::4]
            assert_near(fused[real], golden["fused_text_0_sub"][real], FEATURES)


def test_frame_queries_and_references(case: Case) -> None:
    golden, features = case.golden, case.features
    recorded = golden["frame_queries_sub"]
    step = features.queries.shape[-1] // recorded.shape[-1]
    assert_near(features.queries.flatten(1, 2)[..., ::step], recorded, FEATURES)
    first, *refined = features.references
    assert_near(first, golden["reference_init"].expand_as(first), BOXES)
    assert_near(torch.stack(refined).flatten(1, 2), golden["reference"], BOXES)


def test_mask_features(case: Case) -> None:
    recorded = case.golden["mask_features_sub"]
    step = int(case.golden.metadata["slices"]["mask_features_sub"].split("::")[-1].rstrip("]"))
    assert_near(case.features.mask_features[..., ::step, ::step], recorded, FEATURES)


@pytest.mark.parametrize("layer", (0, 2))
def test_both_answers(case: Case, layer: int) -> None:
    golden, features = case.golden, case.features
    step = int(golden.metadata["slices"]["masks"].split("::")[-1].rstrip("]"))
    boxes, masks, chosen = (
        ("pred_boxes", "pred_masks", "chosen_query")
        if layer == 0
        else ("last_layer_boxes", "last_layer_masks", "chosen_query_last_layer")
    )
    with torch.inference_mode():
        video_queries = case.model.cluster(features.queries[-1], features.text.sentence)
        outputs = case.model.outputs(features, layer, video_queries)
    assert_near(video_queries, golden["video_queries"], FEATURES)
    assert_near(outputs.scores.transpose(0, 1), golden["cls_by_layer"][layer], SCORES)
    assert_near(outputs.boxes.transpose(0, 1), golden[boxes], BOXES)
    found = outputs.masks[:, :, golden["mask_queries"], ::step, ::step]
    assert_near(found.transpose(0, 1), golden[masks], MASKS)
    assert [choose_query(one)[1] for one in outputs.scores] == golden[chosen].tolist()


def targets_of(name: str) -> SOCTargets:
    """The targets of a recorded case; masks are padded with zeros to the largest frame."""
    objects = [soc_golden.drifting_ellipse(*one) for one in OBJECTS[name]]
    height, width = (max(masks.shape[axis] for masks, _ in objects) for axis in (1, 2))
    padded = [
        np.pad(masks, ((0, 0), (0, height - masks.shape[1]), (0, width - masks.shape[2])))
        for masks, _ in objects
    ]
    masks = torch.from_numpy(np.stack(padded))
    boxes = torch.from_numpy(np.stack([boxes for _, boxes in objects]))
    return SOCTargets(masks, boxes, masks.flatten(2).any(2))


@pytest.mark.parametrize("case", tuple(OBJECTS), indirect=True)
def test_training_outputs_and_losses(case: Case) -> None:
    golden = case.golden
    with torch.inference_mode():
        layers = case.model.every_layer(case.features)
        sentences = case.model.sentence_of_clip(case.features)
        losses = soc_losses(layers, targets_of(case.name), sentences)
    video_queries = torch.stack([one.video_queries for one in layers])
    assert_near(video_queries[..., ::4], golden["train_video_queries_sub"], FEATURES)
    assert_near(layers[-1].scores.transpose(0, 1), golden["train_last_cls"], SCORES)
    assert_near(layers[-1].boxes.transpose(0, 1), golden["train_last_boxes"], BOXES)
    masks = layers[-1].masks[:, :, golden["mask_queries"], ::2, ::2]
    assert_near(masks.transpose(0, 1), golden["train_last_masks"], MASKS)
    matched = [one.matched.tolist() for one in losses]
    assert matched == golden["train_matched_query"].tolist()
    for layer, suffix in zip(losses, ("_0", "_1", ""), strict=True):
        for recorded, term in TERMS.items():
            expected = golden.metadata["losses"][f"{recorded}{suffix}"]
            assert float(getattr(layer, term)) == pytest.approx(expected, rel=1e-4), term
    total = sum(float(one.weighted_sum()) for one in losses)
    assert total == pytest.approx(golden.metadata["total_loss"], rel=1e-4)
