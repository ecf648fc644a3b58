# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Common interface of whole-clip inference: ReferDINO and SOC."""

from __future__ import annotations

import math
import resource
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from referdino_core.evaluation.soc_model import SOC_RUNTIME, LoadedSOC, load_soc
from referdino_core.evaluation.whole_clip import FRAMES_AT_ONCE
from referdino_core.evaluation.whole_clip import read_clip as read_referdino
from referdino_core.network.pixels import network_size
from referdino_core.peers import PEER_NAMES
from referdino_core.peers.soc import reading as soc
from referdino_core.session.model_choice import LoadedModel, ModelChoice, load

GIGABYTE = 1e9
BATCH_MEMORY, FRAME_MEMORY = 600, 4
"""ReferDINO's bytes per pixel of a frame that is in the network, measured with Swin-T, Swin-B and
nano, and of a frame that was: its mask features.
"""


@dataclass(frozen=True)
class ClipAnswer:
    """The object that a sentence refers to in a clip of T frames.

    Attributes:
        scores: (T,) probability that the sentence refers to it.
        masks: T masks (H, W) bool, computed during iteration.
    """

    scores: np.ndarray
    masks: Iterator[np.ndarray]


class ClipReader(ABC):
    """A loaded model for whole-clip inference.

    Attributes:
        runtime: name and precision of the runtime.
    """

    runtime = SOC_RUNTIME

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Device of the model."""

    @abstractmethod
    def summary(self) -> dict[str, str | bool | None]:
        """What distinguishes these weights, for the summary of a run."""

    @abstractmethod
    def encode(self, sentence: str) -> object:
        """Token ids of a sentence.

        Raises:
            CommandError: the sentence cannot be used.
        """

    @abstractmethod
    def memory(self, frames: int, height: int, width: int) -> float:
        """Estimated bytes of a clip on the device, besides its images and the weights."""

    @abstractmethod
    def read(
        self, sentence: str, images: Sequence[np.ndarray], stamps: Sequence[float] | None
    ) -> ClipAnswer:
        """Find the object that a sentence refers to; it is the same in all images.

        Args:
            images: T arrays (H, W, 3) uint8 RGB of one size.
            stamps: T seconds; by default frames are 0.1 s apart.
        """


class ReferDINOClips(ClipReader):
    """Whole-clip inference of ReferDINO: the slot with the highest mean score."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._model, self._tokenizer = loaded.session.model, loaded.session.tokenizer

    @property
    def device(self) -> torch.device:
        return self._model.device

    def summary(self) -> dict[str, str | bool | None]:
        return self._loaded.summary()

    def encode(self, sentence: str) -> object:
        return self._tokenizer.encode(sentence)

    def memory(self, frames: int, height: int, width: int) -> float:
        side = self._model.configuration.image_short_side
        pixels = math.prod(network_size(height, width, side))
        return pixels * (BATCH_MEMORY * FRAMES_AT_ONCE + FRAME_MEMORY * frames)

    def read(
        self, sentence: str, images: Sequence[np.ndarray], stamps: Sequence[float] | None
    ) -> ClipAnswer:
        reading = read_referdino(self._model, self._tokenizer, sentence, images, stamps)
        (slot,) = reading.best_slots()
        return ClipAnswer(reading.scores[:, slot], (masks[0] for masks in reading.masks([slot])))


class SOCClips(ClipReader):
    """Whole-clip inference of SOC, as for Ref-YouTube-VOS."""

    def __init__(self, loaded: LoadedSOC) -> None:
        self._loaded = loaded

    @property
    def device(self) -> torch.device:
        return self._loaded.model.device

    def summary(self) -> dict[str, str | bool | None]:
        return self._loaded.summary()

    def encode(self, sentence: str) -> object:
        return self._loaded.tokenizer.encode(sentence)

    def memory(self, frames: int, height: int, width: int) -> float:
        configuration = self._loaded.model.configuration
        return soc.clip_memory(configuration, frames, soc.VIDEOS.of(height, width))

    def read(
        self, sentence: str, images: Sequence[np.ndarray], stamps: Sequence[float] | None
    ) -> ClipAnswer:
        input_ids = self._loaded.tokenizer.encode(sentence)
        reading = soc.read_clip(self._loaded.model, input_ids, images)
        return ClipAnswer(reading.scores[:, reading.chosen], reading.masks())


def load_clip_reader(choice: ModelChoice) -> ClipReader:
    """Load the chosen model for whole-clip inference.

    Raises:
        ReferDINOError: weights or device are not available.
    """
    if choice.model in PEER_NAMES:
        return SOCClips(load_soc(choice))
    return ReferDINOClips(load(choice))


def memory_in_use(device: str, state: int | None = None) -> dict[str, int]:
    """Bytes that this process uses: `resident` in main memory, `gpu` at most so far on a GPU.

    Args:
        device: of the model.
        state: bytes of the model's memory of a stream, listed as `state`; None if unknown.
    """
    used = {} if state is None else {"state": state}
    if device.startswith("cuda"):
        used["gpu"] = int(torch.cuda.max_memory_allocated(torch.device(device)))
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used["resident"] = int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        pass
    return used


def free_memory(device: torch.device) -> float | None:
    """Free bytes of a GPU, or of main memory for a CPU; None if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            entries = dict(line.split(":", 1) for line in file)
        return 1024.0 * int(entries["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None
