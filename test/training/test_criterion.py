# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Losses and matching: the recorded ones of the reference, gradients, and targets out of view."""

from __future__ import annotations

from dataclasses import asdict, replace

import golden
import numpy as np
import pytest
import torch

from referdino_core.network.predictions import ClipOutputs, ClipPrediction, FramePrediction
from referdino_core.training.criterion import (
    box_losses,
    clip_losses,
    focal_classification_loss,
    mask_losses,
)
from referdino_core.training.loss_weights import REF_YOUTUBE_VOS_WEIGHTS
from referdino_core.training.matcher import (
    assign_queries,
    box_costs,
    classification_costs,
    mask_costs,
    match_clip,
    match_objects,
)
from referdino_core.training.targets import ClipGroundTruth, FrameTargets, sample_masks

RELATIVE_TOLERANCE = 1e-3
RECORDED_NAMES = {
    "classification": "loss_ce",
    "l1": "loss_bbox",
    "giou": "loss_giou",
    "mask": "loss_mask",
    "dice": "loss_dice",
    "projection": "loss_proj",
}
# The golden names the matched query of the final layer. Of the others it holds scores and boxes but
# no masks; these are the only queries whose three losses of scores and boxes are the recorded ones.
MATCHED_AUXILIARY = {"_0": 11, "_1": 0, "_2": 2, "_3": 4, "_4": 3, "_interm": 0}


@pytest.fixture(scope="module")
def recorded() -> golden.Golden:
    return golden.load("swint_q32_128x160_f3")


@pytest.fixture(scope="module")
def recorded_truth(recorded: golden.Golden) -> ClipGroundTruth:
    valid = recorded["train_target_valid"].bool()
    return ClipGroundTruth(recorded["train_target_boxes"], recorded.target_masks, valid)


@pytest.fixture(scope="module")
def recorded_final(recorded: golden.Golden) -> ClipPrediction:
    scores = recorded["train_pred_logits"][..., 0]
    return ClipPrediction(scores, recorded["train_pred_boxes"], recorded["train_pred_masks"])


def random_prediction(seed: int, frames: int = 3, queries: int = 6) -> ClipPrediction:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(frames, queries, generator=generator)
    boxes = 0.2 + 0.3 * torch.rand(frames, queries, 4, generator=generator)
    masks = torch.randn(frames, queries, 8, 10, generator=generator)
    return ClipPrediction(scores, boxes, masks)


def rectangles(*corners: tuple[int, int, int, int] | None) -> torch.Tensor:
    """(N, 32, 40) bool masks: left, top, right, bottom of each, or None for an empty one."""
    masks = torch.zeros(len(corners), 32, 40, dtype=torch.bool)
    for mask, corner in zip(masks, corners, strict=True):
        if corner is not None:
            left, top, right, bottom = corner
            mask[top:bottom, left:right] = True
    return masks


def with_gradient(prediction: ClipPrediction) -> ClipPrediction:
    parts = (prediction.scores, prediction.boxes, prediction.masks)
    return ClipPrediction(*(part.clone().requires_grad_() for part in parts))


def single_layer(prediction: ClipPrediction) -> ClipOutputs:
    """Outputs whose proposals are the same prediction and that have no other layer."""
    return ClipOutputs(prediction, (), prediction)


def test_matching_and_losses_meet_the_golden(
    recorded: golden.Golden, recorded_final: ClipPrediction, recorded_truth: ClipGroundTruth
) -> None:
    losses = clip_losses([single_layer(recorded_final)], [recorded_truth], REF_YOUTUBE_VOS_WEIGHTS)
    assert losses.matched["final"] == (recorded.metadata["matched_query"],)
    for name, value in asdict(losses.layers["final"]).items():
        expected = recorded.metadata["losses"][RECORDED_NAMES[name]]
        assert value.item() == pytest.approx(expected, rel=RELATIVE_TOLERANCE), name


