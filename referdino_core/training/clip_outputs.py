# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The forward pass for training, with predictions of every decoder layer and of the proposals."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.predictions import ClipOutputs, ClipPrediction, VideoFeatures
from referdino_core.network.referdino import ReferDINO, frame_stamps
from referdino_core.network.temporal_decoder import mean_token


def clip_outputs(
    model: ReferDINO, pixels: Tensor, input_ids: Tensor, stamps: Sequence[float] | None = None
) -> ClipOutputs:
    """All supervised predictions of one clip.

    The video features are the means over the frames of the temporal decoder's queries, and of the
    fused text's tokens. In SOC, queries of its own collect an object's features from all frames;
    here the temporal decoder does, which hands them back frame by frame.

    Args:
        pixels: (T, 3, H, W) float32, normalised.
        input_ids: (L,) int64 tokens of the sentence, special tokens included.
        stamps: seconds of each frame; by default frames are 0.1 s apart.
    """
    text = model.text_encoder([input_ids]).expand(len(pixels))
    grounding = model.grounder(model.image_encoder(pixels), text)
    stamps = frame_stamps(pixels, stamps)
    last = len(grounding.layers) - 1
    auxiliary = tuple(model.track(grounding, layer, stamps) for layer in range(last))
    window = model.align(grounding, last, stamps)
    history = model.readout.history(window)[0]
    proposals = grounding.proposals
    embeddings = model.readout.mask_embeddings(
        proposals.features,
        proposals.anchors,
        grounding.text,
        grounding.text_padding,
        grounding.masks,
    )
    masks = decode_masks(embeddings, grounding.masks.features)
    return ClipOutputs(
        final=model.predict(history, window.references[0], grounding),
        auxiliary=auxiliary,
        proposals=ClipPrediction(proposals.scores, proposals.boxes, masks),
        video=VideoFeatures(
            queries=history.mean(0),
            sentence=mean_token(grounding.text[:, None], grounding.text_padding).mean((0, 1)),
        ),
    )
