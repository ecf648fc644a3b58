# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What is to be replayed, with what; plain data that travels between processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.configuration import SessionSettings
from referdino_core.replay.clocks import Clock, EveryFrame

if TYPE_CHECKING:
    from referdino_core.session import Session

DEFAULT_MODEL = "nano"


@dataclass(frozen=True)
class ModelChoice:
    """A network, its weights, what computes it, and the thresholds of its session.

    Attributes:
        model: name of the configuration; None for the checkpoint's own, or "nano".
        checkpoint: path of the weights; None for the model's own.
        device, runtime, precision, exports, settings: as `Session` takes them.
    """

    model: str | None = None
    checkpoint: Path | None = None
    device: str = "cpu"
    runtime: str = "auto"
    precision: str = "fp32"
    exports: Path | None = None
    settings: SessionSettings = field(default_factory=SessionSettings)


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


@dataclass(frozen=True)
class LoadedModel:
    """A session, which may serve one job after the other, and where its weights are from.

    Attributes:
        weights: file of the weights. sha256: of that file.
    """

    session: Session
    choice: ModelChoice
    weights: Path
    sha256: str


def load(choice: ModelChoice) -> LoadedModel:
    """Load a model as the node does.

    Raises:
        ReferDINOError: weights, device or runtime are not to be had.
    """
    import referdino_core as rd
    from referdino_core.building import weights_of
    from referdino_core.download import checksums
    from referdino_core.installation import choose_threads

    name = choice.model or DEFAULT_MODEL
    weights = choice.checkpoint or weights_of(name)
    model: rd.ReferDINO | str | Path = choice.checkpoint or name
    if choice.checkpoint is not None and choice.model is not None:
        model = rd.build(choice.model)
        rd.load_checkpoint(model, choice.checkpoint)
    session = rd.Session(
        model,
        settings=choice.settings,
        device=choice.device,
        runtime=choice.runtime,
        precision=choice.precision,
        exports=choice.exports,
    )
    choose_threads(session.model)
    return LoadedModel(session, choice, weights, checksums.compute(weights))
