# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC's matching and losses; test/peers/soc/test_goldens.py compares them with recorded ones."""

from __future__ import annotations

import torch

from referdino_core.peers.soc.soc import LayerOutputs
from referdino_core.training.soc_losses import SOCTargets, match_queries, soc_losses


def random_outputs(classes: int, requires_grad: bool = False) -> LayerOutputs:
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw).requires_grad_(requires_grad)

    boxes = random(2, 3, 5, 4).sigmoid()
    return LayerOutputs(random(2, 3, 5, classes), boxes, random(2, 3, 5, 6, 8), random(2, 5, 16))


def test_the_category_of_the_object_decides_which_scores_count() -> None:
    outputs = random_outputs(classes=7)
    masks = torch.zeros(2, 3, 24, 32, dtype=torch.bool)
    masks[:, :, 4:20, 6:20] = True
    boxes = torch.tensor([0.4, 0.5, 0.4, 0.6]).expand(2, 3, 4)
    visible = torch.ones(2, 3, dtype=torch.bool)
    categories = torch.tensor([2, 6])
    outputs.scores[0, :, 3, 2] = outputs.scores[1, :, 1, 6] = 50.0
    targets = SOCTargets(masks, boxes, visible, categories)
    assert match_queries(outputs, targets).tolist() == [3, 1]
    (losses,) = soc_losses([outputs], targets, torch.zeros(2, 16))
    outputs.scores[0, :, 3, 2] = outputs.scores[1, :, 1, 6] = 20.0
    (same,) = soc_losses([outputs], targets, torch.zeros(2, 16))
    torch.testing.assert_close(losses.classification, same.classification)


def test_an_object_out_of_view_still_counts_boxes_and_masks() -> None:
    outputs = random_outputs(classes=1, requires_grad=True)
    nothing = SOCTargets(
        torch.zeros(2, 3, 24, 32, dtype=torch.bool),
        torch.zeros(2, 3, 4),
        torch.zeros(2, 3, dtype=torch.bool),
    )
    (losses,) = soc_losses([outputs], nothing, torch.ones(2, 16))
    total = losses.weighted_sum()
    assert torch.isfinite(total) and losses.l1 > 0 and losses.giou > 0
    total.backward()
    assert outputs.masks.grad is not None and torch.isfinite(outputs.masks.grad).all()
    assert outputs.video_queries.grad is not None and outputs.video_queries.grad.any()


def test_sums_are_divided_by_the_frames_of_all_processes() -> None:
    outputs = random_outputs(classes=1)
    masks = torch.ones(2, 3, 24, 32, dtype=torch.bool)
    targets = SOCTargets(masks, torch.rand(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    (own,) = soc_losses([outputs], targets, torch.ones(2, 16))
    (shared,) = soc_losses([outputs], targets, torch.ones(2, 16), frame_count=12)
    torch.testing.assert_close(shared.mask * 2, own.mask)
    torch.testing.assert_close(shared.contrastive, own.contrastive)
