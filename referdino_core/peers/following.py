# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""PeerFollower: another published model that follows sentences through a stream, image by image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.target import Box, TargetState


@dataclass(frozen=True)
class PeerSettings:
    """Thresholds and habits of the peers; durations are seconds of the images' stamps.

    Grounding DINO's thresholds and the interval in images are those of Grounded-SAM-2's camera
    demo (IDEA-Research/Grounded-SAM-2, grounded_sam2_tracking_camera_with_continuous_id.py): boxes
    and labels from 0.25, detection every 20 images, the same object from an overlap of 0.3 on. Its
    demos on files use 0.4 and 0.3 or 0.35 and 0.25.

    Attributes:
        select: default selection of commands, "one" or "all".
        box_threshold: score of its best word from which a box is a detection.
        text_threshold: score of a command's best word from which a detection is the command's.
        detect_images: images after which the detector runs again while a target is tracked.
        detect_interval: duration after which it runs again, if that comes first.
        same_object: overlap (intersection over union) of masks, or boxes, from which a new
            detection is the object that was tracked before.
        switch_margin: how much higher another detection must score to replace the tracked object.
        duplicate: overlap of two detections' boxes from which the lower one is left out.
        max_objects: most objects of a command that selects all.
        hold: duration for which an invisible target is occluded before it is lost.
        window: images after which SAM 3's memory is rebuilt.
        max_gap: duration between two images' stamps that resets the memories; 0 never does.
        max_lateness: how much earlier than its predecessor an image may be stamped to be just
            dropped.

    Raises:
        ReferDINOError: a value is out of its range.
    """

    select: str = "one"
    box_threshold: float = 0.25
    text_threshold: float = 0.25
    detect_images: int = 20
    detect_interval: float = 2.0
    same_object: float = 0.3
    switch_margin: float = 0.1
    duplicate: float = 0.8
    max_objects: int = 8
    hold: float = 3.0
    window: int = 300
    max_gap: float = 5.0
    max_lateness: float = 0.5

    def __post_init__(self) -> None:
        if self.select not in ("one", "all"):
            raise ReferDINOError(f"select is {self.select!r}; choose one or all.")
        for name in ("box_threshold", "text_threshold", "same_object", "duplicate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ReferDINOError(f"{name} is {getattr(self, name)}; it must be in [0, 1].")
        for name in ("detect_images", "max_objects", "window"):
            if getattr(self, name) < 1:
                raise ReferDINOError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("detect_interval", "hold", "switch_margin", "max_gap", "max_lateness"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ReferDINOError(f"{name} is {getattr(self, name)}; it must be at least 0.")


@dataclass(frozen=True)
class Sought:
    """What a command asks for: its sentence, and whether every object that fits is wanted."""

    sentence: str
    every: bool = False


@dataclass(frozen=True)
class Followed:
    """One object of a command in one image.

    Attributes:
        identity: number of the object in the stream, from 1; 0 before one is chosen.
        state: state of the target.
        score: score of the newest detection; before one, that of the best candidate.
        frame_score: score in this image alone.
        mask: (H, W) bool; empty unless the object is visible.
        predicted_box: the detector's box in pixels, in images that it saw.
    """

    identity: int
    state: TargetState
    score: float
    frame_score: float
    mask: np.ndarray
    predicted_box: Box | None = None


def searching(size: tuple[int, int], score: float = 0.0) -> Followed:
    """The result of a command without an object, in an image of (height, width)."""
    return Followed(0, TargetState.SEARCHING, score, score, np.zeros(size, dtype=bool))


class PeerFollower(ABC):
    """A model with its memory of one stream.

    Attributes:
        name: of the model. device, precision: that it runs with.
        settings: thresholds.
        several_objects, masks, identities, noun_phrases_only, snapshots: see `Capabilities`.
    """

    several_objects: ClassVar[bool] = True
    masks: ClassVar[bool] = True
    identities: ClassVar[bool] = True
    noun_phrases_only: ClassVar[bool] = False
    snapshots: ClassVar[bool] = True

    name: str
    device: str
    precision: str
    settings: PeerSettings

    @abstractmethod
    def another(self) -> PeerFollower:
        """A follower for another stream, with the same networks and settings."""

    @abstractmethod
    def check(self, sentence: str) -> object:
        """What the model reads of a sentence.

        Raises:
            CommandError: the model cannot read it.
        """

    @abstractmethod
    def forget(self) -> None:
        """Forget every object after a break in the stream; identities are not used again."""

    @abstractmethod
    def restart(self) -> None:
        """Start a new stream: forget every object, and count identities from 1."""

    @abstractmethod
    def follow(
        self, image: np.ndarray, stamp: float, sought: Mapping[str, Sought]
    ) -> dict[str, list[Followed]]:
        """The objects of every command, by its id, in the next image.

        Args:
            image: (H, W, 3) uint8 RGB, of the size of its predecessor since `forget`.
            stamp: seconds.
            sought: the running commands by id; those that are missing are forgotten.

        Returns:
            At least one object per command.
        """

    def note_of(self, sentence: str) -> str:
        """What a report should say about the answer to a sentence; "" if nothing."""
        return ""

    @property
    def state_bytes(self) -> int:
        """Bytes of the memory of the stream."""
        return 0

    def snapshot(self) -> dict[str, Any]:
        """The memory of the stream as plain data."""
        return {}

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Restore the memory from a snapshot."""
        raise ReferDINOError(f"{self.name} cannot resume a stream.")
