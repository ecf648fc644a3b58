# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Base of the backends that run exported networks: choice of export, padding of texts."""

from __future__ import annotations

import abc
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from referdino_core.backends.backend import (
    MAX_SIZES,
    Backend,
    EncodedImage,
    FrameGrounding,
    Preparation,
)
from referdino_core.backends.runners import (
    BackgroundOpening,
    Runner,
    SizeRunners,
    padded_text,
    padded_window,
    run_in_batches,
)
from referdino_core.configuration import SessionSettings
from referdino_core.errors import CommandError, ExportedSetError, RuntimeUnavailable
from referdino_core.export.cache import ExportCache
from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.export.exporting import checkpoint_sum, obstacle
from referdino_core.export.stage_io import GROUNDER, IMAGE_ENCODER, READOUT
from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.precision import precisions_of
from referdino_core.progress import ProgressMonitor

TOKEN_COUNTS = (16, 32, 64)
"""Lengths that texts are padded to, each with graphs of its own."""


class ExportedBackend(Backend):
    """Base of the backends that run exported networks, which are exported on demand.

    Texts are padded to the smallest of `TOKEN_COUNTS` that fits the longest sentence and is open,
    or to the length of the given export. Where a longer one or another image size is needed while
    images are processed, it is exported and opened in the background. Graphs take one image.

    Attributes:
        title: name of the runtime in messages.
        export_variant: lowering variant of deformable attention in its own exports.
        supported_variants: variants that a given export may have.
        commands_at_once: most commands per call; more are split into several. None for any number.
        window: most frames that its own exports are described with.
    """

    takes_batches = False
    title: str
    export_variant: str
    supported_variants: tuple[str, ...]
    commands_at_once: int | None = None

    def __init__(
        self,
        model: ReferDINO,
        precision: str,
        exports: Path | None = None,
        monitor: ProgressMonitor | None = None,
    ) -> None:
        """Check what can be checked before the size of the images is known.

        Args:
            model: on its device.
            precision: of the tensor stages.
            exports: what `referdino export` wrote; None exports as needed, and keeps the exports.
            monitor: for progress and cancellation of exporting and opening.

        Raises:
            RuntimeUnavailable: the precision is unsupported, or nothing is exported and cannot be.
            ExportedSetError: the export is damaged, or of other weights or another precision.
        """
        super().__init__(model, precision)
        self.monitor = monitor or ProgressMonitor()
        self.check_precision()
        self.given = None if exports is None else self.read_given(exports)
        self.cache = ExportCache.of(model, precision, self.export_variant)
        if self.given is None:
            self.check_can_export()
        self.size: Shape | None = None
        self.longest = 0
        self.window = SessionSettings.window
        self.prepared: OrderedDict[Shape, SizeRunners] = OrderedDict()

    @abc.abstractmethod
    def open(self, exported: ExportedSet, monitor: ProgressMonitor) -> Runner:
        """Load an exported network; may take long, and reports its progress then."""

    # ---- Checks ------------------------------------------------------------------------------

    def supported_precisions(self) -> tuple[str, ...]:
        """Names of the precisions that the runtime supports on the device."""
        return precisions_of(self.name, self.device.type)

    def check_precision(self) -> None:
        """Raise RuntimeUnavailable unless the runtime supports the precision on the device."""
        supported = self.supported_precisions()
        if self.precision not in supported:
            where = "a CPU" if self.device.type == "cpu" else "a GPU"
            raise RuntimeUnavailable(
                f"{self.title} computes in {' or '.join(supported)} on {where}, not in "
                f"{self.precision}; choose the precision {supported[-1]}, or the runtime torch."
            )

    def check_can_export(self) -> None:
        """Raise RuntimeUnavailable if the model has no export and cannot be exported."""
        found = None if self.cache.holds_any() else obstacle("onnx")
        if found is not None:
            raise RuntimeUnavailable(
                f"{self.title} runs exported networks, and to export this one {found}: pip install "
                "onnx, or give what `referdino export` wrote on another machine."
            )

    def read_given(self, folder: Path) -> ExportedSet:
        """The export in a folder, if it is of this model."""
        exported = read_exported_set(folder)
        if exported.deformable_attention not in self.supported_variants:
            raise ExportedSetError(
                f"{folder} writes deformable attention as {exported.deformable_attention}, which "
                f"{self.title} cannot run: export with --deformable-attention "
                f"{' or '.join(self.supported_variants)}."
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

    # ---- Preparation -------------------------------------------------------------------------

    @property
    def token_counts(self) -> tuple[int, ...]:
        """Lengths that texts can be padded to, ascending."""
        return TOKEN_COUNTS if self.given is None else (self.given.tokens,)

    @property
    def runners(self) -> dict[int, Runner]:
        """The runners for the current image size, by the number of tokens."""
        return {} if self.size is None else self.prepared[self.size].runners

    def try_again(self) -> None:
        """As the base class."""
        for prepared in self.prepared.values():
            prepared.forget_failures()

    def prepare(self, size: Shape) -> None:
        """Load the graphs for images of that size; exports them first if necessary."""
        if size == self.size and size in self.prepared:
            return
        if not self.can_prepare(size) and self.given is not None:
            raise ExportedSetError(
                f"{self.given.folder} was exported for images of {self.given.width}x"
                f"{self.given.height}, not {size[1]}x{size[0]}: export with --size "
                f"{size[0]}x{size[1]}."
            )
        prepared = self.prepared.get(size, SizeRunners())
        if not prepared.runners:
            count = self.count_for(self.longest)
            prepared.runners[count] = self.open_count(size, count, self.monitor)
        self.keep(size, prepared)
        self.size = size

    def can_prepare(self, size: Shape) -> bool:
        """Whether the given export, if any, is for images of that size."""
        return self.given is None or self.given.size == size

    def keep(self, size: Shape, prepared: SizeRunners) -> None:
        """Stay ready for an image size, and for the last few before it."""
        self.prepared[size] = prepared
        self.prepared.move_to_end(size)
        while len(self.prepared) > MAX_SIZES:
            self.prepared.popitem(last=False)

    def preparation(self, tokens: int, size: Shape | None) -> Preparation | None:
        """As the base class; what failed is not retried before `try_again`."""
        self.longest = max(self.longest, tokens)
        if size is None or not self.prepared or not self.can_prepare(size):
            return None
        if size not in self.prepared:
            self.keep(size, SizeRunners())
        prepared = self.prepared[size]
        if prepared.token_counts(tokens):
            return None
        count = self.count_for(tokens)
        opening = prepared.openings.get(count)
        if opening is None:
            opening = prepared.openings[count] = BackgroundOpening(
                f"sentences of {count} tokens in images of {size[1]}x{size[0]}",
                partial(self.open_count, size, count),
                self.monitor.cancelled,
            )
        if opening.runner is None:
            return opening.preparation
        prepared.runners[count] = opening.runner
        del prepared.openings[count]
        return None

    def open_count(self, size: Shape, count: int, monitor: ProgressMonitor) -> Runner:
        """Open the runner for texts of `count` tokens; exports it first if necessary."""
        exported = self.given or self.cache.provide(
            size, count, monitor.with_phase("exporting the network"), self.window
        )
        return self.open(exported, monitor)

    def count_for(self, length: int) -> int:
        """The number of tokens that texts of some length are padded to."""
        return next(count for count in self.token_counts if count >= length)

    def runner_for(self, length: int) -> tuple[Runner, int]:
        """The runner for texts of some length, and the length that they are padded to."""
        if self.size is None:
            raise RuntimeError("call prepare() with the size of the images first")
        prepared = self.prepared[self.size]
        if not prepared.token_counts(length):
            count = self.count_for(length)
            prepared.runners[count] = self.open_count(self.size, count, self.monitor)
        count = prepared.token_counts(length)[0]
        return prepared.runners[count], count

    # ---- Stages ------------------------------------------------------------------------------

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

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode pixels of the prepared size; the encoder is the same for any length of text."""
        runner, _ = self.runner_for(min(self.runners, default=0))
        outputs = runner.run(IMAGE_ENCODER.name, IMAGE_ENCODER.named_inputs(pixels))
        return EncodedImage(*IMAGE_ENCODER.ordered_outputs(outputs))

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences in one image."""
        runner, count = self.runner_for(text.tokens.shape[1])
        inputs = GROUNDER.named_inputs(image.tokens, image.finest, *padded_text(text, count))
        features = {name: inputs.pop(name) for name in GROUNDER.chained}
        outputs = run_in_batches(
            lambda part: runner.run(GROUNDER.name, {**features, **part}),
            inputs,
            self.commands_at_once,
        )
        return FrameGrounding(*GROUNDER.ordered_outputs(outputs))

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Read N windows."""
        runner, count = self.runner_for(window.text.shape[2])
        outputs = run_in_batches(
            partial(runner.run, READOUT.name),
            READOUT.named_inputs(*padded_window(window, count), mask_features),
            self.commands_at_once,
        )
        return SlotReadings(*READOUT.ordered_outputs(outputs))
