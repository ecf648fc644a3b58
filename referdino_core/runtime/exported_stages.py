# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the runtimes that read exported networks share: which export, and how long texts are."""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.configuration import SessionSettings
from referdino_core.errors import CommandError, ExportedSetError, RuntimeUnavailable
from referdino_core.export.cache import ExportCache
from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.export.exporting import checkpoint_sum
from referdino_core.export.requirements import obstacle
from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.runtime.opening import Opening
from referdino_core.runtime.stages import (
    MAX_SIZES,
    EncodedImage,
    FrameGrounding,
    Preparation,
    Stages,
    Watch,
)

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


@dataclass(frozen=True)
class Fitted:
    """What is open for one image size, by the number of tokens that texts are padded to.

    Attributes:
        runners: that run. openings: that are under way in the background, or failed.
    """

    runners: dict[int, Runner] = field(default_factory=dict)
    openings: dict[int, Opening[Runner]] = field(default_factory=dict)

    def counts(self, length: int) -> list[int]:
        """The numbers of tokens, ascending, that a text of some length can be padded to."""
        return sorted(count for count in self.runners if count >= length)


class ExportedStages(Stages):
    """Stages over exported networks, which are made where none is given.

    Texts are padded to one of `TOKEN_COUNTS`, the smallest that fits the longest sentence and is
    there, or to the length of the export that was given. Where a longer one or another image size
    is needed while images are answered, it is exported and opened in the background. Graphs are of
    one image.

    Attributes:
        title: of the runtime, for messages.
        precisions: that the runtime computes in on the model's device.
        form: of deformable attention in the exports that are made here.
        readable_forms: that a given export may have.
        commands_at_once: most commands of one call; more are split into several. None for any.
        window: most frames that the exports which are made here are described with.
    """

    takes_batches = False
    title: str
    precisions: tuple[str, ...]
    form: str
    readable_forms: tuple[str, ...]
    commands_at_once: int | None = None

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
            RuntimeUnavailable: not in this precision, or nothing is exported and cannot be here.
            ExportedSetError: the export is damaged, or of other weights or another precision.
        """
        super().__init__(model, precision)
        self.watch = watch or Watch()
        self.check_precision()
        self.given = None if exports is None else self.read_given(exports)
        self.cache = ExportCache.of(model, precision, self.form)
        if self.given is None:
            self.check_can_export()
        self.size: Shape | None = None
        self.longest = 0
        self.window = SessionSettings.window
        self.fitted: OrderedDict[Shape, Fitted] = OrderedDict()

    @abc.abstractmethod
    def open(self, exported: ExportedSet, watch: Watch) -> Runner:
        """Load an exported set; may take long, and tells the watch then."""

    def check_precision(self) -> None:
        """Raise RuntimeUnavailable unless the runtime computes in this precision here."""
        if self.precision not in self.precisions:
            where = "a CPU" if self.device.type == "cpu" else "a GPU"
            raise RuntimeUnavailable(
                f"{self.title} computes in {' or '.join(self.precisions)} on {where}, not in "
                f"{self.precision}; choose the precision {self.precisions[-1]}, or the runtime "
                "torch."
            )

    def check_can_export(self) -> None:
        """Raise RuntimeUnavailable where there is no export of the model and none can be made."""
        found = None if self.cache.holds_any() else obstacle("onnx")
        if found is not None:
            raise RuntimeUnavailable(
                f"{self.title} runs exported networks, and to export this one {found}: pip install "
                "onnx, or give what `referdino export` wrote on another machine."
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

    def try_again(self) -> None:
        """As the base class."""
        for fitted in self.fitted.values():
            for count, opening in list(fitted.openings.items()):
                if opening.preparation.error is not None:
                    del fitted.openings[count]

    def prepare(self, size: Shape) -> None:
        """Load the graphs for images of that size; exports them first where there are none."""
        if size == self.size and size in self.fitted:
            return
        if not self.can_prepare(size) and self.given is not None:
            raise ExportedSetError(
                f"{self.given.folder} was exported for images of {self.given.width}x"
                f"{self.given.height}, not {size[1]}x{size[0]}: export with --size "
                f"{size[0]}x{size[1]}."
            )
        fitted = self.fitted.get(size, Fitted())
        if not fitted.runners:
            count = self.count_for(self.longest)
            fitted.runners[count] = self.open_count(size, count, self.watch)
        self.keep(size, fitted)
        self.size = size

    def can_prepare(self, size: Shape) -> bool:
        """Whether the export that was given, if any, is for images of that size."""
        return self.given is None or (self.given.height, self.given.width) == size

    def keep(self, size: Shape, fitted: Fitted) -> None:
        """Stay ready for an image size, and for the last few before it."""
        self.fitted[size] = fitted
        self.fitted.move_to_end(size)
        while len(self.fitted) > MAX_SIZES:
            self.fitted.popitem(last=False)

    @property
    def runners(self) -> dict[int, Runner]:
        """Those of the image size in use, by the number of tokens."""
        return {} if self.size is None else self.fitted[self.size].runners

    def open_count(self, size: Shape, count: int, watch: Watch) -> Runner:
        """The runner for texts of `count` tokens; exports first where there is no export."""
        exported = self.given or self.cache.provide(
            size,
            count,
            lambda fraction, stage: watch.on_progress(fraction, "exporting the network"),
            self.window,
        )
        return self.open(exported, watch)

    def count_for(self, length: int) -> int:
        """The number of tokens that texts of some length are padded to."""
        return next(count for count in self.token_counts if count >= length)

    def preparation(self, tokens: int, size: Shape | None) -> Preparation | None:
        """As the base class; what failed is not tried again before `try_again`."""
        self.longest = max(self.longest, tokens)
        if size is None or not self.fitted or not self.can_prepare(size):
            return None
        if size not in self.fitted:
            self.keep(size, Fitted())
        fitted = self.fitted[size]
        if fitted.counts(tokens):
            return None
        count = self.count_for(tokens)
        opening = fitted.openings.get(count)
        if opening is None:
            opening = fitted.openings[count] = Opening(
                f"sentences of {count} tokens in images of {size[1]}x{size[0]}",
                partial(self.open_count, size, count),
                self.watch.cancelled,
            )
        if opening.opened is None:
            return opening.preparation
        fitted.runners[count] = opening.opened
        del fitted.openings[count]
        return None

    def runner_for(self, length: int) -> tuple[Runner, int]:
        """What runs texts of some length, and the length they are padded to."""
        if self.size is None:
            raise RuntimeError("call prepare() with the size of the images first")
        fitted = self.fitted[self.size]
        if not fitted.counts(length):
            count = self.count_for(length)
            fitted.runners[count] = self.open_count(self.size, count, self.watch)
        count = fitted.counts(length)[0]
        return fitted.runners[count], count

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode pixels of the size that was fitted; any length of text has the same encoder."""
        runner, _ = self.runner_for(min(self.runners, default=0))
        outputs = runner.encode_image(pixels)
        return EncodedImage(outputs["tokens"], outputs["finest"])

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences in one image."""
        runner, count = self.runner_for(text.tokens.shape[1])
        sentences = padded(text, count)
        outputs = self.in_batches(
            lambda part: runner.ground({"tokens": image.tokens, "finest": image.finest, **part}),
            sentences,
        )
        return FrameGrounding(
            outputs["queries"], outputs["references"], outputs["fused_text"],
            outputs["mask_features"],
        )  # fmt: skip

    def in_batches(
        self,
        run: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
        inputs: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """Run a stage on inputs of N commands, as many at once as it takes."""
        count, most = len(next(iter(inputs.values()))), self.commands_at_once
        if most is None or count <= most:
            return run(inputs)
        parts: dict[str, list[Tensor]] = {}
        for first in range(0, count, most):
            outputs = run({name: one[first : first + most] for name, one in inputs.items()})
            for name, tensor in outputs.items():
                # The next run may overwrite its predecessor's outputs.
                parts.setdefault(name, []).append(tensor.clone())
        return {name: torch.cat(tensors) for name, tensors in parts.items()}

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Read N windows."""
        length = window.text.shape[2]
        runner, count = self.runner_for(length)
        outputs = self.in_batches(
            runner.read,
            {
                "queries": window.queries,
                "references": window.references[:, -1].contiguous(),
                "text": F.pad(window.text, (0, 0, 0, count - length)),
                "text_padding": F.pad(window.text_padding, (0, count - length), value=True),
                "ages": window.ages,
                "mask_features": mask_features,
            },
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
