# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`make replay-demo`: a rendered bag, replayed with the bundled model, scored and reported.

The bag contains what a robot would record: camera images and commands; and label images as ground
truth.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from referdino_core.argument_types import non_negative_integer, positive_number
from referdino_core.cli import main as referdino
from referdino_core.errors import ReferDINOError
from referdino_core.files import create_folder
from referdino_core.replay.message_types import header_message, image_message, message_types
from referdino_core.world import Clip, WorldRenderer, WorldSettings
from referdino_core.world.timed_commands import TimedCommand, choose_commands

WIDTH, HEIGHT, FRAME_RATE = 320, 240, 10.0
IMAGE_TOPIC, COMMAND_TOPIC, TRUTH_TOPIC = "/camera/image_raw", "/referdino/command", "/truth/labels"
IMAGE, TEXT = "sensor_msgs/msg/Image", "std_msgs/msg/String"
START = 1_700_000_000 * 10**9
"""Start of the recording in nanoseconds."""


@dataclass(frozen=True)
class Recorded:
    """A message of the bag: topic, integer nanoseconds, type and content."""

    topic: str
    time: int
    kind: str
    message: Any


def main(argv: Sequence[str] | None = None) -> int:
    """Render, record and replay; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m referdino_core.cli.replay_demo", description="Replays a bag from the world."
    )
    parser.add_argument("--out", type=Path, default=Path("out", "replay"), help="folder")
    parser.add_argument(
        "--seconds", type=positive_number, default=24.0, help="length of the recording"
    )
    parser.add_argument(
        "--clip", type=non_negative_integer, default=2, help="clip of the world's test split"
    )
    parser.add_argument("options", nargs="*", help="after --: further options of referdino replay")
    arguments = parser.parse_args(argv)
    bag = arguments.out / "recording"
    try:
        create_folder(arguments.out)
        commands = record(bag, arguments.clip, arguments.seconds)
    except ReferDINOError as error:
        print(f"replay-demo: {error}", file=sys.stderr)
        return 1
    replay = ["replay", str(bag), "--out", str(arguments.out / "run"), "--restart"]
    replay += ["--topic", IMAGE_TOPIC, "--truth", f"topic:{TRUTH_TOPIC}"]
    replay += [f"--means={command.text}={command.target}" for command in commands]
    replay += arguments.options
    print(f"{bag}: {arguments.seconds:g} s of camera, commands and ground truth")
    print(f"referdino {shlex.join(replay)}", flush=True)
    return referdino(replay)


def record(bag: Path, index: int, seconds: float) -> tuple[TimedCommand, ...]:
    """Render a clip of the test split and record it; returns the commands that were given.

    Raises:
        WorldUnavailable: there is no MuJoCo or no OpenGL here.
        ReferDINOError: the length is impossible, or the folder cannot be written.
    """
    frames = max(1, round(seconds * FRAME_RATE))
    settings = WorldSettings(WIDTH, HEIGHT, frames, FRAME_RATE)
    print(f"Rendering {frames} frames.", flush=True)
    with WorldRenderer(settings) as renderer:
        clip = renderer.clip("test", index)
    commands = choose_commands(clip, settings)
    messages = [*texts_of(commands), *images_of(clip)]
    write_bag(bag, sorted(messages, key=lambda recorded: recorded.time))
    return commands


def images_of(clip: Clip) -> Iterator[Recorded]:
    """The camera images, and the label images of their objects."""
    for image, labels, seconds in zip(clip.frames, clip.segmentation, clip.stamps, strict=True):
        for topic, encoding, pixels in (
            (IMAGE_TOPIC, "rgb8", image),
            (TRUTH_TOPIC, "mono8", labels),
        ):
            message = image_message(pixels, encoding, header_message(at(seconds), "camera"))
            yield Recorded(topic, at(seconds), IMAGE, message)


def texts_of(commands: Sequence[TimedCommand]) -> Iterator[Recorded]:
    """The commands as they were published."""
    for command in commands:
        message = message_types().types[TEXT](data=command.text)
        yield Recorded(COMMAND_TOPIC, at(command.begins), TEXT, message)


def at(seconds: float) -> int:
    """Nanoseconds of the recording."""
    return START + round(seconds * 1e9)


def write_bag(folder: Path, messages: Sequence[Recorded]) -> None:
    """Write messages in order of time, replacing an earlier bag."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    types = message_types()
    shutil.rmtree(folder, ignore_errors=True)
    with Writer(folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=types)
            for topic, kind in sorted({(recorded.topic, recorded.kind) for recorded in messages})
        }
        for recorded in messages:
            data = types.serialize_cdr(recorded.message, recorded.kind)
            writer.write(connections[recorded.topic], recorded.time, data)


if __name__ == "__main__":
    sys.exit(main())