def test_weights_are_those_of_the_golden(recorded: golden.Golden) -> None:
    weights = asdict(REF_YOUTUBE_VOS_WEIGHTS)
    costs = recorded.metadata["matcher_costs"]
    for name, loss in RECORDED_NAMES.items():
        assert weights[name] == recorded.metadata["loss_weights"][loss]
        assert weights[name] == costs[{"loss_ce": "cls"}.get(loss, loss.removeprefix("loss_"))]


def test_total_is_the_golden_one_when_every_layer_is_the_golden_one(
    recorded: golden.Golden, recorded_final: ClipPrediction, recorded_truth: ClipGroundTruth
) -> None:
    outputs = ClipOutputs(recorded_final, (recorded_final,) * 5, recorded_final)
    losses = clip_losses([outputs], [recorded_truth], REF_YOUTUBE_VOS_WEIGHTS)
    metadata = recorded.metadata
    final = sum(
        metadata["losses"][k] * metadata["loss_weights"][k] for k in RECORDED_NAMES.values()
    )
    assert len(losses.layers) == 7
    assert losses.total.item() == pytest.approx(7 * final, rel=RELATIVE_TOLERANCE)


@pytest.mark.parametrize("layer", sorted(MATCHED_AUXILIARY))
def test_score_and_box_losses_of_other_layers_meet_the_golden(
    layer: str, recorded: golden.Golden, recorded_truth: ClipGroundTruth
) -> None:
    stored = f"train_aux{layer[1:]}" if layer[1:].isdigit() else f"train{layer}"
    scores = recorded[f"{stored}_pred_logits"][..., 0]
    boxes = recorded[f"{stored}_pred_boxes"]
    expected = [recorded.metadata["losses"][f"loss_{k}{layer}"] for k in ("ce", "bbox", "giou")]
    frames_with_target = int(recorded_truth.valid.sum())
    agreeing = []
    for query in range(scores.shape[1]):
        positive = torch.zeros_like(scores, dtype=torch.bool)
        positive[:, query] = recorded_truth.valid
        found = (
            focal_classification_loss(scores, positive, frames_with_target),
            *box_losses(boxes[:, query], recorded_truth.boxes, frames_with_target),
        )
        if np.allclose([loss.item() for loss in found], expected, rtol=RELATIVE_TOLERANCE, atol=0):
            agreeing.append(query)
    assert agreeing == [MATCHED_AUXILIARY[layer]]


def test_costs_of_a_query_are_its_losses_averaged_over_frames(
    recorded_final: ClipPrediction, recorded_truth: ClipGroundTruth
) -> None:
    query, frames = 3, len(recorded_truth.valid)
    true_masks = sample_masks(recorded_truth.masks, *recorded_final.masks.shape[-2:])
    costs = (
        *box_costs(recorded_final.boxes, recorded_truth.boxes[None]),
        *mask_costs(recorded_final.masks, true_masks[None]),
    )
    losses = (
        *box_losses(recorded_final.boxes[:, query], recorded_truth.boxes, frames),
        *mask_losses(recorded_final.masks[None, :, query], true_masks[None], 1),
    )
    for cost, loss in zip(costs, losses, strict=True):
        assert cost.shape == (7, 1)
        assert cost[query].item() == pytest.approx(loss.item(), rel=1e-5)


def test_classification_cost_is_what_the_loss_gains_on_valid_frames() -> None:
    scores = random_prediction(0).scores
    valid = torch.tensor([[True, False, True], [False, False, False]])
    costs = classification_costs(scores, valid)
    negative = torch.zeros_like(scores, dtype=torch.bool)
    for query in range(scores.shape[1]):
        positive = negative.clone()
        positive[:, query] = valid[0]
        gain = focal_classification_loss(scores, positive, 2) - focal_classification_loss(
            scores, negative, 2
        )
        assert costs[query, 0].item() == pytest.approx(gain.item(), rel=1e-4, abs=1e-6)
    assert torch.equal(costs[:, 1], torch.zeros(scores.shape[1]))


