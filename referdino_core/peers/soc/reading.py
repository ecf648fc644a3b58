# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC from images to masks: preprocessing and postprocessing as in the published evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.errors import ImageError
from referdino_core.network.pixels import check_proportion, resized_pixels
from referdino_core.peers.soc.configuration import SOCConfiguration
from referdino_core.peers.soc.soc import SOC, SOCPrediction

MEMORY, MEMORY_PER_PIXEL = 0.3e9, 3.2
"""Bytes of every clip, and bytes per pixel and channel of the finest map: measured at 360x640 with
8 to 72 frames, and rounded up.
"""

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class FrameSize:
    """Rule for resizing frames: the shorter side becomes `short` pixels, or less if the longer
    side would exceed `longest`.
    """

    short: int = 360
    longest: int = 640

    def of(self, height: int, width: int) -> Size:
        """Size of a resized frame; the longer side is rounded down, as published."""
        shorter, longer = sorted((height, width))
        short = self.short
        if longer * short > self.longest * shorter:
            short = max(1, round(self.longest * shorter / longer))
        long = short * longer // shorter
        return (short, long) if height <= width else (long, short)


VIDEOS = FrameSize()
"""Ref-YouTube-VOS and Ref-DAVIS17."""
EVALUATED_FRAMES = FrameSize(320, 576)
"""A2D- and JHMDB-Sentences."""


@dataclass(frozen=True)
class SOCReading:
    """SOC's prediction for one sentence in a clip of T frames.

    Attributes:
        scores: (T, Q) float32, probability that the query is what the sentence refers to.
        chosen: the query that answers in every frame.
        logits: (T, 1 or Q, h, w) mask logits at stride 4, of the chosen query or of all.
        resized: size of the resized frames.
        size: size of the frames.
    """

    scores: np.ndarray
    chosen: int
    logits: Tensor
    resized: Size
    size: Size

    def probabilities(self) -> Iterator[np.ndarray]:
        """Mask probabilities of every frame, each (H, W) float32."""
        for logits in self.logits:
            yield F.interpolate(logits[None], self.size, mode="bilinear").sigmoid()[0, 0].numpy()

    def masks(self) -> Iterator[np.ndarray]:
        """Mask of every frame, each (H, W) bool."""
        for logits in self.logits:
            yield (F.interpolate(logits[None], self.size, mode="bilinear") > 0)[0, 0].numpy()

    def candidates(self) -> Iterator[tuple[float, np.ndarray]]:
        """Score and mask of every query in the one judged frame, best first.

        Masks are thresholded at the resized size, then resized with nearest neighbours, as in the
        published evaluation of A2D- and JHMDB-Sentences.
        """
        masks = F.interpolate(self.logits, self.resized, mode="bilinear") > 0
        enlarged = F.interpolate(masks.float(), self.size, mode="nearest").bool()[0].numpy()
        for query in np.argsort(-self.scores[0], kind="stable"):
            yield float(self.scores[0, query]), enlarged[query]


def clip_memory(configuration: SOCConfiguration, frames: int, resized: Size) -> float:
    """Estimated bytes of memory for a clip on top of images and weights.

    Args:
        resized: height and width that the network sees.
    """
    pixels = frames * resized[0] * resized[1]
    return MEMORY + MEMORY_PER_PIXEL * pixels * configuration.swin.embedding


def read_clip(
    model: SOC,
    input_ids: Tensor,
    images: Sequence[np.ndarray],
    frame_size: FrameSize = VIDEOS,
    only_frame: int | None = None,
) -> SOCReading:
    """Run SOC on a clip.

    Args:
        input_ids: (L,) int64 tokens of the sentence.
        images: T arrays (H, W, 3) uint8 RGB of one size.
        frame_size: rule for resizing them.
        only_frame: index of the only evaluated image, for which the masks of all queries are kept;
            by default all images are evaluated, and those of the chosen query are kept.

    Raises:
        ImageError: there is no image, or the images differ in size.
    """
    if not len(images):
        raise ImageError("The clip has no frames.")
    size = images[0].shape[:2]
    check_proportion(*size)
    if any(image.shape[:2] != size for image in images):
        raise ImageError("The frames of a clip must have one size.")
    resized = frame_size.of(*size)
    pixels = torch.cat([resized_pixels(image, resized, model.device) for image in images])
    prediction: SOCPrediction = model.segment(pixels, input_ids, only_frame=only_frame)
    masks = prediction.masks if only_frame is not None else prediction.masks[:, [prediction.chosen]]
    scores = prediction.scores.sigmoid().cpu().numpy()
    return SOCReading(scores, prediction.chosen, masks.cpu(), resized, size)
