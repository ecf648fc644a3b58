# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC: the whole network, applied to whole clips; it is not causal.

It is written for inference and for computing losses: there is no dropout or stochastic depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from referdino_core.errors import ImageError, ReferDINOError
from referdino_core.network.clip_inputs import check_pixels, checked_ids
from referdino_core.network.grounder import token_maps
from referdino_core.network.image_geometry import resize_padding
from referdino_core.network.pixel_decoder import PixelDecoder
from referdino_core.network.position_encoding import image_position_embedding
from referdino_core.network.predictions import ClipPrediction
from referdino_core.peers.soc.configuration import SOCConfiguration
from referdino_core.peers.soc.deformable_transformer import DeformableTransformer, Levels
from referdino_core.peers.soc.fusion import CrossModalFusion
from referdino_core.peers.soc.mask_head import DynamicMaskHead
from referdino_core.peers.soc.semantic_cluster import SemanticCluster
from referdino_core.peers.soc.text_encoder import (
    PADDING_ID,
    SentenceEncoder,
    SentenceFeatures,
    mean_of_tokens,
)
from referdino_core.peers.soc.video_swin import VideoSwin

FRAMES_AT_ONCE = 4
"""Batch size of the parts that process single frames; bounds the memory that long clips need."""
TEXT_LEVEL = 2
"""Level (stride 32) that the text attends to for the contrastive loss."""

Answer = Literal["first", "last"]


@dataclass(frozen=True)
class SOCPrediction(ClipPrediction):
    """Prediction for T frames with Q queries; query q is the same object in all frames.

    Attributes:
        chosen: the query with the highest score, which answers in every frame.
    """

    chosen: int


@dataclass(frozen=True)
class ClipFeatures:
    """Features of B clips of T frames, each with a sentence, before the heads.

    Attributes:
        text: the sentences.
        levels: projected maps of the B * T frames at strides 8 to 64, before fusion.
        queries: (layers, B, T, Q, d) object queries after every decoder layer.
        references: points (B, T, Q, 2) that enter the first decoder layer, then boxes
            (B, T, Q, 4) that leave each layer, in [0, 1] of the non-padded frame.
        mask_features: (B, T, channels, h, w) at stride 4.
        sizes: (B, 2) float, width and height of the non-padded frames in pixels.
    """

    text: SentenceFeatures
    levels: Levels
    queries: Tensor
    references: tuple[Tensor, ...]
    mask_features: Tensor
    sizes: Tensor


@dataclass(frozen=True)
class LayerOutputs:
    """Outputs of the heads of one decoder layer for B clips.

    Attributes:
        scores: (B, T, Q, classes) logits.
        boxes: (B, T, Q, 4) centre x, y, width, height, in [0, 1] of the non-padded frame.
        masks: (B, T, Q, h, w) logits at stride 4.
        video_queries: (B, Q, d) added to the queries of every frame.
    """

    scores: Tensor
    boxes: Tensor
    masks: Tensor
    video_queries: Tensor


