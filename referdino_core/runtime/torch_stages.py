# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The stages in PyTorch: prepared for one image size, on a CPU or an NVIDIA GPU."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.optimize.optimization import OptimizedStages, optimize
from referdino_core.runtime.graphed_stage import GraphedStage, Stage
from referdino_core.runtime.stages import (
    DTYPES,
    MAX_SIZES,
    EncodedImage,
    FrameGrounding,
    Stages,
)


class GroundingByRows:
    """A grounding stage whose N sentences share B images; one graph serves any sharing."""

    def __init__(self, grounding: Stage) -> None:
        self.grounding = grounding

    def __call__(
        self, tokens: Tensor, finest: Tensor, rows: Tensor, *sentences: Tensor
    ) -> tuple[Tensor, ...]:
        """Ground sentences in images of (B, S, d) tokens; `rows` (N,) says which in which."""
        return self.grounding(
            tokens.index_select(0, rows), finest.index_select(0, rows), *sentences
        )


class TorchStages(Stages):
    """PyTorch's operators and referdino's kernels; always there."""

    name = "torch"

    def __init__(self, model: ReferDINO, precision: str) -> None:
        super().__init__(model, precision)
        self.size: Shape | None = None
        self.prepared: OrderedDict[Shape, tuple[Stage, Stage, Stage, Stage]] = OrderedDict()
        self.image: Stage
        self.grounding: Stage
        self.grounding_by_rows: Stage
        self.readout: Stage

    def prepare(self, size: Shape) -> None:
        """Prepare for images of that size, unless they are; takes well under a second."""
        if size == self.size:
            return
        if size not in self.prepared:
            self.use(optimize(self.model, size, DTYPES[self.precision]))
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
        """Compute with these, on a GPU as CUDA graphs."""
        self.image, self.grounding, self.readout = stages.image, stages.grounding, stages.readout
        self.grounding_by_rows = GroundingByRows(stages.grounding)
        if self.device.type == "cuda":
            encoded = frozenset((0, 1))
            self.image = GraphedStage(self.image)
            self.grounding = GraphedStage(self.grounding, in_place=encoded)
            self.grounding_by_rows = GraphedStage(self.grounding_by_rows, in_place=encoded)
            self.readout = GraphedStage(self.readout)

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode pixels of the size that was fitted."""
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
                window.references[:, -1],
                window.text,
                window.text_padding,
                window.ages,
                mask_features,
            )
        )
