# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the runtimes that read exported networks share: which export, and how long texts are."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.errors import CommandError, ExportedSetError, RuntimeUnavailable
from referdino_core.export.cache import ExportCache
from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.export.exporting import checkpoint_sum
from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.runtime.stages import EncodedImage, FrameGrounding, Stages, Watch

TOKEN_COUNTS = (16, 32, 64)
"""Lengths that texts are padded to, each with graphs of its own."""


class Runner(Protocol):
    """The three stages of one exported set, by the names of their inputs and outputs."""

    def encode_image(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """`tokens` and `finest`."""

    def ground(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """`queries`, `references`, `fused_text` and `mask_features`."""

    def read(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """`scores`, `boxes` and `mask_embeddings`."""


class ExportedStages(Stages):
    """Stages over exported networks, which are made where none is given.

    Texts are padded to one of `TOKEN_COUNTS`, the smallest that fits the longest sentence, or to
    the length of the export that was given. Graphs are of one image.

    Attributes:
        title: of the runtime, for messages.
        precisions: that the runtime computes in on the model's device.
        form: of deformable attention in the exports that are made here.
        readable_forms: that a given export may have.
    """

    takes_batches = False
    title: str
    precisions: tuple[str, ...]
    form: str
    readable_forms: tuple[str, ...]

    def __init__(
        self,
        model: ReferDINO,
        precision: str,
        exports: Path | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Check what can be checked before the size of the images is known.

        Args:
            model: on its device.
            precision: of the tensor stages.
            exports: what `referdino export` wrote; None makes and keeps exports as needed.
            watch: hears of an export's progress.

        Raises:
            RuntimeUnavailable: not in this precision.
            ExportedSetError: the export is damaged, or of other weights or another precision.
        """
        super().__init__(model, precision)
        self.watch = watch or Watch()
        self.check_precision()
        self.given = None if exports is None else self.read_given(exports)
        self.cache = ExportCache.of(model, precision, self.form)
        self.size: Shape | None = None
        self.longest = 0
        self.runners: dict[int, Runner] = {}

    @abc.abstractmethod
    def open(self, exported: ExportedSet) -> Runner:
        """Load an exported set; may take long."""

    def check_precision(self) -> None:
        """Raise RuntimeUnavailable unless the runtime computes in this precision here."""
        if self.precision not in self.precisions:
            where = "a CPU" if self.device.type == "cpu" else "a GPU"
            raise RuntimeUnavailable(
                f"{self.title} computes in {' or '.join(self.precisions)} on {where}, not in "
                f"{self.precision}; choose the precision {self.precisions[-1]}, or the runtime "
                "torch."
            )

    def read_given(self, folder: Path) -> ExportedSet:
        """The export in a folder, if it is of this model."""
        exported = read_exported_set(folder)
        if exported.deformable_attention not in self.readable_forms:
            raise ExportedSetError(
                f"{folder} writes deformable attention as {exported.deformable_attention}, which "
                f"{self.title} cannot run: export with --deformable-attention "
                f"{' or '.join(self.readable_forms)}."
            )
        for what, found, wanted in (
            ("model", exported.model, self.model.configuration.name),
            ("precision", exported.precision, self.precision),
        ):
            if found != wanted:
                raise ExportedSetError(
                    f"{folder} was exported with the {what} {found}, not {wanted}: export again."
                )
        if exported.checkpoint != checkpoint_sum(self.model):
            raise ExportedSetError(
                f"{folder} was exported from other weights of {exported.model} than are loaded: "
                "export these."
            )
        return exported

    @property
    def token_counts(self) -> tuple[int, ...]:
        """Lengths that texts can be padded to, ascending."""
        return TOKEN_COUNTS if self.given is None else (self.given.tokens,)

    def encode_text(self, sentences: Sequence[Tensor]) -> TextFeatures:
        """As the base class; sentences of at most as many tokens as there are graphs for."""
        longest = max(len(sentence) for sentence in sentences)
        if longest > self.token_counts[-1]:
            raise CommandError(
                f"The command has {longest} tokens; {self.title} is set up for at most "
                f"{self.token_counts[-1]}. Say it in fewer words, or choose the runtime torch."
            )
        self.longest = max(self.longest, longest)
        return super().encode_text(sentences)

    def fit(self, size: Shape) -> None:
        """Load the graphs for images of that size; exports them first where there are none."""
        if size == self.size:
            return
        if self.given is not None and (self.given.height, self.given.width) != size:
            raise ExportedSetError(
                f"{self.given.folder} was exported for images of {self.given.width}x"
                f"{self.given.height}, not {size[1]}x{size[0]}: export with --size "
                f"{size[0]}x{size[1]}."
            )
        self.size = None
        self.runners.clear()
        count = self.count_for(self.longest)
        self.runners[count] = self.open(self.given or self.provide(size, count))
        self.size = size

    def provide(self, size: Shape, tokens: int) -> ExportedSet:
        """The cache's export; whoever waits hears how far it is."""
        return self.cache.provide(
            size,
            tokens,
            lambda fraction, stage: self.watch.on_progress(fraction, "exporting the network"),
        )

    def count_for(self, length: int) -> int:
        """The number of tokens that texts of some length are padded to."""
        return next(count for count in self.token_counts if count >= length)

    def runner_for(self, length: int) -> tuple[Runner, int]:
        """What runs texts of some length, and the length they are padded to."""
        if self.size is None:
            raise RuntimeError("call fit() with the size of the images first")
        count = self.count_for(length)
        if count not in self.runners:
            self.runners[count] = self.open(self.given or self.provide(self.size, count))
        return self.runners[count], count

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode pixels of the size that was fitted; any length of text has the same encoder."""
        runner, _ = self.runner_for(min(self.runners, default=0))
        outputs = runner.encode_image(pixels)
        return EncodedImage(outputs["tokens"], outputs["finest"])

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences in one image."""
        runner, count = self.runner_for(text.tokens.shape[1])
        outputs = runner.ground(
            {"tokens": image.tokens, "finest": image.finest, **padded(text, count)}
        )
        return FrameGrounding(
            outputs["queries"], outputs["references"], outputs["fused_text"],
            outputs["mask_features"],
        )  # fmt: skip

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Read N windows."""
        length = window.text.shape[2]
        runner, count = self.runner_for(length)
        outputs = runner.read(
            {
                "queries": window.queries,
                "references": window.references[:, -1].contiguous(),
                "text": F.pad(window.text, (0, 0, 0, count - length)),
                "text_padding": F.pad(window.text_padding, (0, count - length), value=True),
                "ages": window.ages,
                "mask_features": mask_features,
            }
        )
        return SlotReadings(outputs["scores"], outputs["boxes"], outputs["mask_embeddings"])


def padded(text: TextFeatures, count: int) -> Mapping[str, Tensor]:
    """The grounder's inputs of N sentences, padded to `count` tokens that see themselves alone."""
    length = text.tokens.shape[1]
    more = count - length
    attention = torch.eye(count, dtype=torch.bool, device=text.tokens.device)
    attention = attention.repeat(len(text.tokens), 1, 1)
    attention[:, :length, :length] = text.attention
    return {
        "text": F.pad(text.tokens, (0, 0, 0, more)),
        "text_padding": F.pad(text.padding, (0, more), value=True),
        "text_attention": attention,
        "text_positions": F.pad(text.positions, (0, more)).to(torch.int32),
    }
