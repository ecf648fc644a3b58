# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The recipe of the small model: supervision, stages, and a loop that resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from painted_world import EXPRESSIONS, SIZE, PaintedWorld, clip
from torch import Tensor, nn

import referdino_core as rd
from referdino_core.boxes import boxes_of_masks
from referdino_core.building import tokenizer_of
from referdino_core.models import vocabulary_file
from referdino_core.network.tokenizer import SPECIAL_WORDS
from referdino_core.training.attribute_stage import (
    AttributeHeads,
    attribute_losses,
    draw_attributes,
)
from referdino_core.training.attributes import token_labels
from referdino_core.training.augmentation import mirrored_sentence
from referdino_core.training.batches import draw_frames, static_referents
from referdino_core.training.frame_stage import (
    MOTIONS,
    OPEN_MOTION,
    frame_losses,
    most_positives,
    motion_loss,
    said_motion,
)
from referdino_core.training.grounded_clips import ground_clip
from referdino_core.training.recipe import (
    ATTRIBUTES,
    FRAMES,
    SLOTS,
    TEMPORAL,
    Recipe,
    learn_attributes,
    learn_frames,
    learn_time,
)
from referdino_core.training.stages import StagePlan, rate_factor, run_stage
from referdino_core.training.supervision import (
    CENTRAL,
    assign,
    best_covered,
    box_overlaps,
    centrality,
    mask_loss,
    score_loss,
    token_loss,
)
from referdino_core.training.temporal_stage import (
    DISPLACEMENTS,
    displacement_loss,
    draw_windows,
    stack_items,
    temporal_losses,
)
from referdino_core.training.word_alignment import let_alike_attend
from referdino_core.world import VOCABULARY, Expression


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    torch.manual_seed(0)
    return rd.build("nano", num_queries=20, image_short_side=SIZE[0])


def assert_learns(losses: dict[str, Tensor], module: nn.Module) -> None:
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total) and total > 0
    module.zero_grad()
    total.backward()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_mirroring_swaps_the_sides_in_a_sentence() -> None:
    assert (
        mirrored_sentence("the leftmost ball left of the box")
        == "the rightmost ball right of the box"
    )


def test_a_single_frame_leaves_motion_open() -> None:
    assert [static_referents(expression) for expression in EXPRESSIONS] == [(1,), (2,), (1, 2), ()]
    unmoved = Expression("the ball moving left", "absent", None, (2,))
    assert static_referents(unmoved) == (2,)


def test_overlaps_of_boxes() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.6, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]])
    expected = torch.tensor([1.0, 1 / 3, 0.0])
    torch.testing.assert_close(box_overlaps(boxes, boxes[:, :1])[0, :, 0], expected)


def test_every_object_has_a_positive_and_none_stands_where_nothing_exists() -> None:
    boxes = torch.rand(3, 10, 4) * 0.4 + 0.2
    truth = torch.rand(3, 2, 4) * 0.4 + 0.2
    exists = torch.tensor([[True, True], [True, False], [False, False]])
    assignment = assign(boxes, truth, exists)
    assert assignment.positive.any(1).tolist() == [True, True, False]
    assert (assignment.score[~assignment.positive] == 0).all()
    assert (assignment.score[assignment.positive] > 0).all()
    for row in range(2):
        assert assignment.positive[row, assignment.best[row, 0]]


def test_of_many_queries_on_one_object_the_best_are_positive() -> None:
    centres = torch.tensor([0.50, 0.52, 0.48, 0.54, 0.9])
    boxes = torch.full((1, 5, 4), 0.4)
    boxes[0, :, 0] = centres
    truth, exists = torch.tensor([[[0.5, 0.4, 0.4, 0.4]]]), torch.ones(1, 1, dtype=torch.bool)
    assert assign(boxes, truth, exists).positive.tolist() == [[True, True, True, True, False]]
    few = assign(boxes, truth, exists, most=1)
    assert few.positive.tolist() == [[True, False, False, False, False]]
    assert few.spare.tolist() == [[False, True, True, True, False]]
    logits = torch.full((1, 5), 2.0)
    spared = score_loss(logits, few.score, few.score.sum(), torch.where(few.spare, 0.1, 1.0))
    assert spared < score_loss(logits, few.score, few.score.sum())


