# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino replay`: deterministic replay of a recording through the node's session."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from referdino_core.cli.arguments import (
    add_session_arguments,
    model_choice,
    peer_choice,
)
from referdino_core.cli.progress import ExitStatus, GracefulShutdown, progress_bar
from referdino_core.cli.replay_many import add_many_arguments, is_many, replay_many
from referdino_core.configuration import RENAMED_SETTINGS, SessionSettings
from referdino_core.errors import Cancelled, ReferDINOError, RuntimeUnavailable
from referdino_core.evaluation.benchmarks import STREAM, WHOLE_CLIP
from referdino_core.media.result_names import results_folder
from referdino_core.peers import STREAMING_PEER_NAMES
from referdino_core.peers.following import PeerSettings
from referdino_core.progress import Progress, ProgressMonitor

if TYPE_CHECKING:
    from referdino_core.replay.opening import ReplayJob
    from referdino_core.replay.run_folder import RunFolder

_DESCRIPTION = """Replays a recording through the session that the node runs, and keeps the results.

A source is a rosbag2 recording (a folder, an .mcap or a .db3 file; compressed, split or truncated),
a video file, or a folder of images. The folder of the run contains:
  results.mcap   the node's result topics with their true stamps, beside images and commands
  overlay.mp4    the images with masks, boxes, states and scores drawn over them
  frames.jsonl   one line per frame      summary.json  settings, versions and scores
  timing.jsonl   timing of each frame    report.html   a page with plots, video and tables
The same recording, commands, model and runtime give the same bytes. Ctrl-C stops after a frame; the
same command resumes from there, also after a kill.

Several sources, a --list of them, or a folder of recordings are replayed into one folder each below
--out, with a line each in runs.jsonl as they finish, and their totals in summary.json. Completed
runs are skipped; a recording that fails is tried twice and then listed."""

_EPILOG = """examples:
  referdino replay drive.mcap --command "the red ball"
  referdino replay drive/ --topic /camera/image_raw --ground-truth topic:/truth/labels
  referdino replay street.mp4 --commands commands.yaml --realtime-on 40ms --out as_live
  referdino replay recordings/ --command "the red ball" --out runs --workers 4

a file of commands:
  - {at: 0.0, text: "the red ball", objects: [2]}
  - {at: 12.5, text: "the blue box"}
  - {at: 20.0, text: ""}"""

_logger = logging.getLogger("referdino.replay")


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `replay` to the commands of the program."""
    parser = commands.add_parser(
        "replay",
        parents=[common],
        help="run recorded bags and videos through the node's session, and score them",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_recording_arguments(parser)
    _add_command_arguments(parser)
    _add_clock_arguments(parser)
    _add_inference_argument(parser)
    add_session_arguments(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a threshold of the session, such as accept=0.5; may be given several times",
    )
    parser.add_argument(
        "--restart", action="store_true", help="start from the beginning instead of resuming"
    )
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    add_many_arguments(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def _add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the source, its ground truth and the output."""
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        type=Path,
        nargs="*",
        help="a bag, a video, a folder of images, or a folder of such recordings",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the run (default: NAME_replay), or of the runs of many recordings",
    )
    parser.add_argument(
        "--topic", metavar="NAME", help="image topic (default: the only one of the recording)"
    )
    parser.add_argument(
        "--inputs",
        nargs="*",
        metavar="NAME",
        help="topics to copy to the results (default: images and commands)",
    )
    parser.add_argument(
        "--ground-truth",
        "--truth",
        dest="truth",
        metavar="GROUND_TRUTH",
        help="topic:NAME, a folder of PNG files, a MeViS-style JSON file, or world:SPLIT:INDEX",
    )


def _add_clock_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the clock."""
    parser.add_argument(
        "--frame-rate",
        type=float,
        metavar="FPS",
        help="frames per second of an image folder (default: 25); overrides that of a video",
    )
    parser.add_argument(
        "--realtime-on",
        metavar="TIME",
        help="drop and delay frames as in real time, with this latency per frame: a time with its "
        "unit, such as 40ms, or a table of measured seconds (JSON, CSV, or the timing.jsonl of a "
        "run)",
    )


def _add_inference_argument(parser: argparse.ArgumentParser) -> None:
    """Add --inference."""
    parser.add_argument(
        "--inference",
        choices=(STREAM, WHOLE_CLIP),
        default=STREAM,
        help="stream, frame by frame as in the node (default), or whole-clip, which needs memory "
        "for all frames of the recording",
    )


def _add_command_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the three ways to give commands, and their objects in the ground truth."""
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--command",
        action="append",
        default=[],
        metavar="TEXT",
        help="a sentence, active from the start; may be given several times",
    )
    ways.add_argument("--commands", type=Path, metavar="FILE", help="commands with times (YAML)")
    ways.add_argument(
        "--command-topic",
        metavar="NAME",
        help="topic of recorded commands (default: /referdino/command, if it was recorded; service "
        "calls are not recorded)",
    )
    parser.add_argument(
        "--means",
        action="append",
        default=[],
        type=_meaning,
        metavar="TEXT=IDS",
        help='object ids of the ground truth that a sentence refers to, such as "the red ball=2" '
        'or "two balls=2,3"; may be given several times',
    )


