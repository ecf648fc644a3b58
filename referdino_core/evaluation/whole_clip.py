# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whole-clip inference as in the paper: every frame is segmented with the whole clip as context.

The network processes a few frames at a time. Per frame it keeps the queries, the fused text, and
the input of the pixel decoder's last layer, about 1 MB for 360x640 pixels; masks are decoded on
demand. A clip of 200 frames then needs about 200 MB instead of 3 GB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from referdino_core.errors import ImageError
from referdino_core.network.grounder import token_maps
from referdino_core.network.image_encoder import ImageFeatures
from referdino_core.network.mask_decoder import MaskFeatures, decode_masks
from referdino_core.network.object_memory import ObjectMemory, Window, stack_windows
from referdino_core.network.pixels import (
    check_proportion,
    mask_probabilities,
    nearest_masks,
    network_size,
    threshold_masks,
    to_pixels,
)
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.network.tokenizer import Tokenizer

FRAMES_AT_ONCE = 8
MASK_THRESHOLD = 0.5
"""Probability above which a pixel belongs to the mask, as in the paper."""
NO_MERGING = 1.0
"""A threshold that no score exceeds: only the best slot is used."""


@dataclass(frozen=True)
class ImageProtocol:
    """How images are resized for the network, and how masks are resized to the images.

    Attributes:
        longest_side: longest side of the network's input in pixels; None for the default.
        to_masks: a function like `threshold_masks`.
    """

    longest_side: int | None = None
    to_masks: Callable[..., np.ndarray] = threshold_masks


VIDEOS = ImageProtocol()
"""As published for Ref-YouTube-VOS, Ref-DAVIS17 and MeViS."""
SINGLE_FRAMES = ImageProtocol(640, nearest_masks)
"""As published for A2D- and JHMDB-Sentences."""


class ClipReading:
    """Prediction for one sentence on a clip of T frames, with Q slots.

    A slot is one candidate object, the same in all frames.

    Attributes:
        scores: (T, Q) float32, probability that the sentence refers to the slot.
        size: height and width of the frames.
    """

    def __init__(
        self,
        model: ReferDINO,
        window: Window,
        kept: Sequence[Tensor],
        size: tuple[int, int],
        protocol: ImageProtocol = VIDEOS,
    ) -> None:
        """Compute the scores of all slots.

        Args:
            window: the T aligned frames of the sentence.
            kept: per chunk of frames, the output (n, d / 16, h, w) of `PixelDecoder.decode`.
            size: height and width of the frames.
            protocol: the protocol by which they were resized.
        """
        self.size = size
        self._protocol = protocol
        self._model = model
        self._kept = kept
        self._references = window.references[0]
        self._text = window.text[0]
        self._padding = window.text_padding.expand(len(self._text), -1)
        readout = model.readout
        history = readout.history(window)
        self._queries = history[0]
        scores = readout.similarity(self._queries, self._text, self._padding)
        self.scores: np.ndarray = scores.sigmoid().cpu().numpy()

    def best_slots(self, merge_above: float = NO_MERGING) -> list[int]:
        """The slot with the highest mean score over the clip, and all slots above the threshold.

        By default it is one slot. On MeViS, whose sentences may mean several objects, all slots
        with a mean above 0.2 are merged.
        """
        means = self.scores.mean(axis=0)
        return sorted({int(means.argmax()), *np.flatnonzero(means > merge_above).tolist()})

    def masks(
        self, slots: Sequence[int], threshold: float = MASK_THRESHOLD
    ) -> Iterator[np.ndarray]:
        """Masks of some slots, frame by frame, each (len(slots), H, W) bool."""
        for logits, resized in self._logits(slots):
            yield self._protocol.to_masks(logits, resized, self.size, threshold)[0]

    def answer(self, merge_above: float = NO_MERGING) -> np.ndarray:
        """The predicted masks of the sentence, (T, H, W) bool: the union of `best_slots`.

        The slot with the highest mean score is used in every frame, as in the paper, also if the
        target is absent.
        """
        slots = self.best_slots(merge_above)
        prediction = np.empty((len(self.scores), *self.size), dtype=bool)
        for index, masks in enumerate(self.masks(slots)):
            prediction[index] = masks.any(axis=0)
        return prediction

    def probabilities(self, slots: Sequence[int]) -> Iterator[np.ndarray]:
        """Mask probabilities of some slots, frame by frame, (len(slots), H, W) float32, 0 to 1."""
        for logits, resized in self._logits(slots):
            yield mask_probabilities(logits, resized, self.size)[0].cpu().numpy()

    def _logits(self, slots: Sequence[int]) -> Iterator[tuple[Tensor, tuple[int, int]]]:
        """Mask logits (1, len(slots), h, w) of each frame, and the size it was resized to."""
        short_side = self._model.configuration.image_short_side
        resized = network_size(*self.size, short_side, self._protocol.longest_side)
        first = 0
        for narrow in self._kept:
            logits = self._mask_logits(slots, narrow, slice(first, first + len(narrow)))
            first += len(narrow)
            for frame in logits:
                yield frame[None], resized

    @torch.no_grad()
    def _mask_logits(self, slots: Sequence[int], narrow: Tensor, frames: slice) -> Tensor:
        """Logits (n, len(slots), h, w) at stride 4 of a chunk of n frames."""
        features = self._model.grounder.pixel_decoder.output(narrow)
        embeddings = self._model.readout.mask_embeddings(
            self._queries[frames],
            self._references[frames],
            self._text[frames],
            self._padding[frames],
            MaskFeatures(features, None, torch.ones(1, 2, device=features.device)),
        )
        return decode_masks(embeddings[:, list(slots)], features)