def test_positives_grow_fewer_in_the_first_half_of_the_stage() -> None:
    numbers = [most_positives(step / 100) for step in range(100)]
    assert numbers[0] == 8 and set(numbers[50:]) == {2}
    assert numbers == sorted(numbers, reverse=True)


def test_token_loss_is_least_when_only_tokens_inside_score() -> None:
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    masks[..., 16:32, 16:32] = True
    shapes = ((8, 8), (4, 4), (2, 2), (1, 1))
    right = torch.full((1, 85), -8.0)
    right[0, [18, 19, 26, 27, 64 + 5]] = 8.0
    boxes = boxes_of_masks(masks)
    assert token_loss(right, masks, boxes, shapes) < 0.01 < token_loss(-right, masks, boxes, shapes)


def test_tokens_near_the_border_of_a_large_object_stand_for_nothing() -> None:
    distance = centrality(torch.tensor([[[0.5, 0.5, 0.75, 0.75]]]), (8, 8))[0, 0]
    assert (distance < CENTRAL).sum() == 16 and distance[3:5, 3:5].max() < 0.12
    tiny = centrality(torch.tensor([[[0.56, 0.56, 0.01, 0.01]]]), (8, 8))[0, 0]
    assert tiny[4, 4] < CENTRAL, "a small object keeps its cell"


@pytest.mark.parametrize("corner", [(28, 28), (25, 30), (32, 34)])
def test_an_object_smaller_than_a_token_has_one_all_the_same(corner: tuple[int, int]) -> None:
    top, left = corner
    masks = torch.zeros(1, 2, 64, 64, dtype=torch.bool)
    masks[0, 0, top : top + 6, left : left + 6] = True
    shapes = ((8, 8), (4, 4), (2, 2), (1, 1))
    boxes = boxes_of_masks(masks)
    shares = F.interpolate(masks.float(), size=(8, 8), mode="area")
    best = best_covered(shares, centrality(boxes, (8, 8)))
    assert best.sum((2, 3)).tolist() == [[1, 0]], "the second object is not there"
    assert shares[best].item() == shares.max()
    scores = torch.full((1, 85), -8.0)
    none = token_loss(scores, masks, boxes, shapes)
    scores[0, :64][best[0, 0].flatten()] = 8.0
    assert token_loss(scores, masks, boxes, shapes) < 0.01 < none
    labels = token_labels(masks[:, 0].long(), shapes)
    assert labels[0, :64][best[0, 0].flatten()].tolist() == [1]


def test_a_token_is_labelled_by_what_its_centre_shows() -> None:
    segmentation = torch.zeros(1, 64, 64, dtype=torch.int64)
    segmentation[:, 12:44, 12:44] = 1
    labels = token_labels(segmentation, ((8, 8), (4, 4)))
    fine, coarse = labels[0, :64].view(8, 8), labels[0, 64:].view(4, 4)
    inside = torch.zeros(8, 8, dtype=torch.int64)
    inside[1:5, 1:5] = 1  # centres at 12, 20, 28 and 36
    assert torch.equal(fine, inside)
    assert coarse[1:3, 1:3].all() and coarse.sum() == 4  # centres at 24 and 40


def test_mask_loss_falls_with_the_right_mask() -> None:
    truth = torch.zeros(1, 32, 32, dtype=torch.bool)
    truth[:, 8:24, 8:24] = True
    logits = torch.where(truth[:, 2::4, 2::4], 8.0, -8.0)
    assert mask_loss(logits, truth) < 1 < mask_loss(-logits, truth)


def test_attribute_stage_learns(model: rd.ReferDINO) -> None:
    batch = draw_attributes(PaintedWorld(), 2, np.random.default_rng(0))  # type: ignore[arg-type]
    assert batch.attributes[:, 0].eq(-1).all(), "row 0 is the background"
    heads = AttributeHeads(model.configuration.width)
    assert_learns(attribute_losses(model.image_encoder, heads, batch), model.image_encoder)


def test_frame_stage_learns(model: rd.ReferDINO) -> None:
    batch = draw_frames(PaintedWorld(), 2, 3, np.random.default_rng(0))  # type: ignore[arg-type]
    assert batch.masks.shape[0] == len(batch.sentences) == 6
    tokenizer = tokenizer_of(model.configuration)
    head = nn.Linear(model.configuration.width, len(MOTIONS))
    losses = frame_losses(model, head, tokenizer, batch)
    assert_learns(losses, model)


