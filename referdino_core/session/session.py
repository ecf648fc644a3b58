# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Session: several commands over one stream of images, with one model."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from referdino_core.building import load_model, tokenizer_of
from referdino_core.configuration import SessionSettings
from referdino_core.errors import CommandError
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.object_memory import ObjectMemory
from referdino_core.network.pixels import mask_probabilities, network_size
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.network.tokenizer import Tokenizer, caption
from referdino_core.runtime.choice import open_stages
from referdino_core.runtime.stages import Watch
from referdino_core.session import snapshot
from referdino_core.session.stepping import CommandReading, View, step_together
from referdino_core.session.target import Target, TargetState
from referdino_core.session.target_tracker import TargetTracker

logger = logging.getLogger("referdino.session")

SINGLE_COMMAND = "command"
MOST_COMMANDS = 64
SECONDS_BETWEEN_RESET_LOGS = 10.0


@dataclass
class Command:
    """One running command: its encoded text and everything it remembers."""

    sentence: str
    text: TextFeatures
    memory: ObjectMemory
    tracker: TargetTracker


class Session:
    """Follows what sentences refer to through a stream of images.

    The image is encoded once per frame however many commands there are, a sentence once per
    command; masks are decoded only for targets that are seen. Work and memory per frame do not
    depend on how long the stream has run. Not thread-safe: one thread owns a session. For several
    cameras there is `CameraGroup`.
    """

    def __init__(
        self,
        model: ReferDINO | str | Path = "nano",
        *,
        window: int | None = None,
        settings: SessionSettings | None = None,
        device: str = "cpu",
        runtime: str = "auto",
        precision: str = "fp32",
        exports: str | Path | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Open a session.

        Args:
            model: a built model, "nano" (comes along), "swint" or "swinb" (downloaded weights),
                or the path of a checkpoint.
            window: frames that are averaged and remembered; overrides the settings'.
            settings: thresholds of the target states.
            device: where the model runs, e.g. "cpu" or "cuda".
            runtime: "torch", "onnxruntime", "tensorrt", or "auto" for the fastest that is here.
            precision: "fp32", "bf16" or "fp16".
            exports: folder that `referdino export` wrote, for ONNX Runtime and TensorRT.
            watch: hears of progress where a runtime takes long to get ready for an image size.

        Raises:
            ReferDINOError: the model, its weights, the device or the runtime is not to be had.
        """
        settings = settings or SessionSettings()
        self.settings = settings if window is None else replace(settings, window=window)
        self.model = load_model(model, device)
        self.stages = open_stages(self.model, runtime, precision, exports, watch)
        self.tokenizer: Tokenizer = tokenizer_of(self.model.configuration)
        self.begin_stream()

    def begin_stream(self) -> None:
        """Have no commands, and have seen nothing yet."""
        self.last_reset: str | None = None
        self.first_reset: str | None = None
        self.reset_count = 0
        self.reset_logged = -math.inf
        self.running: dict[str, Command] = {}
        self.track_count = 0
        self.image_size: tuple[int, int] | None = None
        self.stamp: float | None = None

    def another(self) -> Session:
        """A session of another stream, over the same model and runtime and with equal settings."""
        session = copy.copy(self)
        session.begin_stream()
        return session

    @property
    def model_name(self) -> str:
        """Name of the model's configuration."""
        return self.model.configuration.name

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(self.model.device)

    @property
    def runtime(self) -> str:
        """What computes the network, and in which precision."""
        return f"{self.stages.name} {self.stages.precision}"

    @property
    def commands(self) -> dict[str, str]:
        """The running commands by id."""
        return {key: command.sentence for key, command in self.running.items()}

    @commands.setter
    def commands(self, sentences: Mapping[str, str]) -> None:
        """Replace the set; commands whose id and text stay keep what they remember.

        Raises:
            CommandError: an id or a sentence cannot be used; the running set stays as it was.
        """
        if len(sentences) > MOST_COMMANDS:
            raise CommandError(
                f"{len(sentences)} commands were given; at most {MOST_COMMANDS} run at once."
            )
        running = {}
        for key, sentence in sentences.items():
            if not isinstance(key, str) or not key.strip():
                raise CommandError("Every command needs an id that is not empty.")
            kept = self.running.get(key)
            running[key] = kept if kept and kept.sentence == sentence else self.begin(sentence)
        self.running = running

    def command(self, sentence: str) -> None:
        """Follow this sentence alone; an empty one clears.

        Raises:
            CommandError: the sentence cannot be used; what was running goes on.
        """
        blank = isinstance(sentence, str) and not sentence.strip()
        self.commands = {} if blank else {SINGLE_COMMAND: sentence}

    def begin(self, sentence: str) -> Command:
        """A command with nothing remembered; the sentence is encoded here, once."""
        caption(sentence)
        ids = self.tokenizer.encode(sentence)
        unknown = self.tokenizer.unknown_words(sentence)
        if unknown:
            logger.warning(
                "The vocabulary of %s lacks: %s. It will guess from the other words.",
                self.model_name,
                ", ".join(dict.fromkeys(unknown)),
            )
        with torch.inference_mode():
            text = self.stages.encode_text([ids])
        return Command(sentence, text, self.new_memory(), self.new_tracker())

    def new_memory(self) -> ObjectMemory:
        """An object memory of the settings' window."""
        return self.model.object_memory(self.settings.window)

    def new_tracker(self) -> TargetTracker:
        """A tracker that numbers its tracks from the session's counter."""
        return TargetTracker(self.new_track_id)

    def new_track_id(self) -> int:
        """An identity that no object of this session has had."""
        self.track_count += 1
        return self.track_count

    def reset(self, reason: str) -> None:
        """Forget every command's memory, keep the commands, and say why in the log now and then."""
        self.last_reset = reason
        self.first_reset = self.first_reset or reason
        self.reset_count += 1
        now = time.monotonic()
        if now - self.reset_logged >= SECONDS_BETWEEN_RESET_LOGS:
            self.reset_logged = now
            logger.warning("Memories were reset: %s (reset %d).", reason, self.reset_count)
        for command in self.running.values():
            command.memory, command.tracker = self.new_memory(), self.new_tracker()

    def snapshot(self) -> dict[str, Any]:
        """Everything that is remembered, as plain data for `torch.save`; not the model."""
        return {
            "image_size": self.image_size,
            "stamp": self.stamp,
            "last_reset": self.last_reset,
            "first_reset": self.first_reset,
            "reset_count": self.reset_count,
            "track_count": self.track_count,
            "commands": {
                key: snapshot.command_to_plain(command) for key, command in self.running.items()
            },
        }

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Go on where a session of the same model and settings took this snapshot."""
        self.image_size = remembered["image_size"]
        self.stamp = remembered["stamp"]
        self.last_reset = remembered["last_reset"]
        self.first_reset = remembered["first_reset"]
        self.reset_count = remembered["reset_count"]
        self.reset_logged = -math.inf
        self.track_count = remembered["track_count"]
        self.running = {
            key: self.revive(command) for key, command in remembered["commands"].items()
        }

    def revive(self, plain: dict[str, Any]) -> Command:
        """A command of a snapshot."""
        device = self.model.device
        text = snapshot.text_from_plain(plain, device)
        command = Command(plain["sentence"], text, self.new_memory(), self.new_tracker())
        snapshot.restore_memory(command.memory, plain, device)
        snapshot.restore_tracker(command.tracker, plain)
        return command

    def prepare(self, height: int, width: int) -> None:
        """Get ready for images of this size ahead of the first, where that takes long.

        Raises:
            ReferDINOError: the runtime cannot serve this size.
        """
        short_side = self.model.configuration.image_short_side
        self.stages.fit(network_size(height, width, short_side))

    def step(self, image: np.ndarray, stamp: float | None = None) -> tuple[Target, ...]:
        """What every command refers to in the next image.

        Args:
            image: (H, W, 3) uint8 RGB.
            stamp: seconds; by default images are 0.1 s apart.

        Returns:
            One target per command, in the order of the commands.

        Raises:
            ImageError: this is no such image; the stream goes on with the next one.
        """
        view = View(self, image, stamp)
        view.check()
        (targets,) = step_together([view])
        return targets

    def follow_stream(self, size: tuple[int, ...], stamp: float | None) -> float:
        """Note size and stamp of the next image, and reset where the stream breaks."""
        if stamp is None:
            stamp = 0.0 if self.stamp is None else self.stamp + 0.1
        height, width = size
        if self.image_size not in (None, (height, width)):
            before = "x".join(str(side) for side in reversed(self.image_size or ()))
            self.reset(f"the image size changed from {before} to {width}x{height}")
        if self.stamp is not None:
            gap = stamp - self.stamp
            if gap < 0:
                self.reset(f"stamps jumped back by {-gap:.2f} s")
            elif 0 < self.settings.max_gap < gap:
                self.reset(f"there was a gap of {gap:.2f} s between images")
        self.image_size, self.stamp = (height, width), stamp
        return stamp

    def answer(self, key: str, reading: CommandReading, size: tuple[int, ...]) -> Target:
        """The target of one command in an image of (height, width); only a seen one has a mask."""
        command = self.running[key]
        height, width = size
        corners = reading.boxes * np.array([width, height, width, height], dtype=np.float32)
        choice = command.tracker.update(reading.scores, corners, self.settings)
        mask = np.zeros((height, width), dtype=bool)
        box = None
        if choice.state is TargetState.TRACKING:
            features = reading.mask_features
            embedding = reading.mask_embeddings[choice.slot][None, None].to(features.dtype)
            logits = decode_masks(embedding, features)
            sure = mask_probabilities(logits.float(), reading.resized, (height, width))[0, 0]
            mask = (sure > self.settings.mask_threshold).cpu().numpy()
            left, top, right, bottom = (float(value) for value in corners[choice.slot])
            box = (left, top, right, bottom)
        return Target(
            command_id=key,
            command=command.sentence,
            track_id=choice.track_id,
            state=choice.state,
            score=choice.score,
            frame_score=choice.frame_score,
            box=box,
            mask=mask,
        )
