# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The stages on TensorRT, as a session takes them."""

from __future__ import annotations

from pathlib import Path

from referdino_core.errors import RuntimeUnavailable
from referdino_core.export.exported_set import ExportedSet
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.runtime.exported_stages import ExportedStages
from referdino_core.runtime.stages import EncodedImage, FrameGrounding, Watch
from referdino_core.runtime.tensorrt import BuildProgress, TensorRTRunner
from referdino_core.runtime.tensorrt.plugin import find_library
from referdino_core.runtime.tensorrt.provider import DEFAULT_MAX_COMMANDS


class TensorRTStages(ExportedStages):
    """TensorRT's engines over an exported network; building them takes minutes."""

    name = "tensorrt"
    title = "TensorRT"
    precisions = ("fp32", "fp16")
    readable_forms = ("plugin", "gather")
    commands_at_once = DEFAULT_MAX_COMMANDS

    def __init__(
        self, model: ReferDINO, precision: str, exports: Path | None, watch: Watch
    ) -> None:
        self.form = "gather" if find_library() is None else "plugin"
        super().__init__(model, precision, exports, watch)

    def open(self, exported: ExportedSet, watch: Watch) -> TensorRTRunner:
        """Load the engines of an exported set, or build them."""

        def tell(progress: BuildProgress) -> None:
            watch.on_progress(progress.fraction, "building engine")

        return TensorRTRunner(
            exported.folder,
            on_progress=tell,
            cancelled=watch.cancelled,
            device=self.device,
        )

    def allow_window(self, frames: int) -> None:
        """As the base class; engines are built for the longest window that was asked for."""
        if self.given is not None and frames > self.given.window:
            raise RuntimeUnavailable(
                f"{self.given.folder} was exported for windows of at most {self.given.window} "
                f"frames, not {frames}: export with --window {frames}, or set a shorter window."
            )
        if self.fitted and frames > self.window:
            raise RuntimeUnavailable(
                f"TensorRT's engines are open for windows of at most {self.window} frames, not "
                f"{frames}: set the window before the first image, or a shorter one."
            )
        self.window = max(self.window, frames)

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
