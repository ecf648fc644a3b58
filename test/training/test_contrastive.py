# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The contrastive loss between video queries and sentences."""

from __future__ import annotations

import pytest
import soc_golden
import torch

import referdino_core as rd
from referdino_core.training.clip_outputs import clip_outputs
from referdino_core.training.contrastive import contrastive_loss
from referdino_core.training.criterion import clip_losses
from referdino_core.training.loss_weights import REF_YOUTUBE_VOS_WEIGHTS
from referdino_core.training.targets import ClipGroundTruth


@pytest.mark.parametrize("batch", (1, 3))
def test_loss_and_gradients_are_the_recorded_ones(batch: int) -> None:
    golden = soc_golden.load("contrastive")
    video, text, matched = soc_golden.contrastive_pair(batch)
    assert matched.tolist() == golden[f"matched_b{batch}"].tolist()
    video.requires_grad_()
    text.requires_grad_()
    loss = contrastive_loss(video, text, matched)
    loss.backward()
    torch.testing.assert_close(loss, golden[f"loss_b{batch}"], rtol=1e-5, atol=0)
    assert video.grad is not None and text.grad is not None
    expected = golden[f"grad_video_b{batch}_sub"]
    torch.testing.assert_close(video.grad[..., ::8], expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(text.grad, golden[f"grad_text_b{batch}"], rtol=1e-4, atol=1e-7)


def test_other_clips_are_no_negatives() -> None:
    video, text, matched = soc_golden.contrastive_pair(3)
    alone = [
        contrastive_loss(video[one, None], text[one, None], matched[one, None]) for one in range(3)
    ]
    torch.testing.assert_close(contrastive_loss(video, text, matched), torch.stack(alone).mean())


def test_in_the_network_it_reaches_the_readout_and_changes_nothing_when_off() -> None:
    torch.manual_seed(0)
    model = rd.build("nano", num_queries=20)
    outputs = clip_outputs(model, torch.rand(2, 3, 64, 96), torch.tensor([2, 6, 8, 16, 4, 3]))
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[:, 16:40, 20:50] = True
    truths = [ClipGroundTruth.from_masks(masks)]
    off = clip_losses([outputs], truths, REF_YOUTUBE_VOS_WEIGHTS)
    on = clip_losses([outputs], truths, REF_YOUTUBE_VOS_WEIGHTS, contrastive_weight=0.5)
    assert off.contrastive is None and on.contrastive is not None
    torch.testing.assert_close(on.total, off.total + 0.5 * on.contrastive)
    for name, term in vars(off.layers["final"]).items():
        assert torch.equal(vars(on.layers["final"])[name], term), name
    on.contrastive.backward()
    decoder = model.readout.temporal_decoder
    assert decoder is not None
    gradients = [p.grad for p in decoder.parameters() if p.grad is not None]
    assert gradients and any(bool(gradient.abs().sum() > 0) for gradient in gradients)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    nothing = clip_losses([outputs], [None], REF_YOUTUBE_VOS_WEIGHTS, contrastive_weight=0.5)
    assert nothing.contrastive == 0
