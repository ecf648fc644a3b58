# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The stages on TensorRT, as a session takes them."""

from __future__ import annotations

from pathlib import Path

from referdino_core.export.exported_set import ExportedSet
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.runtime.exported_stages import ExportedStages
from referdino_core.runtime.stages import EncodedImage, FrameGrounding, Watch
from referdino_core.runtime.tensorrt import BuildProgress, TensorRTStages
from referdino_core.runtime.tensorrt.plugin import find_library


class TensorRTRuntime(ExportedStages):
    """TensorRT's engines over an exported network; building them takes minutes."""

    name = "tensorrt"
    title = "TensorRT"
    precisions = ("fp32", "fp16")
    readable_forms = ("plugin", "gather")

    def __init__(
        self, model: ReferDINO, precision: str, exports: Path | None, watch: Watch
    ) -> None:
        self.form = "gather" if find_library() is None else "plugin"
        super().__init__(model, precision, exports, watch)

    def open(self, exported: ExportedSet) -> TensorRTStages:
        """Load the engines of an exported set, or build them."""
        return TensorRTStages(
            exported.folder,
            on_progress=self.tell,
            cancelled=self.watch.cancelled,
            device=self.device,
        )

    def tell(self, progress: BuildProgress) -> None:
        """Pass progress on to whoever waits."""
        self.watch.on_progress(progress.fraction, "building engine")

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences in one image."""
        grounding = super().ground(image, text)
        # The engine's next run overwrites what the object memory remembers.
        return FrameGrounding(
            grounding.queries.clone(),
            grounding.references.clone(),
            grounding.text.clone(),
            grounding.mask_features,
        )