@pytest.mark.parametrize(
    ("sentence", "motion"),
    [
        ("the ball on the left", None),
        ("the ball standing still", "still"),
        ("a thing that is moving", "moving"),
        ("the box going left", "left"),
        ("the box moving to the right", "right"),
    ],
)
def test_motion_class_of_a_sentence(sentence: str, motion: str | None) -> None:
    assert said_motion(sentence) == (OPEN_MOTION if motion is None else MOTIONS.index(motion))


def test_the_fused_text_learns_to_tell_motions_apart() -> None:
    torch.manual_seed(0)
    head, features = nn.Linear(8, len(MOTIONS)), torch.randn(3, 8)
    sentences = ("the ball moving left", "the ball moving right", "the ball")
    told = torch.zeros(3, 8)
    with torch.no_grad():
        told[0], told[1] = head.weight[2] - head.weight[3], head.weight[3] - head.weight[2]
    assert motion_loss(head, told, sentences) < motion_loss(head, features, sentences)
    assert motion_loss(head, features[2:], sentences[2:]) == 0


def test_temporal_stage_learns_the_readout_alone(model: rd.ReferDINO) -> None:
    generator = np.random.default_rng(0)
    items = ground_clip(model, tokenizer_of(model.configuration), clip(), generator)
    assert len(items) == 3
    assert all(item.queries.shape[0] == 8 for item in items)
    head = nn.Linear(model.configuration.width, DISPLACEMENTS)
    losses = temporal_losses(model, head, items, generator)
    assert "score" in losses
    assert_learns(losses, model.readout)


def test_windows_are_of_one_length_and_cut_in_the_order_of_time(model: rd.ReferDINO) -> None:
    generator = np.random.default_rng(0)
    items = ground_clip(model, tokenizer_of(model.configuration), clip(), generator)
    lengths = set()
    for _ in range(40):
        windows = draw_windows(items, generator)
        assert len({len(window) for window in windows}) == 1
        assert all((np.diff(window) > 0).all() and window[0] >= 0 for window in windows)
        lengths.add(len(windows[0]))
    assert lengths == set(range(1, 9))
    batch = stack_items(items, [np.array([1, 4, 7])] * len(items))
    torch.testing.assert_close(batch.window.ages, torch.tensor([[0.6, 0.3, 0.0]] * len(items)))
    for row, item in enumerate(items):
        torch.testing.assert_close(batch.window.queries[row, 1], item.queries[4].float())
        assert (batch.scores[row] <= item.overlaps[[1, 4, 7]]).all()
        assert batch.window.text_padding[row].logical_not().sum() == item.text.shape[1]


def test_displacement_is_asked_of_slots_that_do_not_hop() -> None:
    head = nn.Linear(3, DISPLACEMENTS)
    nn.init.eye_(head.weight), nn.init.zeros_(head.bias)
    references = torch.full((1, 3, 2, 4), 0.5)
    references[0, :, 0, 0] = torch.tensor([0.3, 0.35, 0.4])
    references[0, :, 1, 0] = torch.tensor([0.1, 0.9, 0.1])
    known = torch.tensor([[[0.8, 0.0, 0.8], [5.0, 5.0, 5.0]]])
    assert displacement_loss(head, known, references) < 1e-6
    assert displacement_loss(head, -known, references) > 0.1
    assert displacement_loss(head, known, references[:, :1]) == 0


def test_a_plural_sentence_means_every_slot_on_one_of_its_objects(model: rd.ReferDINO) -> None:
    plural = Expression("all objects", "plural", 1, (1, 2), (2,))
    both = replace(clip(), expressions=(plural,))
    first, second = (
        replace(clip(), expressions=(Expression("all objects", "attribute", number, (number,)),))
        for number in (1, 2)
    )
    tokenizer = tokenizer_of(model.configuration)
    overlaps = [
        ground_clip(model, tokenizer, one, np.random.default_rng(2))[0].overlaps
        for one in (both, first, second)
    ]
    torch.testing.assert_close(overlaps[0], torch.maximum(overlaps[1], overlaps[2]))
    (item,) = ground_clip(model, tokenizer, both, np.random.default_rng(2))
    assert not item.valid.any() and not len(item.keyframes)


