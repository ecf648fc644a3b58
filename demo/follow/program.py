# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The demo program: starts robot and nodes, gives the instructions, scores, draws a video.

Exit status: 0 everything went as expected; 1 an error, reported in one line, or an instruction that
went otherwise; 2 invalid command line; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from demo import DemoError
from demo.follow.film import write_film
from demo.follow.recording import Recorder
from demo.follow.scores import Said, score, table
from demo.follow.script import (
    ENDED,
    SCRIPT,
    Chapter,
    Expected,
    Line,
    looks_of,
    own_chapter,
    target_of,
)
from demo.processes import DemoProcess, Journal, ProcessGroup
from referdino_core.errors import ReferDINOError
from referdino_core.simulation import Room
from referdino_ros.process import join_private_graph

LOG, FILM, TABLE = "log.txt", "follow.mp4", "table.txt"
_REPOSITORY = Path(__file__).parents[2]
_CONFIG, _SPEECH = _REPOSITORY / "config", _REPOSITORY / "test" / "data" / "speech"
_DISTANCE = 2.0
"""Metres that config/follow_simulation.yaml keeps."""
_STEP = 0.5
_NAMES = {
    "simulation": "referdino_ros.following.simulation_node",
    "referdino": "referdino_ros.referdino_node",
    "targets_3d": "referdino_ros.following.targets_node",
    "follower": "referdino_ros.following.follower_node",
    "voice": "referdino_ros.voice.voice_node",
}
_REMAPPED = {
    "simulation": ["targets:=targets_3d/targets"],
    "referdino": ["image_raw:=camera/color/image_raw"],
    "targets_3d": [
        "objects:=referdino/objects",
        "depth:=camera/depth/image_raw",
        "camera_info:=camera/color/camera_info",
    ],
    "follower": ["targets:=targets_3d/targets", "command:=referdino/command"],
    "voice": [],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo with the given arguments, by default `sys.argv`."""
    arguments = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return _run(arguments)
    except ReferDINOError as error:
        print(f"demo: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo.follow",
        description="A simulated robot, the model, the 3-D node and the follower as processes on a "
        "live private ROS 2 graph obey instructions; each is scored by the ground truth.",
    )
    parser.add_argument(
        "--say",
        action="append",
        default=[],
        metavar="INSTRUCTION",
        help='your own, such as "go to the red box"; several, by repetition or separated by '
        "semicolons, come one after the other",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out", "follow-demo"),
        metavar="DIR",
        help="folder for the results (default: out/follow-demo)",
    )
    parser.add_argument("--no-video", action="store_true", help="the table alone")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    texts = [text.strip() for one in arguments.say for text in one.split(";")]
    if not all(texts):
        raise DemoError('An instruction is empty; give one such as SAY="go to the red box".')
    script = (own_chapter(texts),) if texts else SCRIPT
    if texts:
        say(f"in the room stand: {', '.join(looks_of(script[0]))}")
    Room(32, 32, 0.2)  # before any process starts: MuJoCo may be missing
    folder: Path = arguments.out
    domain = join_private_graph()
    with ProcessGroup(Journal(folder / LOG)) as processes, Recorder() as recorder:
        say(f"starting robot and nodes on ROS domain {domain}, which is local to this machine")
        names = [name for name in _NAMES if name != "voice" or _can_hear(script)]
        started = {name: _start(processes, name, script[0]) for name in names}
        spoken = _perform(script, recorder, started)
        processes.ask_to_stop()
        scores = [score(one) for one in spoken]
        told = table(spoken, scores)
        print(f"\n{told}\n", flush=True)
        (folder / TABLE).write_text(f"{told}\n")
        if not arguments.no_video:
            write_film(folder / FILM, spoken, scores)
            print(f"video  {folder / FILM}")
    print(f"table  {folder / TABLE}\nlog    {folder / LOG}")
    return 0 if all(one.succeeded for one in scores) else 1


def say(message: str) -> None:
    """Print a line on the demo's progress."""
    tqdm.write(f"demo: {message}", file=sys.stderr)


def _start(processes: ProcessGroup, name: str, first: Chapter) -> DemoProcess:
    ros = ["--ros-args", "-r", f"__node:={name}"]
    for remapped in _REMAPPED[name]:
        ros += ["-r", remapped]
    if name == "referdino":
        ros += ["-p", "image_size:='160x120'"]
    elif name == "voice":
        ros += ["-p", "audio:=files"]
    else:
        for file in ("follow.yaml", "follow_simulation.yaml"):
            ros += ["--params-file", str(_CONFIG / file)]
    if name == "simulation":
        ros += ["-p", f"split:={first.split}", "-p", f"index:={first.index}"]
    elif name != "voice":
        ros += ["-p", "use_sim_time:=true"]
    return processes.start(name, _NAMES[name], *ros)


def _can_hear(script: Sequence[Chapter]) -> bool:
    """Whether something is spoken, and what recognises it is installed."""
    spoken = any(line.recording for chapter in script for line in chapter.lines)
    installed = importlib.util.find_spec("pocketsphinx") is not None
    if spoken and not installed:
        say("pocketsphinx is not installed: what would be spoken is typed")
    return spoken and installed


def _perform(
    script: Sequence[Chapter], recorder: Recorder, started: dict[str, DemoProcess]
) -> list[Said]:
    def check() -> None:
        for name, process in started.items():
            if process.has_finished():
                raise DemoError(f"The {name} ended; see the log.")

    managed = [name for name in ("referdino", "follower", "voice") if name in started]
    recorder.wait_until_ready(managed, check)
    spoken: list[Said] = []
    for number, chapter in enumerate(script):
        if number:
            recorder.say("forget it")
            recorder.load(chapter.split, chapter.index)
        for line in chapter.lines:
            spoken.append(_obey(chapter, line, recorder, started, spoken))
            say(f"{chapter.title}: {line.text!r}: {recorder.state}")
            if line.expected is Expected.DIES:
                return spoken
    return spoken


def _obey(
    chapter: Chapter,
    line: Line,
    recorder: Recorder,
    started: dict[str, DemoProcess],
    spoken: Sequence[Said],
) -> Said:
    """Give an instruction and wait until its time is over, or it has ended."""
    target = target_of(chapter, line.text)
    begins = recorder.now
    if line.expected is Expected.DIES:
        target, understood = spoken[-1].target, _NOT_HEARD
        started["follower"].kill()
    elif line.recording and "voice" in started:
        understood = f"{recorder.speak(_SPEECH / line.recording)} (spoken)"
        begins = recorder.now
    else:
        understood = recorder.say(line.text)
    watched = [one for name, one in started.items() if name != "follower"]

    def is_over() -> bool:
        for process in watched:
            process.has_finished()
        elapsed = recorder.now - begins
        ended = recorder.state.startswith(ENDED) and elapsed > max(line.least, _STEP)
        return elapsed >= line.seconds or (ended and line.expected is not Expected.DIES)

    recorder.wait_until(is_over, f"the end of {line.text!r}", 60.0 + 20 * line.seconds)
    ends = recorder.now
    return Said(
        chapter,
        line,
        understood,
        begins,
        ends,
        target,
        _DISTANCE,
        recorder.moments(begins, ends),
        recorder.statuses(begins, ends),
        recorder.state if line.expected is not Expected.DIES else _after_death(recorder),
    )


def _after_death(recorder: Recorder) -> str:
    stands = recorder.truth["speed"] == 0.0
    return "the base stands by its own time-out" if stands else "the base still drives"


_NOT_HEARD = "nothing: its process is gone"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
