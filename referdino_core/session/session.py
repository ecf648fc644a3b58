# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Session: one model that follows several commands through one stream of images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from referdino_core.backends.backend import Backend
from referdino_core.backends.selection import open_backend
from referdino_core.building import (
    load_model,
    tell_of_unused_gpu,
    tokenizer_of,
    warn_of_single_frames,
)
from referdino_core.configuration import SessionSettings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import Tokenizer
from referdino_core.progress import ProgressMonitor
from referdino_core.session.camera_stream import check_image
from referdino_core.session.command import Command
from referdino_core.session.command_request import CommandRequest, requests_of, single_command
from referdino_core.session.engine import Capabilities
from referdino_core.session.joint_step import step_together
from referdino_core.session.predictor import Predictor
from referdino_core.session.sentence_encoder import SentenceEncoder
from referdino_core.session.stream import Stream
from referdino_core.target import Target


class Session(Stream):
    """Follows the objects that sentences refer to through a stream of images.

    Each image is encoded once, however many commands there are, and each sentence once per
    command; masks are decoded only for visible targets. Work and memory per frame do not depend on
    how long the stream has run. Not thread-safe: one thread owns a session. For several cameras,
    see `CameraGroup`.
    """

    capabilities = Capabilities()
    notes: Sequence[str] = ()
    state_bytes: int | None = None

    def __init__(
        self,
        model: ReferDINO | str | Path = "nano",
        *,
        window: int | None = None,
        settings: SessionSettings | None = None,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "fp32",
        exports: str | Path | None = None,
        watch: ProgressMonitor | None = None,
    ) -> None:
        """Open a session.

        Args:
            model: a built model, "nano" (bundled), "swint" or "swinb" (downloaded weights), or the
                path of a checkpoint.
            window: frames in the temporal decoder's window; overrides that of the settings.
            settings: thresholds of the target states.
            device: where the model runs, e.g. "cpu" or "cuda"; "auto" is the first GPU that PyTorch
                can use, else the CPU, and leaves a built model where it is.
            runtime: "torch", "onnxruntime", "tensorrt", or "auto" for the fastest available one.
            precision: "fp32", "bf16" or "fp16".
            exports: a folder written by `referdino export`, for ONNX Runtime and TensorRT.
            watch: progress and cancellation for runtimes that take long to prepare for an image
                size.

        Raises:
            ReferDINOError: the model, its weights, the device or the runtime is unavailable.
        """
        settings = settings or SessionSettings()
        if window is not None:
            settings = replace(settings, window=window)
        network = load_model(model, device)
        warn_of_single_frames(network)
        tell_of_unused_gpu(device)
        backend = open_backend(network, runtime, precision, exports, watch)
        self.tokenizer: Tokenizer = tokenizer_of(network.configuration)
        super().__init__(network, Predictor(network, backend), settings)
        self.encoder = SentenceEncoder(self.tokenizer, self.predictor, self.model_name)

    def another(self) -> Session:
        """A session for another stream, with the same model, runtime and settings."""
        session = copy.copy(self)
        session.begin_stream()
        return session

    @property
    def backend(self) -> Backend:
        """The backend that runs the network."""
        return self.predictor.backend

    @backend.setter
    def backend(self, backend: Backend) -> None:
        backend.allow_window(self.settings.window)
        self.predictor = Predictor(self.model, backend)
        self.encoder = SentenceEncoder(self.tokenizer, self.predictor, self.model_name)

    @property
    def model_name(self) -> str:
        """Name of the model's configuration."""
        return self.model.configuration.name

    @property
    def device(self) -> str:
        """Device that the model runs on."""
        return str(self.model.device)

    @property
    def runtime(self) -> str:
        """Name and precision of the backend, such as "torch fp32"."""
        return f"{self.backend.name} {self.backend.precision}"

    @property
    def commands(self) -> dict[str, str]:
        """Sentences of the running commands by id."""
        return {key: command.sentence for key, command in self.running.items()}

    @commands.setter
    def commands(self, wanted: Mapping[str, str | CommandRequest]) -> None:
        """Replace all commands; those whose id and request are unchanged keep their memory.

        Raises:
            CommandError: an id or a sentence is invalid; the running commands are unchanged.
        """
        running = {}
        for key, request in requests_of(wanted).items():
            kept = self.running.get(key)
            running[key] = kept if kept and kept.request == request else self.begin(request)
        self.running = running

    @property
    def requests(self) -> dict[str, CommandRequest]:
        """Requests of the running commands by id."""
        return {key: command.request for key, command in self.running.items()}

    def command(self, sentence: str, select: str | None = None) -> None:
        """Follow this sentence alone; an empty one clears all commands.

        Args:
            select: "one" for the object that fits best, "all" for every object that fits; by
                default as in the settings.

        Raises:
            CommandError: the sentence is invalid; the running commands are unchanged.
        """
        self.commands = single_command(sentence, select)

    def begin(self, request: CommandRequest) -> Command:
        """A new command with an empty memory."""
        text = self.encoder.encode(request.text)
        self.backend.try_again()
        return Command(request, text, self.new_memory, self.new_tracker)

    def prepare(self, height: int, width: int) -> None:
        """Prepare for images of this size before the first one arrives.

        Raises:
            ReferDINOError: the runtime does not support this size.
        """
        self.predictor.prepare(height, width)

    def step(self, image: np.ndarray, stamp: float | None = None) -> tuple[Target, ...]:
        """The targets of every command in the next image.

        An image that is stamped slightly before its predecessor is dropped and counted; its
        targets have the judgement LATE.

        Args:
            image: (H, W, 3) uint8 RGB.
            stamp: seconds; by default images are 0.1 s apart.

        Returns:
            Targets in the order of the commands: one for a command that selects one object, any
            number for a command that selects all.

        Raises:
            ImageError: the image or stamp is invalid; the stream continues with the next image.
            InferenceError: the network's prediction is not finite; the memories are unchanged.
        """
        check_image(image, stamp)
        (result,) = step_together([self], [image], [stamp])
        return result.value()
