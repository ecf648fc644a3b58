# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The network against recorded results of the published implementation, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import golden
import pytest
import torch
from torch import Tensor

import referdino_core as rd
from referdino_core.network.grounder import Grounding
from referdino_core.network.predictions import ClipOutputs
from referdino_core.network.text_encoder import sub_sentences
from referdino_core.training.clip_outputs import clip_outputs
from referdino_core.training.criterion import clip_losses
from referdino_core.training.loss_weights import REF_YOUTUBE_VOS_WEIGHTS
from referdino_core.training.targets import ClipGroundTruth

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

END_TO_END = (
    "swint_q32_128x160_f3",
    "swint_q32_128x160_two_sentences_f5",
    "swinb_q32_128x160_f1",
    "swint_w1_q32_128x160_f8",
)
STAGES = (
    "swint_q900_360x640_f7",
    "swint_q300_192x256_f1",
    "swinb_q300_192x256_f1",
    *END_TO_END,
)
MASK_TOLERANCE = 5e-3
SCORE_TOLERANCE = 1e-3
BOX_TOLERANCE = 1e-5
STAGE_TOLERANCE = 1e-4
MASK_FEATURE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Run:
    """A golden with its model, and what the model makes of its frames."""

    recorded: golden.Golden
    model: rd.ReferDINO

    @cached_property
    @torch.no_grad()
    def grounding(self) -> tuple[list[Tensor], Grounding]:
        """Outputs of the backbone, and what the sentence finds in the frames."""
        model, pixels, levels = self.model, self.recorded.pixels, []
        text = model.text_encoder([self.recorded["input_ids"]]).expand(len(pixels))
        hook = model.image_encoder.backbone.register_forward_hook(
            lambda module, inputs, outputs: levels.extend(outputs)
        )
        with hook:
            image = model.image_encoder(pixels)
        return levels, model.grounder(image, text)


@lru_cache(maxsize=1)
def run_of(name: str) -> Run:
    """A golden with its model; the last ones are kept, since weights take seconds to make."""
    recorded = golden.load(name)
    return Run(recorded, recorded.model())


def open_golden(name: str) -> tuple[golden.Golden, rd.ReferDINO]:
    """A golden with its model."""
    return run_of(name).recorded, run_of(name).model


def by_golden(names: tuple[str, ...]) -> pytest.MarkDecorator:
    """A test of each golden, in the module's order: all tests of a golden before the next one's."""
    return pytest.mark.parametrize("name", names, scope="module")


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def sampled(features: Tensor) -> Tensor:
    return features[:, ::8, ::5, ::5]


@by_golden(STAGES)
@torch.no_grad()
def test_every_stage_before_selection_meets_the_golden(name: str) -> None:
    recorded, model = open_golden(name)
    input_ids = recorded["input_ids"]
    attention, positions = sub_sentences(input_ids, model.text_encoder.sentence_ends)
    assert torch.equal(attention, recorded["bert_attention_mask"])
    assert torch.equal(positions, recorded["bert_position_ids"])
    hidden = model.text_encoder.bert(input_ids[None], positions[None], attention[None])
    assert_close(hidden[0], recorded["bert_last_hidden"], STAGE_TOLERANCE)

    levels, grounding = run_of(name).grounding
    assert len(levels) == 4
    for level, features in enumerate(levels):
        assert_close(sampled(features), recorded[f"backbone_{level}_sub"], STAGE_TOLERANCE)
    assert_close(grounding.tokens[:, ::37], recorded["memory_sub"], STAGE_TOLERANCE)
    assert_close(grounding.text, recorded["memory_text"], STAGE_TOLERANCE)
    assert_close(
        sampled(grounding.masks.features), recorded["mask_features_sub"], MASK_FEATURE_TOLERANCE
    )


@by_golden(END_TO_END)
def test_surviving_queries_meet_the_golden(name: str) -> None:
    recorded, grounding = run_of(name).recorded, run_of(name).grounding[1]
    survivors = grounding.layers[-1]
    assert_close(survivors.queries, recorded["frame_hs"], STAGE_TOLERANCE)
    assert_close(survivors.references, recorded["frame_reference"], BOX_TOLERANCE)
    assert_close(survivors.refined, recorded["frame_reference_refined"], BOX_TOLERANCE)


@by_golden(END_TO_END)
def test_whole_clip_inference_meets_the_golden(name: str) -> None:
    recorded, model = open_golden(name)
    clip = model.segment(recorded.pixels, recorded["input_ids"])
    assert_close(clip.scores, recorded["pred_logits"][..., 0], SCORE_TOLERANCE)
    assert_close(clip.boxes, recorded["pred_boxes"], BOX_TOLERANCE)
    assert_close(clip.masks, recorded["pred_masks"], MASK_TOLERANCE)


@by_golden(END_TO_END)
def test_a_stream_whose_window_holds_the_prefix_equals_whole_clip_inference(name: str) -> None:
    recorded, model = open_golden(name)
    stream = model.stream(recorded["input_ids"], window=8)
    for number, pixels in enumerate(recorded.pixels, start=1):
        frame = stream.step(pixels)
        assert_close(frame.scores, recorded[f"prefix{number}_pred_logits"][..., 0], SCORE_TOLERANCE)
        assert_close(frame.boxes, recorded[f"prefix{number}_pred_boxes"], BOX_TOLERANCE)
        assert_close(frame.masks, recorded[f"prefix{number}_pred_masks"], MASK_TOLERANCE)


@by_golden(END_TO_END[:1])
@torch.no_grad()
def test_training_outputs_and_losses_meet_the_golden(name: str) -> None:
    recorded, model = open_golden(name)
    outputs: ClipOutputs = clip_outputs(model, recorded.pixels, recorded["input_ids"])
    names = ["train", *(f"train_aux{layer}" for layer in range(5)), "train_interm"]
    for name, prediction in zip(names, outputs.layers.values(), strict=True):
        assert_close(prediction.scores, recorded[f"{name}_pred_logits"][..., 0], SCORE_TOLERANCE)
        assert_close(prediction.boxes, recorded[f"{name}_pred_boxes"], BOX_TOLERANCE)
    assert_close(outputs.final.masks, recorded["train_pred_masks"], MASK_TOLERANCE)

    truth = ClipGroundTruth(
        recorded["train_target_boxes"],
        recorded.target_masks,
        recorded["train_target_valid"].bool(),
    )
    losses = clip_losses([outputs], [truth], REF_YOUTUBE_VOS_WEIGHTS)
    assert losses.matched["final"] == (recorded.metadata["matched_query"],)
    assert losses.total.item() == pytest.approx(recorded.metadata["loss_total"], rel=1e-3)
    suffixes = ["", "_0", "_1", "_2", "_3", "_4", "_interm"]
    for suffix, layer in zip(suffixes, losses.layers.values(), strict=True):
        for ours, theirs in (
            ("classification", "loss_ce"),
            ("l1", "loss_bbox"),
            ("giou", "loss_giou"),
            ("mask", "loss_mask"),
            ("dice", "loss_dice"),
            ("projection", "loss_proj"),
        ):
            expected = recorded.metadata["losses"][theirs + suffix]
            assert getattr(layer, ours).item() == pytest.approx(expected, rel=1e-3)
