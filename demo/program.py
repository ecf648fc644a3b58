# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The demo program: starts the processes, collects the results, and reports.

Exit status: 0 every command got results; 1 an error, reported in one line; 2 invalid command line;
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from demo import DemoError
from demo.graph import IMAGE_TOPIC, NODE
from demo.material import Material, own_material, scene_material
from demo.outcome import Outcome, command_runs
from demo.processes import DemoProcess, Journal, ProcessGroup
from demo.streaming import (
    Listener,
    follow_stream,
    say,
    wait_for_first_command,
    wait_until_active,
)
from demo.visualization import report
from referdino_core.argument_types import positive_number
from referdino_core.configuration import CONFIGURATIONS, RUNTIMES
from referdino_core.errors import ReferDINOError
from referdino_core.evaluation import recorded_scene
from referdino_core.media.sources import quiet_opencv
from referdino_core.precision import PRECISIONS
from referdino_core.user_files import user_path
from referdino_core.world import WorldUnavailable
from referdino_ros.process import join_private_graph

DEFAULT_SEED = 602
SCENE_SECONDS = 8.4
LOG, RECORDING = "log.txt", "camera.mp4"

_EPILOG = """examples:
  make demo
  make demo VIDEO=street.mp4 TEXT="the red car; the man with the dog" CHECKPOINT=swinb.pth
  python -m demo --seed 7
  python -m demo --video 0 --text "the mug" --seconds 30"""


