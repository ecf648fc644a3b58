# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""ReferDINO: the complete network, for whole clips and for causal streams."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.errors import ImageError
from referdino_core.network.clip_inputs import check_pixels, checked_ids
from referdino_core.network.grounder import Grounder, Grounding
from referdino_core.network.image_encoder import ImageEncoder
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.object_memory import ObjectMemory, Window, stack_windows
from referdino_core.network.predictions import ClipPrediction, FramePrediction
from referdino_core.network.readout import Readout
from referdino_core.network.text_encoder import TextEncoder, TextFeatures
from referdino_core.network.tokenizer import MAX_TOKENS


class ReferDINO(nn.Module):
    """The network for referring video object segmentation, composed of five stages."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        self.configuration = configuration
        self.text_encoder = TextEncoder(configuration)
        self.image_encoder = ImageEncoder(configuration)
        self.grounder = Grounder(configuration)
        self.readout = Readout(configuration, self.grounder)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.image_encoder.level_embedding.device

    def object_memory(self, window: int | None, interval: float = 0.0) -> ObjectMemory:
        """A new object memory with a window of `window` frames, or of all frames (None).

        For `interval` see `ObjectMemory`. A single-frame network does not use earlier frames, so
        its streams keep only the newest one.
        """
        settings = self.configuration
        if settings.single_frame and window is not None:
            window = 1
        return ObjectMemory(
            window, settings.memory_momentum, settings.relevance, interval, settings.place_weight
        )

    @torch.no_grad()
    def segment(
        self, pixels: Tensor, input_ids: Tensor, stamps: Sequence[float] | None = None
    ) -> ClipPrediction:
        """Whole-clip inference of the paper.

        A single-frame network predicts from each frame's own queries; the object memory only aligns
        them to slots, which changes nothing in a clip of one frame.

        Args:
            pixels: (T, 3, H, W) float32 frames, normalised with ImageNet's mean and deviation.
            input_ids: (L,) int64 tokens of the sentence, special tokens included.
            stamps: seconds of each frame, used only by a time embedding. By default frames are
                0.1 s apart.

        Returns:
            Scores (T, Q), boxes (T, Q, 4) and masks (T, Q, h, w), one slot per query.

        Raises:
            ImageError: pixels that cannot be used, or another number of stamps.
            CommandError: tokens that cannot be used.
        """
        check_pixels(pixels)
        if stamps is not None and len(stamps) != len(pixels):
            raise ImageError(f"There are {len(stamps)} stamps for {len(pixels)} frames.")
        sentence = checked_ids(input_ids, self.configuration.bert.vocabulary, MAX_TOKENS)
        text = self.text_encoder([sentence]).expand(len(pixels))
        grounding = self.grounder(self.image_encoder(pixels.to(self.device)), text)
        return self.track(grounding, len(grounding.layers) - 1, frame_stamps(pixels, stamps))

    def track(self, grounding: Grounding, layer: int, stamps: Sequence[float]) -> ClipPrediction:
        """Whole-clip prediction from the queries of one decoder layer.

        Args:
            grounding: the clip's T frames grounded with one sentence.
            layer: index of the decoder layer whose queries are tracked.
            stamps: T stamps in seconds.
        """
        window = self.align(grounding, layer, stamps)
        history = self.readout.history(window)
        return self.predict(history[0], window.references[0], grounding)

    def align(self, grounding: Grounding, layer: int, stamps: Sequence[float]) -> Window:
        """The queries of one decoder layer in the order of slots, a window of all T frames.

        Its arguments are those of `track`.
        """
        memory = self.object_memory(None)
        decoded = grounding.layers[layer]
        for frame, stamp in enumerate(stamps):
            tokens = grounding.text[frame][~grounding.text_padding[frame]]
            memory.update(decoded.queries[frame], decoded.references[frame], tokens, stamp)
        return stack_windows([memory.window])

    def predict(self, queries: Tensor, references: Tensor, grounding: Grounding) -> ClipPrediction:
        """Scores, boxes and masks of (T, Q, d) queries with (T, Q, 4) references."""
        embeddings = self.readout.mask_embeddings(
            queries, references, grounding.text, grounding.text_padding, grounding.masks
        )
        return ClipPrediction(
            scores=self.readout.similarity(queries, grounding.text, grounding.text_padding),
            boxes=self.readout.boxes(queries, references),
            masks=decode_masks(embeddings, grounding.masks.features),
        )

    def stream(self, input_ids: Tensor, window: int = 8) -> Stream:
        """Causal inference of one sentence, frame by frame."""
        return Stream(self, input_ids, window)


class Stream:
    """Causal inference of one sentence on an endless stream, at constant cost per frame."""

    def __init__(self, model: ReferDINO, input_ids: Tensor, window: int) -> None:
        self.model = model
        with torch.no_grad():
            self.text: TextFeatures = model.text_encoder([input_ids])
        self.memory = model.object_memory(window)
        self.frames = 0

    @torch.no_grad()
    def step(self, pixels: Tensor, stamp: float | None = None) -> FramePrediction:
        """Every slot's score (Q,), box (Q, 4) and mask (Q, h, w) at the newest frame.

        Args:
            pixels: (3, H, W) float32 frame, normalised.
            stamp: seconds; by default frames are 0.1 s apart.
        """
        model = self.model
        grounding = model.grounder(model.image_encoder(pixels[None].to(model.device)), self.text)
        self.memory.update(
            grounding.queries[0],
            grounding.references[0],
            grounding.text[0],
            0.1 * self.frames if stamp is None else stamp,
        )
        self.frames += 1
        readings = model.readout(stack_windows([self.memory.window]), grounding.masks)
        masks = decode_masks(readings.mask_embeddings, grounding.masks.features)
        return FramePrediction(readings.scores[0, -1], readings.boxes[0], masks[0])


def frame_stamps(pixels: Tensor, stamps: Sequence[float] | None) -> Sequence[float]:
    """The given stamps, or those of frames that are 0.1 s apart."""
    return [0.1 * frame for frame in range(len(pixels))] if stamps is None else stamps
