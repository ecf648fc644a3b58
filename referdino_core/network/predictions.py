# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions of the network for a frame, for a clip, and for every layer in training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FramePrediction:
    """Prediction for one frame with Q queries.

    Attributes:
        scores: (Q,) logits that the query is what the sentence refers to.
        boxes: (Q, 4) centre x, centre y, width, height, each 0 to 1 of the image.
        masks: (Q, h, w) logits at stride 4.
    """

    scores: Tensor
    boxes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class ClipPrediction:
    """Prediction for T frames with Q queries; query q is the same object slot in all frames.

    Attributes:
        scores: (T, Q) logits that the query is what the sentence refers to.
        boxes: (T, Q, 4) centre x, centre y, width, height, each 0 to 1 of the image.
        masks: (T, Q, h, w) logits at stride 4.
    """

    scores: Tensor
    boxes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class VideoFeatures:
    """Features of a whole clip.

    Attributes:
        queries: (Q, d), a slot each, in the order of the final prediction's.
        sentence: (d,).
    """

    queries: Tensor
    sentence: Tensor


@dataclass(frozen=True)
class ClipOutputs:
    """All supervised predictions of one clip; layers may differ in their number of queries.

    Attributes:
        final: the last decoder layer, which is also the prediction at inference.
        auxiliary: the decoder layers before it, in order.
        proposals: the image tokens that query selection picked, before the decoder. Their masks
            come from the mask decoder with the tokens' features as queries and, as references,
            the proposal boxes before `enc_out_bbox_embed` refined them.
        video: features of the final layer's slots and of the sentence over the whole clip.
    """

    final: ClipPrediction
    auxiliary: tuple[ClipPrediction, ...]
    proposals: ClipPrediction
    video: VideoFeatures | None = None

    @property
    def layers(self) -> dict[str, ClipPrediction]:
        """Every prediction by name: `final`, `decoder_0` …, `proposals`."""
        decoder = {f"decoder_{index}": layer for index, layer in enumerate(self.auxiliary)}
        return {"final": self.final, **decoder, "proposals": self.proposals}
