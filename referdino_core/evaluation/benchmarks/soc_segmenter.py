# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC's inference for benchmarks, with clips cut and resized as in its published evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from referdino_core.evaluation.benchmarks import WHOLE_CLIP
from referdino_core.evaluation.benchmarks.clips import WINDOW, ContextWindow
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames, Segmenter, SentenceResult
from referdino_core.evaluation.referring_measures import Candidate
from referdino_core.evaluation.soc_model import SOC_RUNTIME, LoadedSOC
from referdino_core.peers.soc.reading import VIDEOS, FrameSize, SOCReading, read_clip


@dataclass(frozen=True)
class SOCProtocol:
    """How the clips of a benchmark are cut and resized.

    Attributes:
        frames_at_once: number of frames of a chunk, for which a query is chosen on its own; None
            for the whole video.
        frame_size: rule for resizing frames.
    """

    frames_at_once: int | None = None
    frame_size: FrameSize = VIDEOS
    context: ContextWindow | None = None


class SOCWholeClip(Segmenter):
    """SOC's published inference: one query answers in all frames of a clip.

    If only one frame is evaluated, it is the fifth of a clip of 8 frames; frames that do not exist
    are replaced by the nearest one.
    """

    name = WHOLE_CLIP
    sentences_at_once = 1

    def __init__(self, loaded: LoadedSOC, protocol: SOCProtocol) -> None:
        self._loaded = loaded
        self._protocol = protocol
        size = protocol.frame_size
        self.settings: dict[str, Any] = {
            "runtime": SOC_RUNTIME,
            "frames_at_once": protocol.frames_at_once,
            "frame_size": [size.short, size.longest],
        }

    def check(self, sentence: str) -> None:
        self._loaded.tokenizer.encode(sentence)

    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[SentenceResult]:
        return [self._segment(frames, sentence) for sentence in sentences]

    def _segment(self, frames: ReadFrames, sentence: str) -> SentenceResult:
        model, size = self._loaded.model, self._protocol.frame_size
        input_ids = self._loaded.tokenizer.encode(sentence)
        if frames.only_frame is not None:
            window = frames_around(frames, frames.only_frame)
            return _SOCResult([read_clip(model, input_ids, window, size, only_frame=WINDOW // 2)])
        images = frames.images
        step = self._protocol.frames_at_once or len(images)
        return _SOCResult(
            [
                read_clip(model, input_ids, images[first : first + step], size)
                for first in range(0, len(images), step)
            ]
        )


def frames_around(frames: ReadFrames, only_frame: int) -> list[np.ndarray]:
    """8 images with the evaluated frame as the fifth; missing frames are replaced by the nearest.

    Args:
        only_frame: index of the evaluated frame in `frames.images`.
    """
    indices = np.asarray(frames.indices)
    wanted = indices[only_frame] + np.arange(-(WINDOW // 2), WINDOW - WINDOW // 2)
    nearest = np.abs(indices - wanted[:, None]).argmin(axis=1)
    return [frames.images[place] for place in nearest]


class _SOCResult(SentenceResult):
    def __init__(self, readings: Sequence[SOCReading]) -> None:
        self._readings = readings

    def masks(self) -> Iterator[np.ndarray]:
        return chain.from_iterable(reading.masks() for reading in self._readings)

    def probabilities(self) -> Iterator[np.ndarray]:
        return chain.from_iterable(reading.probabilities() for reading in self._readings)

    def candidates(self) -> list[Candidate]:
        return [Candidate(*candidate) for candidate in self._readings[-1].candidates()]