def run(arguments: argparse.Namespace) -> int:
    """Replay a recording and return the exit status.

    Raises:
        ReferDINOError: an argument is invalid.
    """
    if find_spec("rosbags") is None:
        raise RuntimeUnavailable(
            "Replay needs rosbags; install it with: pip install rosbags pyyaml"
        )
    if not arguments.sources and arguments.list is None:
        arguments.refuse("give a SOURCE or --list FILE")
    job = job_of(arguments)
    if is_many(arguments):
        return replay_many(arguments, job)
    # Imported here, since they import PyTorch: invalid arguments are reported before.
    from referdino_core.replay.run import replay
    from referdino_core.replay.run_folder import RunFolder

    with GracefulShutdown() as stop, progress_bar(unit="frame") as bar:

        def show(progress: Progress) -> None:
            if not progress.done:
                bar.reset(progress.total)
            bar.update(progress.done - bar.n)

        try:
            folder = replay(job, monitor=ProgressMonitor(show, stop.cancelled))
        except Cancelled as cancelled:
            _logger.warning("%s", cancelled)
            return ExitStatus.INTERRUPTED
    print_outcome(RunFolder(folder))
    if not arguments.no_report:
        _write_report(folder)
    return ExitStatus.DONE


def job_of(arguments: argparse.Namespace) -> ReplayJob:
    """The job that arguments describe.

    Raises:
        ReferDINOError: an argument cannot be used.
    """
    from referdino_core.replay.clocks import EveryFrame, read_clock
    from referdino_core.replay.opening import ReplayJob
    from referdino_core.replay.run_folder import source_of_run

    if arguments.model in STREAMING_PEER_NAMES:
        choice = peer_choice(arguments, PeerSettings(**_changes(arguments.set, PeerSettings())))
    else:
        changes = _changes(arguments.set, SessionSettings())
        choice = model_choice(arguments, SessionSettings(**changes))
    source = arguments.sources[0] if arguments.sources else Path()
    return ReplayJob(
        source=source,
        out=arguments.out or results_folder(str(source), "replay", source_of_run),
        sentences=tuple(arguments.command),
        command_file=arguments.commands,
        command_topic=arguments.command_topic,
        topic=arguments.topic,
        inputs=None if arguments.inputs is None else tuple(arguments.inputs),
        truth=arguments.truth,
        meanings=tuple(arguments.means),
        inference=arguments.inference,
        clock=EveryFrame() if arguments.realtime_on is None else read_clock(arguments.realtime_on),
        frame_rate=arguments.frame_rate,
        model=choice,
        restart=arguments.restart,
    )


def _meaning(argument: str) -> tuple[str, tuple[int, ...]]:
    """A sentence and ids of objects."""
    text, _, numbers = argument.rpartition("=")
    ids = numbers.split(",") if numbers.strip() else []
    if not text or not all(one.strip().isdecimal() for one in ids):
        raise argparse.ArgumentTypeError(f"{argument!r} is not a sentence, '=' and ids such as 2,3")
    return text, tuple(int(one) for one in ids)


def _changes(changes: list[str], settings: SessionSettings | PeerSettings) -> dict[str, Any]:
    """The values that --set gives to settings."""
    kinds = {name: type(value) for name, value in asdict(settings).items()}
    values: dict[str, Any] = {}
    for change in changes:
        name, _, text = change.partition("=")
        if name in RENAMED_SETTINGS:
            raise ReferDINOError(f"--set {change}: {name} is now called {RENAMED_SETTINGS[name]}.")
        if name not in kinds:
            raise ReferDINOError(
                f"--set {change}: there is no {name!r}; choose one of {', '.join(kinds)}."
            )
        try:
            values[name] = kinds[name](text)
        except ValueError:
            raise ReferDINOError(f"--set {change}: {text!r} is not a number.") from None
    return values


def print_outcome(run_folder: RunFolder) -> None:
    """Print the scores of a run, if there are any, and its problems."""
    from referdino_core.replay.run_folder import counted

    summary = run_folder.summary
    frames = summary["frames"]
    late = f"{frames['late']} late, " if frames.get("late") else ""
    print(
        f"{counted(frames['read'], 'frame')}: {frames['answered']} processed, "
        f"{frames['dropped']} dropped, {late}{frames['failed']} failed "
        f"({summary['model']['name']}, {summary['runtime']})"
    )
    scores = summary["scores"]
    if scores is not None:
        print(_LINE.format("", *_COLUMNS))
        for one in scores["commands"]:
            print(_score_line(f'"{one["sentence"]}"', one))
        print(_score_line("all", scores["all"]))
        if scores.get("streaming"):
            print(_score_line("all, streaming", scores["streaming"]["all"]))
    for problem in summary["problems"]:
        _logger.warning("%s", problem)
    print(run_folder.path)


_COLUMNS = {
    "J&F": "J&F",
    "J": "J",
    "F": "F",
    "acquired": "time to acquire",
    "IDF1": "IDF1",
    "switches": "identity switches",
    "lent": "lent ids",
    "lost": "frames lost",
    "alarms": "false alarms",
}
"""Column headings of the table of scores, and their metrics."""
_LINE = "{:<32.32} {:>5} {:>5} {:>5} {:>16} {:>5} {:>8} {:>5} {:>5} {:>6}"


def _score_line(name: str, scores: Mapping[str, Any]) -> str:
    from referdino_core.report.metrics import metric_named

    return _LINE.format(name, *(metric_named(one).text(scores) for one in _COLUMNS.values()))


def _write_report(folder: Path) -> None:
    """Write the report if its dependencies are installed."""
    if find_spec("referdino_core.report") is None or find_spec("plotly") is None:
        _logger.warning("No report: it needs plotly; install it with: pip install plotly")
        return
    from referdino_core.report import write_report

    print(write_report(folder))
