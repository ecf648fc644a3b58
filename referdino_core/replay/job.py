# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What is to be replayed, with what; plain data that travels between processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from referdino_core.replay.clocks import Clock, EveryFrame
from referdino_core.session.model_choice import ModelChoice


@dataclass(frozen=True)
class ReplayJob:
    """One recording to be replayed.

    Attributes:
        source: rosbag2 recording, video file or folder of images.
        out: folder of the run.
        sentences: commands that run from the first frame on.
        command_file: YAML file of commands with times.
        command_topic: recorded commands; None for the node's own topic. At most one of the three
            is given.
        topic: of the images; None for the only one.
        inputs: topics that are copied; None for images and commands.
        truth: as `open_truth` takes it; None where there is none.
        meanings: ids of the truth by sentence, for commands that name none.
        clock: when frames are answered.
        frame_rate: of a folder of images, or instead of a video's own.
        restart: whether an unfinished run in `out` is given up.
    """

    source: Path
    out: Path
    sentences: tuple[str, ...] = ()
    command_file: Path | None = None
    command_topic: str | None = None
    topic: str | None = None
    inputs: tuple[str, ...] | None = None
    truth: str | None = None
    meanings: tuple[tuple[str, tuple[int, ...]], ...] = ()
    clock: Clock = field(default_factory=EveryFrame)
    frame_rate: float | None = None
    model: ModelChoice = field(default_factory=ModelChoice)
    restart: bool = False

    @property
    def objects_by_sentence(self) -> dict[str, tuple[int, ...]]:
        """The meanings, by sentence without white space around it."""
        return {sentence.strip(): objects for sentence, objects in self.meanings}