def test_a_sentence_that_is_true_of_nothing_has_no_score_to_reach(model: rd.ReferDINO) -> None:
    generator = np.random.default_rng(1)
    nothing = replace(clip(), expressions=(EXPRESSIONS[-1],))
    (item,) = ground_clip(model, tokenizer_of(model.configuration), nothing, generator)
    assert not item.valid.any() and not item.overlaps.any() and not item.masks.any()


def test_words_keep_their_numbers_from_the_bundled_weights_on() -> None:
    bundled = vocabulary_file("nano").read_text().split()
    words = [*SPECIAL_WORDS, *VOCABULARY]
    assert bundled == words[: len(bundled)]
    assert len(words) <= rd.build("nano").configuration.bert.vocabulary


def test_learning_rate_warms_up_and_falls() -> None:
    plan = StagePlan("x", 100, 1.0, 1.0, 1.0, warm_up=10)
    factors = [rate_factor(plan, step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == pytest.approx(1.0)
    assert factors[9:] == sorted(factors[9:], reverse=True) and factors[-1] < 0.03


def test_an_interrupted_stage_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    plan = StagePlan("sum", 30, 0.01, 0.01, 0.01, save_every=5)

    def run(folder: Path, stop_at: int | None) -> Tensor:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 32), nn.Linear(32, 32), nn.Linear(32, 1))

        def losses(generator: np.random.Generator, progress: float) -> dict[str, Tensor]:
            if stop_at is not None and len(steps) == stop_at:
                raise KeyboardInterrupt
            steps.append(1)
            assert 0 <= progress < 1
            inputs = torch.from_numpy(generator.normal(size=(8, 3)).astype(np.float32))
            return {"square": (network(inputs) - inputs.sum(1, keepdim=True)).square().mean()}

        steps: list[int] = []
        folder.mkdir(exist_ok=True)
        run_stage(plan, network, losses, folder)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", 17)
    torch.testing.assert_close(run(tmp_path / "broken", None), whole)
    curve = [json.loads(line) for line in (tmp_path / "whole" / "sum.jsonl").open()]
    assert [row["step"] for row in curve] == [10, 20, 30]
    assert curve[-1]["square"] < curve[0]["square"]
    resumed = [json.loads(line) for line in (tmp_path / "broken" / "sum.jsonl").open()]
    assert [row["step"] for row in resumed] == [10, 20, 30]


RECORDED = {
    "attributes": {"total": 9.8736, "objectness": 3.0861, "shape": 1.4034, "box": 3.4857},
    "frames": {"total": 40.235, "words": 1.2588, "proposals": 5.0361, "masks": 3.6632},
    "slots": {"total": 31.0097, "decoder 2": 4.8341, "readout": 4.1558, "masks": 1.6332},
    "temporal": {"total": 5.5945, "score": 1.0314, "displacement": 3.973},
}
"""Mean losses of ten steps of every stage."""


@pytest.mark.slow
def test_stages_learn_as_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("referdino_core.training.stages.bfloat16_pays", lambda: False)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = rd.build("nano", num_queries=20, image_short_side=SIZE[0])
    tokenizer, world = tokenizer_of(network.configuration), PaintedWorld()

    plans = {
        plan.name: replace(plan, iterations=10, warm_up=4, save_every=5)
        for plan in (ATTRIBUTES, FRAMES, SLOTS, TEMPORAL)
    }
    tiny = Recipe(attribute_images=2, frame_images=2, temporal_items=4, **plans)  # type: ignore[arg-type]
    learn_attributes(network, world, tiny, tmp_path)  # type: ignore[arg-type]
    let_alike_attend(network)
    learn_frames(network, world, tokenizer, tiny, tmp_path)  # type: ignore[arg-type]
    drawn = (np.random.default_rng(seed) for seed in range(2))
    grounded = [item for one in drawn for item in ground_clip(network, tokenizer, clip(), one)]
    learn_time(network, grounded, tiny, tmp_path)
    for name, expected in RECORDED.items():
        (line,) = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        found = json.loads(line)
        assert {key: found[key] for key in expected} == pytest.approx(expected, rel=2e-3), name
