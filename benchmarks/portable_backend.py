# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A backend without optimizations, for comparison: the network as in the paper."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor

from referdino_core.backends.backend import Backend, EncodedImage, FrameGrounding
from referdino_core.network.image_encoder import ImageFeatures
from referdino_core.network.image_geometry import Shape
from referdino_core.network.mask_decoder import MaskFeatures
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.ops import library


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """Context in which operators use their formulas instead of the kernels."""
    original = library.kernel_library
    library.kernel_library = lambda: None  # type: ignore[assignment]
    try:
        yield
    finally:
        library.kernel_library = original


class PortableBackend(Backend):
    """PyTorch's own operators in float32, as in training."""

    name = "portable"

    def __init__(self, model: ReferDINO) -> None:
        super().__init__(model, "fp32")
        self.features: ImageFeatures
        self.masks: MaskFeatures

    def prepare(self, size: Shape) -> None:
        """Nothing to prepare."""

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode pixels of any size."""
        self.features = self.model.image_encoder(pixels)
        return EncodedImage(self.features.tokens, self.features.finest)

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences in the most recently encoded images."""
        features = self.features
        if image.rows is None:
            features = features.repeat_interleave(len(text.tokens) // len(image.tokens))
        else:
            tokens, finest = image.tokens[image.rows], image.finest[image.rows]
            features = ImageFeatures(tokens, finest, features.geometry)
        with without_kernels():
            grounding = self.model.grounder(features, text)
        self.masks = grounding.masks
        return FrameGrounding(
            grounding.queries, grounding.references, grounding.text, grounding.masks.features
        )

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Read N windows."""
        masks = MaskFeatures(mask_features, None, self.masks.valid_ratio)
        with without_kernels():
            return self.model.readout(window, masks)