def test_classification_cost_of_extreme_scores_is_bounded() -> None:
    scores = torch.tensor([[-1000.0, -40.0, 0.0, 40.0, 1000.0]])
    costs = classification_costs(scores, torch.tensor([[True]]))[:, 0]
    bound = -np.log(1e-8)
    middle = (0.25 - 0.75) * 0.25 * np.log(2)
    expected = [0.25 * bound, 0.25 * bound, middle, -0.75 * bound, -0.75 * bound]
    assert costs.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_query_that_predicts_the_truth_is_matched() -> None:
    truth = ClipGroundTruth.from_masks(rectangles((4, 4, 20, 16), None, (8, 8, 24, 20)))
    prediction = random_prediction(1)
    prediction.boxes[:, 4] = truth.boxes
    prediction.masks[:, 4] = 20 * sample_masks(truth.masks, 8, 10) - 10
    assert match_clip(prediction, truth, REF_YOUTUBE_VOS_WEIGHTS) == 4


def test_scores_of_frames_without_target_do_not_change_the_match() -> None:
    truth = ClipGroundTruth.from_masks(rectangles((4, 4, 20, 16), None, (8, 8, 24, 20)))
    prediction = random_prediction(1)
    matched = match_clip(prediction, truth, REF_YOUTUBE_VOS_WEIGHTS)
    other = (matched + 1) % 6
    prediction.scores[1, other] = 100.0
    assert match_clip(prediction, truth, REF_YOUTUBE_VOS_WEIGHTS) == matched
    prediction.scores[0, other] = 100.0
    assert match_clip(prediction, truth, REF_YOUTUBE_VOS_WEIGHTS) == other


def test_gradients_reach_exactly_what_is_supervised(
    recorded_final: ClipPrediction, recorded_truth: ClipGroundTruth
) -> None:
    prediction = with_gradient(recorded_final)
    clip_losses(
        [single_layer(prediction)], [recorded_truth], REF_YOUTUBE_VOS_WEIGHTS
    ).total.backward()
    others = [query for query in range(7) if query != 3]
    for part in (prediction.scores, prediction.boxes, prediction.masks):
        assert torch.isfinite(part.grad).all()
    assert (prediction.scores.grad != 0).all()
    assert (prediction.boxes.grad[:, 3] != 0).all()
    assert prediction.masks.grad[:, 3].flatten(1).abs().sum(dim=1).min() > 0
    assert torch.count_nonzero(prediction.boxes.grad[:, others]) == 0
    assert torch.count_nonzero(prediction.masks.grad[:, others]) == 0