@dataclass(frozen=True)
class Players:
    """The processes that feed the node, and the source from which images can be read again."""

    commander: DemoProcess
    camera: DemoProcess
    source: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo with the given arguments, by default `sys.argv`."""
    arguments = _parser().parse_args(argv)
    quiet_opencv()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _run(arguments)
    except ReferDINOError as error:
        print(f"demo: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    return 0


def _run(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.out
    texts, checkpoint = _texts(arguments), _checkpoint(arguments)
    own = None
    if arguments.video:
        own = own_material(arguments.video, texts, arguments.seconds, arguments.frame_rate)
    domain = join_private_graph()
    with ProcessGroup(Journal(folder / LOG)) as processes, Listener() as listener:
        say(
            f"starting the node ({checkpoint or arguments.model}) on ROS domain "
            f"{domain}, which is local to this machine"
        )
        parameters = {
            "model": arguments.model,
            "checkpoint": checkpoint,
            "device": arguments.device,
            "runtime": arguments.runtime,
            "precision": arguments.precision,
            "image_size": own.image_size if own else recorded_scene.IMAGE_SIZE,
            "image_qos": "reliable",  # best effort loses large images in small receive buffers
        }
        node = _start_node(processes, parameters)
        # Render while the node loads its model, so that it takes no time from the stream.
        material = own or _scene_material(arguments, texts)
        players = _start_players(material, processes, folder)
        wait_until_active(node, listener)
        outcome = _play(material, node, players, listener)
        processes.ask_to_stop()  # in parallel with drawing
        report(outcome, folder)
        print(f"log            {folder / LOG}")


def _start_players(material: Material, processes: ProcessGroup, folder: Path) -> Players:
    """Start the commander, which gives its first command to a configured node, and the camera."""
    schedule = [[command.begins, command.text] for command in material.commands]
    commander = processes.start("commander", "demo.commander", json.dumps(schedule))
    playing = [material.source, "--hold"]
    playing += [] if material.pace is None else [f"--frame-rate={material.pace}"]
    playing += [] if material.limit is None else [f"--seconds={material.limit}"]
    source = material.source
    if material.endless:
        source = str(folder / RECORDING)
        playing.append(f"--record={source}")
    camera = processes.start("camera", "demo.camera", *playing)
    return Players(commander, camera, source)


def _play(material: Material, node: DemoProcess, players: Players, listener: Listener) -> Outcome:
    """Play the stream; returns once all frames are processed."""
    wait_for_first_command(node, players.commander)
    say(f"the stream runs for {material.seconds:.1f} s with {len(material.commands)} commands")
    players.camera.say_go()
    follow_stream(material, node, players.commander, players.camera, listener)
    frames, results = tuple(players.camera.publications), listener.results
    if not frames:
        raise DemoError("The camera published nothing; see the log.")
    sent = players.commander.publications
    runs = command_runs(material.commands, sent, frames, results)
    return Outcome(players.source, material.frame_rate, frames, results, runs, material.scene)


def _start_node(processes: ProcessGroup, parameters: Mapping[str, str]) -> DemoProcess:
    ros = ["--ros-args", "-r", f"__node:={NODE}", "-r", f"image_raw:=/{IMAGE_TOPIC}"]
    for name, value in parameters.items():
        ros += ["-p", f"{name}:={json.dumps(value)}"]
    return processes.start("node", "referdino_ros.referdino_node", *ros)


def _checkpoint(arguments: argparse.Namespace) -> str:
    """The path of the weights; "" for the bundled ones."""
    if arguments.checkpoint is None:
        return ""
    path = user_path(arguments.checkpoint).absolute()
    if not path.is_file():
        raise DemoError(f"There is no checkpoint {path}; give a .pth or .safetensors file.")
    return str(path)


def _scene_material(arguments: argparse.Namespace, texts: Sequence[str]) -> Material:
    """A rendered scene, or the bundled recording if rendering is not possible."""
    seconds = SCENE_SECONDS if arguments.seconds is None else arguments.seconds
    say(
        f"rendering scene {arguments.seed} of the world's test split ({seconds:g} s) while the "
        "node loads its model"
    )
    try:
        recorded = recorded_scene.render(arguments.seed, seconds, arguments.out)
    except WorldUnavailable as error:
        say(f"playing the bundled recording instead: {error}")
        recorded = recorded_scene.load(recorded_scene.BUNDLED).cut(seconds)
    if arguments.frame_rate is not None:
        recorded = recorded.at_frame_rate(arguments.frame_rate)
    material = scene_material(recorded, texts)
    say(f"the scene is ready: {len(recorded.objects)} objects, {len(material.commands)} commands")
    return material


def _texts(arguments: argparse.Namespace) -> list[str]:
    """The sentences, of which several may be given in one argument."""
    texts = [text.strip() for argument in arguments.text for text in argument.split(";")]
    if arguments.text and not all(texts):
        raise DemoError("A text is empty; give a sentence such as --text 'the red ball'.")
    return texts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="A camera, the ReferDINO node and a commander as three processes on a live "
        "private ROS 2 graph. By default the camera plays a rendered scene with ground truth, and "
        "the commander says which object to follow; the demo scores the results.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--video", metavar="SOURCE", help="your own video file, image folder or camera index"
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="SENTENCE",
        help="what to find; several, by repetition or separated by semicolons, are active in turn",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="weights: .pth or .safetensors")
    parser.add_argument(
        "--model", choices=tuple(CONFIGURATIONS), default="nano", help="(default: nano)"
    )
    parser.add_argument("--device", default="auto", help="such as cpu or cuda (default: auto)")
    parser.add_argument(
        "--runtime", choices=RUNTIMES, default="auto", help="inference runtime (default: auto)"
    )
    parser.add_argument(
        "--precision", choices=tuple(PRECISIONS), default="fp32", help="numerical precision"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out", "demo"),
        metavar="DIR",
        help="folder for the results (default: out/demo)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        metavar="N",
        help=f"seed of the scene to render (default: {DEFAULT_SEED})",
    )
    parser.add_argument(
        "--seconds",
        type=positive_number,
        metavar="S",
        help=f"duration (default: {SCENE_SECONDS:g} for a scene, all of a video, 20 for a camera)",
    )
    parser.add_argument(
        "--frame-rate",
        type=positive_number,
        metavar="FPS",
        help="frames per second; overrides the source's own",
    )
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
