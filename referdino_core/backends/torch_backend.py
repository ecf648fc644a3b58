# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The backend of PyTorch, optimized for one image size, on a CPU or an NVIDIA GPU."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

from referdino_core.backends.backend import (
    MAX_SIZES,
    Backend,
    EncodedImage,
    FrameGrounding,
)
from referdino_core.backends.cuda_graph import GraphedFunction, TensorFunction
from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.optimize.optimization import OptimizedStages, optimize
from referdino_core.precision import PRECISIONS


class GroundingByRows:
    """A grounding stage for N sentences in B images, whichever sentence is in which image."""

    def __init__(self, grounding: TensorFunction) -> None:
        self.grounding = grounding

    def __call__(
        self, tokens: Tensor, finest: Tensor, rows: Tensor, *sentences: Tensor
    ) -> tuple[Tensor, ...]:
        """Ground sentences in images of (B, S, d) tokens; `rows` (N,) are the sentences' images."""
        return self.grounding(
            tokens.index_select(0, rows), finest.index_select(0, rows), *sentences
        )


class TorchBackend(Backend):
    """PyTorch with referdino's kernels; available everywhere."""

    name = "torch"

    def __init__(self, model: ReferDINO, precision: str) -> None:
        super().__init__(model, precision)
        self.size: Shape | None = None
        self.prepared: OrderedDict[Shape, tuple[TensorFunction, ...]] = OrderedDict()
        self.image: TensorFunction
        self.grounding: TensorFunction
        self.grounding_by_rows: TensorFunction
        self.readout: TensorFunction

    def prepare(self, size: Shape) -> None:
        """Optimize the stages for images of that size; takes well under a second."""
        if size == self.size:
            return
        if size not in self.prepared:
            self.use(optimize(self.model, size, PRECISIONS[self.precision].dtype))
            self.prepared[size] = (
                self.image,
                self.grounding,
                self.grounding_by_rows,
                self.readout,
            )
            while len(self.prepared) > MAX_SIZES:
                self.prepared.popitem(last=False)
        self.prepared.move_to_end(size)
        self.image, self.grounding, self.grounding_by_rows, self.readout = self.prepared[size]
        self.size = size

    def use(self, stages: OptimizedStages) -> None:
        """Run these stages, on a GPU as CUDA graphs."""
        self.image, self.grounding, self.readout = stages.image, stages.grounding, stages.readout
        self.grounding_by_rows = GroundingByRows(stages.grounding)
        if self.device.type == "cuda":
            encoded = frozenset((0, 1))
            self.image = GraphedFunction(self.image, self.device)
            self.grounding = GraphedFunction(self.grounding, self.device, in_place=encoded)
            self.grounding_by_rows = GraphedFunction(
                self.grounding_by_rows, self.device, in_place=encoded
            )
            self.readout = GraphedFunction(self.readout, self.device)

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode pixels of the size that was prepared."""
        return EncodedImage(*self.image(pixels))

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences."""
        sentences = (text.tokens, text.padding, text.attention, text.positions)
        if image.rows is None:
            outputs = self.grounding(image.tokens, image.finest, *sentences)
        else:
            outputs = self.grounding_by_rows(image.tokens, image.finest, image.rows, *sentences)
        queries, references, fused_text, mask_features = outputs
        if self.device.type == "cuda":
            # The next replay overwrites what the object memory remembers.
            queries, references, fused_text = (
                tensor.clone() for tensor in (queries, references, fused_text)
            )
        return FrameGrounding(queries, references, fused_text, mask_features)

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Read N windows."""
        return SlotReadings(
            *self.readout(
                window.queries,
                window.references,
                window.text,
                window.text_padding,
                window.ages,
                mask_features,
            )
        )