@torch.no_grad()
def read_clip(
    model: ReferDINO,
    tokenizer: Tokenizer,
    sentence: str,
    frames: Sequence[np.ndarray] | np.ndarray,
    stamps: Sequence[float] | None = None,
    frames_at_once: int = FRAMES_AT_ONCE,
    protocol: ImageProtocol = VIDEOS,
) -> ClipReading:
    """Run the network over a clip.

    Args:
        frames: (T, H, W, 3) uint8 RGB, or T images of one size; read once, in order.
        stamps: T seconds; by default frames are 0.1 s apart.
        frames_at_once: frames per batch; memory grows with it.
        protocol: how images and masks are resized.

    Raises:
        CommandError: the sentence is empty or too long.
        ImageError: there is no frame, or the frames differ in size.
    """
    if not len(frames):
        raise ImageError("The clip has no frames.")
    times = [0.1 * index for index in range(len(frames))] if stamps is None else list(stamps)
    if len(times) != len(frames):
        raise ImageError(f"{len(frames)} frames have {len(times)} stamps; give one for each.")
    text: TextFeatures = model.text_encoder([tokenizer.encode(sentence)])
    memory = model.object_memory(None)
    short_side = model.configuration.image_short_side
    kept: list[Tensor] = []
    size: tuple[int, int] | None = None
    for first in range(0, len(frames), frames_at_once):
        last = min(first + frames_at_once, len(frames))
        images = [frames[index] for index in range(first, last)]
        size = size or images[0].shape[:2]
        check_proportion(*size)
        for image in images:
            if image.shape[:2] != size:
                raise ImageError(
                    f"The frames of a clip must have one size, not {size[1]}x{size[0]} and "
                    f"{image.shape[1]}x{image.shape[0]}."
                )
        pixels = torch.cat(
            [to_pixels(image, short_side, model.device, protocol.longest_side) for image in images]
        )
        kept.append(_read_frames(model, text, memory, pixels, times[first:last]))
    assert size is not None
    return ClipReading(model, stack_windows([memory.window]), kept, size, protocol)


def _read_frames(
    model: ReferDINO,
    text: TextFeatures,
    memory: ObjectMemory,
    pixels: Tensor,
    stamps: Sequence[float],
) -> Tensor:
    """Add some frames to the memory; returns the output of `PixelDecoder.decode`."""
    encoded: ImageFeatures = model.image_encoder(pixels)
    grounding = model.grounder(encoded, text.expand(len(pixels)))
    for row, stamp in enumerate(stamps):
        memory.update(grounding.queries[row], grounding.references[row], grounding.text[row], stamp)
    maps = token_maps(grounding.tokens, grounding.spatial_shapes)
    return model.grounder.pixel_decoder.decode(maps, encoded.finest)