class SOC(nn.Module):
    """Semantic-Assisted Object Cluster for referring video object segmentation."""

    def __init__(self, configuration: SOCConfiguration) -> None:
        super().__init__()
        c = self.configuration = configuration
        channels = c.swin.channels
        self.backbone = VideoSwin(c.swin)
        self.text_encoder = SentenceEncoder(c)
        projected: list[nn.Module] = [nn.Conv2d(count, c.width, 1) for count in channels[1:]]
        projected.append(nn.Conv2d(channels[-1], c.width, 3, stride=2, padding=1))
        self.input_projections = nn.ModuleList(
            nn.Sequential(convolution, nn.GroupNorm(32, c.width)) for convolution in projected
        )
        self.image_fusion = CrossModalFusion(c.width, c.heads)
        self.text_fusion = CrossModalFusion(c.width, c.heads)
        self.transformer = DeformableTransformer(c)
        self.cluster = SemanticCluster(c)
        self.pixel_decoder = PixelDecoder(c.width, channels[0], c.mask_channels)
        self.mask_head = DynamicMaskHead(c.width, c.mask_channels)
        self.class_heads = class_heads(c)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.transformer.level_embed.device

    def set_classes(self, classes: int) -> None:
        """Replace the class heads by randomly initialised ones with this number of classes."""
        self.configuration = replace(self.configuration, classes=classes)
        self.class_heads = class_heads(self.configuration).to(self.transformer.level_embed)

    @torch.no_grad()
    def segment(
        self,
        pixels: Tensor,
        input_ids: Tensor,
        answer: Answer = "first",
        only_frame: int | None = None,
    ) -> SOCPrediction:
        """Whole-clip inference as published.

        Args:
            pixels: (T, 3, H, W) float32 frames, normalised with ImageNet's mean and deviation.
            input_ids: (L,) or (1, L) int64 tokens of the sentence, <s> and </s> included.
            answer: the decoder layer whose heads predict. "first" is what the published evaluation
                computes, with video queries of the last layer; "last" is what the paper describes.
            only_frame: index of the only evaluated frame (A2D- and JHMDB-Sentences), which alone
                is used after the backbone; by default all frames are.

        Returns:
            Scores (T, Q), boxes (T, Q, 4), masks (T, Q, h, w) and the chosen query; T is 1 where
            one frame is only_frame.

        Raises:
            ReferDINOError: there is no such answer; an ImageError for pixels and a CommandError for
                tokens that cannot be used.
        """
        layers = {"first": 0, "last": len(self.class_heads) - 1}
        if answer not in layers:
            raise ReferDINOError(f"There is no answer {answer!r}; choose first or last.")
        check_pixels(pixels)
        if only_frame is not None and not 0 <= only_frame < len(pixels):
            raise ImageError(f"The clip has frames 0 to {len(pixels) - 1}, not {only_frame}.")
        sizes = self.configuration.roberta
        ids = checked_ids(input_ids, sizes.vocabulary, sizes.positions - 2, PADDING_ID)
        features = self(
            pixels.to(self.device)[None], ids.to(self.device)[None], only_frame=only_frame
        )
        video_queries = self.cluster(features.queries[-1], features.text.sentence)
        outputs = self.outputs(features, layers[answer], video_queries)
        scores, chosen = choose_query(outputs.scores[0])
        return SOCPrediction(scores, outputs.boxes[0], outputs.masks[0], chosen)

    def every_layer(self, features: ClipFeatures) -> tuple[LayerOutputs, ...]:
        """Outputs that are supervised in training: every layer with its own video queries."""
        return tuple(
            self.outputs(features, layer, self.cluster(queries, features.text.sentence))
            for layer, queries in enumerate(features.queries)
        )

    def forward(
        self,
        pixels: Tensor,
        input_ids: Tensor,
        padding: Tensor | None = None,
        only_frame: int | None = None,
    ) -> ClipFeatures:
        """Encode clips and decode the queries of their frames.

        Args:
            pixels: (B, T, 3, H, W) float, normalised; zeros on padding.
            input_ids: (B, L) int64 tokens, padded with 1.
            padding: (B, H, W) bool, True on padding, the same in all frames of a clip; None where
                there is none.
            only_frame: index of the one frame of each clip that is kept after the backbone; by
                default all are.
        """
        text = self.text_encoder(input_ids, input_ids == PADDING_ID)
        if padding is None:
            padding = pixels.new_zeros((len(pixels), *pixels.shape[-2:]), dtype=torch.bool)
        maps = self.backbone(pixels)
        if only_frame is not None:
            maps = tuple(one[:, only_frame, None] for one in maps)
        frames = maps[0].shape[1]
        levels = self.project(maps, padding)
        fused = self.fuse(levels, text, frames)
        queries, references, mask_features = self.decode(fused, maps[0].flatten(0, 1))
        clips = (len(pixels), frames)
        inside = ~padding
        return ClipFeatures(
            text,
            levels,
            queries.unflatten(1, clips),
            tuple(one.unflatten(0, clips) for one in references),
            mask_features.unflatten(0, clips),
            torch.stack([inside[:, 0].sum(1), inside[:, :, 0].sum(1)], dim=1).to(pixels.dtype),
        )

    def project(self, maps: tuple[Tensor, ...], padding: Tensor) -> Levels:
        """Project (B, T, C, h, w) backbone maps to the levels of B * T frames."""
        frames = maps[0].shape[1]
        coarser = [one.flatten(0, 1) for one in (*maps[1:], maps[-1])]
        projected = tuple(
            project(one) for project, one in zip(self.input_projections, coarser, strict=True)
        )
        masks = [resize_padding(padding, (one.shape[2], one.shape[3])) for one in projected]
        positions = [
            image_position_embedding(mask, self.configuration.width, 10000.0, offset=0.5)
            for mask in masks
        ]
        return Levels(
            projected,
            tuple(of_every_frame(one.permute(0, 3, 1, 2), frames) for one in positions),
            tuple(of_every_frame(one, frames) for one in masks),
        )

    def fuse(self, levels: Levels, text: SentenceFeatures, frames: int) -> Levels:
        """Fuse levels with the sentences of their clips."""
        fused = []
        for one in levels.maps:
            tokens = tokens_of_clips(one, frames)
            tokens = self.image_fusion(tokens, text.tokens, text.positions, text.padding)
            fused.append(
                tokens.unflatten(1, (frames, -1)).flatten(0, 1).transpose(1, 2).view(one.shape)
            )
        return Levels(tuple(fused), levels.positions, levels.padding)

    def fuse_text(self, features: ClipFeatures, level: int = TEXT_LEVEL) -> Tensor:
        """(B, L, d) tokens of the sentences, fused with a level of their clips."""
        text, levels, frames = features.text, features.levels, features.queries.shape[2]
        padding = levels.padding[level].flatten(1).unflatten(0, (-1, frames)).flatten(1)
        tokens = tokens_of_clips(levels.maps[level], frames)
        positions = tokens_of_clips(levels.positions[level], frames)
        return self.text_fusion(text.tokens, tokens, positions, padding)

    def sentence_of_clip(self, features: ClipFeatures) -> Tensor:
        """(B, d) mean of the fused tokens of the sentences, for the contrastive loss."""
        return mean_of_tokens(self.fuse_text(features), features.text.padding)

    def decode(self, levels: Levels, finest: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Queries, references and mask features of N frames, computed a few frames at a time."""
        queries, references, mask_features = [], [], []
        for first in range(0, len(finest), FRAMES_AT_ONCE):
            part = slice(first, first + FRAMES_AT_ONCE)
            decoded = self.transformer(levels.rows(part))
            queries.append(decoded.queries)
            references.append(decoded.references)
            maps = token_maps(decoded.memory, levels.shapes)
            mask_features.append(self.pixel_decoder(maps, finest[part]))
        return (
            torch.cat(queries, dim=1),
            tuple(torch.cat(one) for one in zip(*references, strict=True)),
            torch.cat(mask_features),
        )

    def outputs(self, features: ClipFeatures, layer: int, video_queries: Tensor) -> LayerOutputs:
        """Outputs of a decoder layer's heads for its queries plus the video queries (B, Q, d)."""
        queries = features.queries[layer] + video_queries[:, None]
        centres = features.references[layer + 1][..., :2]
        sizes = of_every_frame(features.sizes, queries.shape[1])
        frames = [one.flatten(0, 1) for one in (queries, centres, features.mask_features)]
        masks = [
            self.mask_head(*part)
            for part in zip(*(one.split(FRAMES_AT_ONCE) for one in (*frames, sizes)), strict=True)
        ]
        return LayerOutputs(
            self.class_heads[layer](queries),
            self.transformer.refine(layer, queries, features.references[layer]),
            torch.cat(masks).unflatten(0, queries.shape[:2]),
            video_queries,
        )


def class_heads(configuration: SOCConfiguration) -> nn.ModuleList:
    """One linear layer per decoder layer."""
    return nn.ModuleList(
        nn.Linear(configuration.width, configuration.classes)
        for _ in range(configuration.decoder_layers)
    )


def of_every_frame(clips: Tensor, frames: int) -> Tensor:
    """Repeat (B, ...) values of clips for each of their T frames: (B * T, ...)."""
    return clips[:, None].expand(-1, frames, *clips.shape[1:]).flatten(0, 1)


def tokens_of_clips(maps: Tensor, frames: int) -> Tensor:
    """(B * T, d, h, w) maps to (B, T * h * w, d) tokens of clips, in the order of frames."""
    return maps.flatten(2).transpose(1, 2).unflatten(0, (-1, frames)).flatten(1, 2)


def choose_query(scores: Tensor) -> tuple[Tensor, int]:
    """The query with the highest probability, averaged over frames, of its best class.

    Args:
        scores: (T, Q, classes) logits.

    Returns:
        (T, Q) logits of every query's best class, and the chosen query.
    """
    means = scores.sigmoid().mean(0)
    best, classes = means.max(-1)
    of_class = scores.gather(-1, classes.expand(len(scores), -1)[..., None]).squeeze(-1)
    return of_class, int(best.argmax())