def test_gradients_are_those_of_finite_differences() -> None:
    truth = ClipGroundTruth.from_masks(rectangles((4, 4, 20, 16), None, (8, 8, 24, 20)))
    true_masks = sample_masks(truth.masks, 8, 10)[None]
    prediction = random_prediction(2)
    parts = (prediction.scores[:, 0], prediction.boxes[:, 0], prediction.masks[None, :, 0])

    def loss(scores: torch.Tensor, boxes: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        terms = (
            focal_classification_loss(scores, truth.valid, 2),
            *box_losses(boxes, truth.boxes, 2),
            *mask_losses(masks, true_masks, 2),
        )
        return torch.stack(terms).sum()

    inputs = [part.clone().requires_grad_() for part in parts]
    loss(*inputs).backward()
    for index, part in enumerate(parts):
        direction = torch.randn(part.shape, generator=torch.Generator().manual_seed(index))
        step = 1e-3 * direction
        sides = [[*parts] for _ in range(2)]
        sides[0][index], sides[1][index] = part + step, part - step
        measured = (loss(*sides[0]).item() - loss(*sides[1]).item()) / 2e-3
        computed = (inputs[index].grad * direction).sum().item()
        assert measured == pytest.approx(computed, rel=2e-2, abs=2e-3)


def test_descending_the_losses_finds_the_object() -> None:
    truth = ClipGroundTruth.from_masks(rectangles((4, 4, 20, 16), None, (8, 8, 24, 20)))
    prediction = with_gradient(random_prediction(3))
    parts = [prediction.scores, prediction.boxes, prediction.masks]
    optimiser = torch.optim.Adam(parts, lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        losses = clip_losses([single_layer(prediction)], [truth], REF_YOUTUBE_VOS_WEIGHTS)
        losses.total.backward()
        optimiser.step()
    (query,) = losses.matched["final"]
    assert torch.equal(prediction.masks[:, query] > 0, sample_masks(truth.masks, 8, 10) > 0.5)
    assert (prediction.scores > 0)[:, query].tolist() == [True, False, True]
    assert int((prediction.scores > 0).sum()) == 2
    error = (prediction.boxes[:, query] - truth.boxes).abs()[truth.valid]
    assert error.max() < 0.05


@pytest.mark.parametrize("truth", [None, ClipGroundTruth.from_masks(rectangles(None, None, None))])
def test_absent_target_makes_every_query_a_negative(truth: ClipGroundTruth | None) -> None:
    prediction = with_gradient(random_prediction(4))
    losses = clip_losses([single_layer(prediction)], [truth], REF_YOUTUBE_VOS_WEIGHTS)
    terms = losses.layers["final"]
    assert losses.matched["final"] == (None,)
    assert [terms.l1, terms.giou, terms.mask, terms.dice, terms.projection] == [0.0] * 5
    probability = prediction.scores.detach().double().sigmoid()
    expected = (-0.75 * probability**2 * (1 - probability).log()).sum()
    assert terms.classification.item() == pytest.approx(expected.item(), rel=1e-5)
    losses.total.backward()
    assert (prediction.scores.grad > 0).all()
    assert prediction.boxes.grad is None and prediction.masks.grad is None


def test_matching_to_an_object_that_no_frame_shows_is_an_error() -> None:
    truth = ClipGroundTruth.from_masks(rectangles(None, None, None))
    with pytest.raises(ValueError, match="no frame shows"):
        match_clip(random_prediction(4), truth, REF_YOUTUBE_VOS_WEIGHTS)


def test_batch_is_normalised_by_all_frames_that_show_their_target() -> None:
    two_valid = ClipGroundTruth.from_masks(rectangles((4, 4, 20, 16), None, (8, 8, 24, 20)))
    three_valid = ClipGroundTruth.from_masks(rectangles(*[(0, 0, 12, 32)] * 3))
    clips = [single_layer(random_prediction(seed)) for seed in (5, 6, 7)]
    truths = [two_valid, None, three_valid]
    together = clip_losses(clips, truths, REF_YOUTUBE_VOS_WEIGHTS)
    alone = [
        clip_losses([clip], [truth], REF_YOUTUBE_VOS_WEIGHTS).total
        for clip, truth in zip(clips, truths, strict=True)
    ]
    expected = (2 * alone[0] + 1 * alone[1] + 3 * alone[2]) / 5
    assert together.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert together.matched["final"][1] is None


def test_clips_without_their_truths_are_refused() -> None:
    with pytest.raises(ValueError, match="1 clips, but 0 ground truths"):
        clip_losses([single_layer(random_prediction(8))], [], REF_YOUTUBE_VOS_WEIGHTS)


def test_perfect_masks_cost_nothing_and_empty_ones_stay_finite() -> None:
    truth = sample_masks(rectangles((4, 4, 20, 16), None), 8, 10)[:, None]
    right = mask_losses(200 * truth - 100, truth, 1)
    assert [loss.item() for loss in right] == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    wrong = mask_losses(100 - 200 * truth, truth, 1)
    assert all(torch.isfinite(loss) and loss > 1 for loss in wrong)


def test_objects_of_a_frame_get_the_queries_that_fit_them() -> None:
    truth = FrameTargets.from_masks(rectangles((0, 0, 12, 12), (20, 4, 36, 28), (4, 20, 16, 32)))
    clip = random_prediction(9, frames=1)
    frame = FramePrediction(clip.scores[0], clip.boxes[0], clip.masks[0])
    fitting = [5, 0, 2]
    frame.boxes[fitting] = truth.boxes
    frame.masks[fitting] = 8 * sample_masks(truth.masks, 8, 10) - 4
    matches = match_objects(frame, truth, REF_YOUTUBE_VOS_WEIGHTS)
    assert dict(zip(matches.objects.tolist(), matches.queries.tolist(), strict=True)) == {
        0: 5,
        1: 0,
        2: 2,
    }


def test_one_object_of_a_frame_gets_the_query_of_a_one_frame_clip() -> None:
    masks = rectangles((4, 4, 20, 16))
    for seed in range(10):
        clip = random_prediction(seed, frames=1)
        frame = FramePrediction(clip.scores[0], clip.boxes[0], clip.masks[0])
        matches = match_objects(frame, FrameTargets.from_masks(masks), REF_YOUTUBE_VOS_WEIGHTS)
        query = match_clip(clip, ClipGroundTruth.from_masks(masks), REF_YOUTUBE_VOS_WEIGHTS)
        assert matches.queries.tolist() == [query]


def test_frames_without_objects_and_with_more_objects_than_queries() -> None:
    clip = random_prediction(11, frames=1, queries=2)
    frame = FramePrediction(clip.scores[0], clip.boxes[0], clip.masks[0])
    nothing = match_objects(frame, FrameTargets.from_masks(rectangles()), REF_YOUTUBE_VOS_WEIGHTS)
    assert nothing.queries.shape == nothing.objects.shape == (0,)
    crowd = FrameTargets.from_masks(rectangles((0, 0, 9, 9), (9, 9, 20, 20), (20, 20, 40, 32)))
    matches = match_objects(frame, crowd, REF_YOUTUBE_VOS_WEIGHTS)
    assert sorted(matches.queries.tolist()) == [0, 1]
    assert len(set(matches.objects.tolist())) == 2


def test_assignment_minimises_the_sum_and_not_each_cost() -> None:
    matches = assign_queries(torch.tensor([[1.0, 2.0], [1.5, 9.0], [7.0, 7.0]]))
    assert dict(zip(matches.queries.tolist(), matches.objects.tolist(), strict=True)) == {
        0: 1,
        1: 0,
    }


def test_targets_are_sampled_at_stride_4_from_offset_2() -> None:
    masks = torch.zeros(2, 32, 40, dtype=torch.bool)
    masks[0, 2, 6] = masks[1, 31, 39] = True
    assert sample_masks(masks, 8, 10).nonzero().tolist() == [[0, 0, 1]]


def test_image_smaller_than_the_padded_prediction_counts_as_background_beyond() -> None:
    masks = torch.ones(1, 30, 33, dtype=torch.bool)
    sampled = sample_masks(masks, 9, 10)
    assert sampled[0, :7, :8].all()
    assert int(sampled.sum()) == 7 * 8
    with pytest.raises(ValueError, match="do not fit"):
        sample_masks(masks, 7, 10)


def test_truth_of_masks_has_their_tight_boxes() -> None:
    truth = ClipGroundTruth.from_masks(rectangles((10, 8, 30, 24), None))
    assert truth.boxes.tolist() == [[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]
    assert truth.valid.tolist() == [True, False]
    with pytest.raises(ValueError, match="need boxes"):
        replace(truth, boxes=truth.boxes[:1])


def test_losses_and_match_do_not_depend_on_autocast(
    recorded_final: ClipPrediction, recorded_truth: ClipGroundTruth
) -> None:
    outputs = [single_layer(recorded_final)]
    plain = clip_losses(outputs, [recorded_truth], REF_YOUTUBE_VOS_WEIGHTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = clip_losses(outputs, [recorded_truth], REF_YOUTUBE_VOS_WEIGHTS)
    assert mixed.matched == plain.matched
    assert mixed.total.item() == pytest.approx(plain.total.item(), rel=1e-6)
