# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The job of a replay, and the opening of its source, commands and ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.evaluation.benchmarks import STREAM, WHOLE_CLIP
from referdino_core.evaluation.ground_truth import GroundTruth, open_ground_truth
from referdino_core.evaluation.ground_truth.opening import TOPIC
from referdino_core.media.frame_source import check_frame_rate
from referdino_core.replay.bag_files import is_bag
from referdino_core.replay.bag_recording import BagRecording
from referdino_core.replay.clocks import Clock, EveryFrame
from referdino_core.replay.commands import (
    CommandChange,
    check_sentences,
    from_sentences,
    read_commands,
    with_objects,
)
from referdino_core.replay.recording import (
    Event,
    MediaRecording,
    RecordedFrame,
    Recording,
    frame_rate_of,
)
from referdino_core.replay.topic_ground_truth import TopicGroundTruth
from referdino_core.session.model_choice import ModelChoice


@dataclass(frozen=True)
class ReplayJob:
    """One recording to replay, with all options.

    Attributes:
        source: rosbag2 recording, video file or folder of images.
        out: folder of the run.
        sentences: commands that are active from the first frame on.
        command_file: YAML file of commands with times.
        command_topic: topic of recorded commands; None for the node's own. At most one of the
            three is given.
        topic: of the images; None for the only one.
        inputs: topics to copy; None for images and commands.
        truth: as `open_ground_truth` takes it; None without ground truth.
        meanings: object ids of the ground truth by sentence, for commands that name none.
        clock: decides which frames are processed, and when their results are available.
        inference: "stream" (frame by frame, as in the node) or "whole-clip".
        frame_rate: of a folder of images; overrides a video's own.
        restart: whether to discard an unfinished run in `out`.
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
    inference: str = STREAM
    frame_rate: float | None = None
    model: ModelChoice = field(default_factory=ModelChoice)
    restart: bool = False

    @property
    def objects_by_sentence(self) -> dict[str, tuple[int, ...]]:
        """The meanings, by sentence without white space around it."""
        return {sentence.strip(): objects for sentence, objects in self.meanings}


_FRAMES_FOR_THE_RATE = 16


def changes_of(job: ReplayJob) -> tuple[CommandChange, ...]:
    """The command changes that are known before the first frame.

    Raises:
        SourceError: they are given in several ways, or the file or a sentence is invalid.
    """
    ways = [bool(job.sentences), job.command_file is not None, job.command_topic is not None]
    if sum(ways) > 1:
        raise SourceError("Give only one of --command, --commands and --command-topic.")
    given = (
        from_sentences(job.sentences)
        if job.command_file is None
        else read_commands(job.command_file)
    )
    check_sentences(given)
    return tuple(with_objects(change, job.objects_by_sentence) for change in given)


def open_recording(job: ReplayJob) -> Recording:
    """Open the source: a bag, a video or images.

    Raises:
        SourceError: it cannot be read, or lacks a topic.
    """
    check_frame_rate(job.frame_rate)
    if not job.source.exists():
        raise SourceError(
            f"{job.source} does not exist; give a rosbag2 recording, a video file or a folder of "
            "images."
        )
    if not is_bag(job.source):
        if job.topic is not None or job.inputs or job.command_topic is not None:
            raise SourceError(
                f"{job.source} is not a rosbag2 recording, so it has no topics to choose from."
            )
        return MediaRecording(job.source, job.frame_rate)
    truth = job.truth or ""
    return BagRecording(
        job.source,
        topic=job.topic,
        command_topic=job.command_topic,
        follow_commands=not job.sentences and job.command_file is None,
        inputs=job.inputs,
        truth_topic=truth.removeprefix(TOPIC) if truth.startswith(TOPIC) else None,
    )


def check_inference(job: ReplayJob, changes: Sequence[CommandChange]) -> None:
    """Check that the options of a job are compatible with its inference.

    Raises:
        SourceError: whole-clip inference with commands that change, or with a real-time clock.
    """
    if job.inference != WHOLE_CLIP:
        return
    if job.clock.has_delays:
        raise SourceError("Whole-clip inference is not causal: leave --realtime-on out.")
    if not changes or any(change.at or not change.text.strip() for change in changes):
        raise SourceError(
            "Whole-clip inference needs commands that are active from the first frame to the last: "
            "give --command, or --commands with times of 0."
        )


def open_job_ground_truth(job: ReplayJob) -> GroundTruth:
    """Open the ground truth of the source.

    Raises:
        SourceError: there is no such ground truth.
    """
    open_topic = partial(TopicGroundTruth, job.source) if is_bag(job.source) else None
    return open_ground_truth(job.truth or "", job.source, open_topic)


def with_frame_rate(recording: Recording) -> tuple[float, Iterator[Event]]:
    """Frame rate and all events; a rate that the source does not state is estimated."""
    events = recording.events()
    if recording.frame_rate is not None:
        return recording.frame_rate, events
    ahead: list[Event] = []
    arrivals: list[int] = []
    for event in events:
        ahead.append(event)
        if isinstance(event, RecordedFrame):
            arrivals.append(event.arrival)
            if len(arrivals) > _FRAMES_FOR_THE_RATE:
                break
    return frame_rate_of(arrivals), chain(ahead, events)
