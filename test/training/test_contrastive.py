# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The contrastive loss between video queries and sentences."""

from __future__ import annotations

import pytest
import soc_golden
import torch

from referdino_core.training.contrastive import contrastive_loss


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
