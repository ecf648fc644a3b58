# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino evaluate`: validation protocols of published benchmarks."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from referdino_core.cli.arguments import (
    add_session_arguments,
    model_choice,
    open_model,
)
from referdino_core.cli.progress import ExitStatus, GracefulShutdown, progress_bar
from referdino_core.errors import ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks import BENCHMARK_NAMES, STREAM, WHOLE_CLIP
from referdino_core.files import AtomicFile
from referdino_core.peers import PEER_NAMES, STREAMING_PEER_NAMES

if TYPE_CHECKING:
    from referdino_core.evaluation.benchmarks.catalogue import Entry
    from referdino_core.evaluation.benchmarks.clips import Benchmark
    from referdino_core.evaluation.benchmarks.running import BenchmarkRun
    from referdino_core.evaluation.benchmarks.segmenters import Segmenter
    from referdino_core.evaluation.benchmarks.soc_segmenter import SOCProtocol
    from referdino_core.evaluation.soc_model import LoadedSOC
    from referdino_core.session.model_choice import LoadedEngine

BOTH = "both"
SUMMARY_NAME = "summary.json"
PROBLEMS_PRINTED = 20

_DESCRIPTION = f"""Runs the validation protocol of a benchmark: predictions, scores, submissions.

The data must have their authors' folder layout, or that of the referring literature:
  ref-youtube-vos  meta_expressions/{{valid,test}}/meta_expressions.json, valid/JPEGImages
  ref-davis17      meta_expressions/valid/meta_expressions.json, valid/{{JPEGImages,Annotations}}
  mevis            valid_u/{{meta_expressions.json,mask_dict.json,JPEGImages}}, or valid
  a2d-sentences    Release/{{videoset.csv,clips320H}}, text_annotations (needs h5py)
  jhmdb-sentences  Rename_Images, puppet_mask, jhmdb_annotation.txt
  refcoco, refcoco+, refcocog   NAME/refs(...).p, NAME/instances.json, train2014
  own-clips        clips.json, see docs/training.md; all clips, or those of --split

Writes to the folder --out, in one folder per inference mode:
  records/         predictions and scores per expression, from which a stopped run resumes
  Annotations/, submission.zip   submission to the servers of Ref-YouTube-VOS and MeViS
and {SUMMARY_NAME}. Ctrl-C stops the run gracefully."""

_EPILOG = """examples:
  referdino evaluate mevis --data data/mevis --out results/mevis --inference both
  referdino evaluate ref-youtube-vos --data data/ref-youtube-vos --out results --model swinb
  referdino evaluate ref-davis17 --data data/ref-davis --out results --videos 2
  referdino evaluate ref-youtube-vos --data data/ref-youtube-vos --out results/soc \\
    --model soc_swinb --checkpoint soc_swinb.pth"""

_logger = logging.getLogger("referdino.evaluate")


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `evaluate` to the commands of the program."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="run a published benchmark's validation protocol",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "benchmark", metavar="BENCHMARK", choices=BENCHMARK_NAMES, help=", ".join(BENCHMARK_NAMES)
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of the benchmark"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the results"
    )
    parser.add_argument(
        "--inference",
        choices=(WHOLE_CLIP, STREAM, BOTH),
        default=WHOLE_CLIP,
        help="whole-clip, as in the paper (default); stream, frame by frame as on a robot; or both",
    )
    parser.add_argument("--split", metavar="NAME", help="part of the data (default: validation)")
    parser.add_argument(
        "--videos",
        nargs="+",
        metavar="N|NAME",
        help="only the first N videos, or the videos with these names",
    )
    add_session_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate a benchmark and return the exit status.

    Raises:
        ReferDINOError: the data have another layout, or an argument is invalid.
    """
    from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS, open_benchmark
    from referdino_core.evaluation.benchmarks.summary import FORMAT, summarise_run, table
    from referdino_core.replay.bag_frames import BagFrames

    entry = BENCHMARKS[arguments.benchmark]
    if arguments.model in STREAMING_PEER_NAMES and arguments.inference != STREAM:
        raise ReferDINOError(f"{arguments.model} processes streams only: give --inference stream.")
    soc = _soc_protocol(arguments)
    context = None if soc is None else soc.context
    benchmark = open_benchmark(
        arguments.benchmark, arguments.data, arguments.split, context, BagFrames()
    )
    videos = _choose(benchmark, arguments.videos)
    loaded = _load(arguments)
    settings = _settings(arguments, benchmark, loaded)
    summaries: dict[str, Any] = {}
    archives = []
    with GracefulShutdown() as stop:
        for segmenter in _segmenters(arguments.inference, loaded, entry):
            folder = arguments.out / segmenter.name
            current = _open_run(arguments, benchmark, segmenter, folder, settings, stop)
            with progress_bar(total=len(videos), unit="video", desc=segmenter.name) as bar:
                current.process(_counted(videos, bar))
            summaries[segmenter.name] = {
                "settings": segmenter.settings,
                **summarise_run(current, entry.protocol),
            }
            if entry.submission is not None and current.outcome.complete:
                archives.append(_submit(current, folder, entry.submission))
            if stop.requested:
                break
    document = {"format": FORMAT, **settings, "videos": list(videos), "inference": summaries}
    summary = arguments.out / SUMMARY_NAME
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    AtomicFile(summary).write(text.encode())
    print(table(f"{benchmark.title} {benchmark.split}", summaries))
    _print_problems(summaries)
    for path in (*archives, summary):
        print(path)
    return _status(summaries, stop)


def _soc_protocol(arguments: argparse.Namespace) -> SOCProtocol | None:
    """SOC's protocol for the benchmark; None for other models.

    Raises:
        ReferDINOError: there is none, or a stream is asked for.
    """
    from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS

    if arguments.model not in PEER_NAMES:
        return None
    protocol = BENCHMARKS[arguments.benchmark].soc
    if protocol is None:
        known = ", ".join(name for name, entry in BENCHMARKS.items() if entry.soc)
        raise ReferDINOError(
            f"{arguments.model} has no published protocol for {arguments.benchmark}; choose one "
            f"of {known}."
        )
    if arguments.inference != WHOLE_CLIP:
        raise ReferDINOError(
            f"{arguments.model} is not causal: leave --inference {arguments.inference} out."
        )
    return protocol


def _load(arguments: argparse.Namespace) -> LoadedEngine | LoadedSOC:
    if arguments.model in STREAMING_PEER_NAMES:
        from referdino_core.session.model_choice import load_engine

        return load_engine(model_choice(arguments))
    if arguments.model not in PEER_NAMES:
        return open_model(arguments)
    from referdino_core.evaluation.soc_model import load_soc

    return load_soc(model_choice(arguments))


def _segmenters(inference: str, loaded: LoadedEngine | LoadedSOC, entry: Entry) -> list[Segmenter]:
    from referdino_core.evaluation.benchmarks.segmenters import Streamed, WholeClip
    from referdino_core.evaluation.benchmarks.soc_segmenter import SOCWholeClip
    from referdino_core.evaluation.soc_model import LoadedSOC
    from referdino_core.session.session import Session

    if isinstance(loaded, LoadedSOC):
        assert entry.soc is not None
        return [SOCWholeClip(loaded, entry.soc)]
    segmenters: list[Segmenter] = []
    if inference in (WHOLE_CLIP, BOTH):
        assert isinstance(loaded.session, Session)
        segmenters.append(WholeClip(loaded.session, entry.merge_above))
    if inference in (STREAM, BOTH):
        segmenters.append(Streamed(loaded.session, entry.merge_above))
    return segmenters


def _open_run(
    arguments: argparse.Namespace,
    benchmark: Benchmark,
    segmenter: Segmenter,
    folder: Path,
    settings: dict[str, Any],
    stop: GracefulShutdown,
) -> BenchmarkRun:
    from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS
    from referdino_core.evaluation.benchmarks.records import RecordStore
    from referdino_core.evaluation.benchmarks.running import BenchmarkRun

    store = RecordStore(folder / "records", {**settings, **segmenter.settings})
    protocol = BENCHMARKS[arguments.benchmark].protocol
    return BenchmarkRun(benchmark, protocol, segmenter, store, lambda: stop.requested)


def _choose(benchmark: Benchmark, wanted: list[str] | None) -> tuple[str, ...]:
    """The videos that --videos selects.

    Raises:
        SourceError: the benchmark has no such video.
    """
    if wanted is None:
        return benchmark.videos
    names = set(benchmark.videos)
    if len(wanted) == 1 and wanted[0] not in names and wanted[0].isdecimal():
        return benchmark.videos[: int(wanted[0])]
    for name in wanted:
        if name not in names:
            raise SourceError(f"{benchmark.title} {benchmark.split} has no video {name}.")
    return tuple(video for video in benchmark.videos if video in set(wanted))


def _settings(
    arguments: argparse.Namespace, benchmark: Benchmark, loaded: LoadedEngine | LoadedSOC
) -> dict[str, Any]:
    """Everything that results depend on, besides the inference mode."""
    return {
        "benchmark": arguments.benchmark,
        "split": benchmark.split,
        "data": str(arguments.data.resolve()),
        "model": loaded.summary(),
        "device": loaded.device,
    }


def _counted(videos: Iterable[str], bar: Any) -> Iterator[str]:
    for video in videos:
        bar.set_postfix_str(video)
        yield video
        bar.update()


def _submit(current: BenchmarkRun, folder: Path, inside: str) -> Path:
    from referdino_core.evaluation.benchmarks.records import write_submission

    return write_submission(current.records(), folder, inside)


def _print_problems(summaries: dict[str, Any]) -> None:
    problems = list(
        dict.fromkeys(line for summary in summaries.values() for line in summary["problems"])
    )
    if problems:
        print(f"\n{len(problems)} {'problem' if len(problems) == 1 else 'problems'}:")
    for problem in problems[:PROBLEMS_PRINTED]:
        print(f"- {problem}")
    if len(problems) > PROBLEMS_PRINTED:
        print(f"- and {len(problems) - PROBLEMS_PRINTED} more; see {SUMMARY_NAME}")


def _status(summaries: dict[str, Any], stop: GracefulShutdown) -> int:
    if stop.requested:
        _logger.warning("Stopped early; the same command resumes from here.")
        return ExitStatus.INTERRUPTED
    if not any(one["frames"] > one["frames_unread"] for one in summaries.values()):
        raise SourceError("Nothing could be predicted; the problems are listed in the summary.")
    return ExitStatus.DONE
