# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino build-engine`: TensorRT engines of an exported network, ahead of their first use."""

from __future__ import annotations

import argparse
import math
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.cli.arguments import positive_integer
from referdino_core.cli.exit_status import ExitStatus
from referdino_core.cli.progress import progress_bar, say

if TYPE_CHECKING:
    from referdino_core.runtime.tensorrt import BuildProgress, EngineProvider
    from referdino_core.runtime.tensorrt.engine_cache import CachedEngine

_DESCRIPTION = """Builds the TensorRT engines of an exported network for the GPU of this machine.

That takes minutes, on a Jetson 10 to 20 the first time. Engines that are there already and still
fit the network, TensorRT and the GPU are kept. Ctrl-C stops; complete engines stay."""

_EPILOG = """examples:
  referdino export --model swint --checkpoint weights.pth --size 360x640 --tokens 32 --out swint
  referdino build-engine swint
  referdino build-engine swint --max-commands 4 --workspace-gib 2
  referdino build-engine swint --cache /data/engines --force

environment:
  REFERDINO_CACHE         engines are kept in its folder `engines`, unless --cache is given
                          (else XDG_CACHE_HOME/referdino, else ~/.cache/referdino)
  REFERDINO_TRT_PLUGINS   where the TensorRT plugin is, if not beside referdino's kernels"""

_PERCENT = 100.0


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `build-engine` to the commands of the program."""
    parser = commands.add_parser(
        "build-engine",
        parents=[common],
        help="build the TensorRT engines of an exported network",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `referdino export` wrote")
    parser.add_argument(
        "--max-commands",
        type=positive_integer,
        metavar="N",
        help="most commands that are grounded together (default: 8)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the engines here")
    parser.add_argument(
        "--workspace-gib",
        type=_positive_number,
        metavar="X",
        help="most memory that a layer may use as scratch, GiB (default: as TensorRT likes)",
    )
    parser.add_argument("--force", action="store_true", help="build also what is there already")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build what is missing, print where the engines are, and return the exit status.

    Raises:
        ReferDINOError: the folder, TensorRT, its plugin or a GPU is missing, or building fails.
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    from referdino_core.runtime.tensorrt import BuilderOptions, open_provider
    from referdino_core.runtime.tensorrt.provider import DEFAULT_MAX_COMMANDS

    provider = open_provider(
        arguments.folder,
        arguments.cache,
        arguments.max_commands or DEFAULT_MAX_COMMANDS,
        BuilderOptions(workspace_gib=arguments.workspace_gib),
    )
    for engine in _build(provider, arguments.force).values():
        print(f"{engine.path}: {'built' if engine.was_built else 'is here'}")
    return ExitStatus.DONE


def _build(provider: EngineProvider, force: bool) -> dict[str, CachedEngine]:
    """Build in another thread: TensorRT must not be left by an exception, as Ctrl-C raises one."""
    cancelled = threading.Event()
    with (
        progress_bar(
            total=_PERCENT, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}", leave=False
        ) as bar,
        ThreadPoolExecutor(1, "engine build") as executor,
    ):

        def show(progress: BuildProgress) -> None:
            bar.set_description_str(f"{progress.stage} {progress.phase}".strip(), refresh=False)
            bar.update(_PERCENT * progress.fraction - bar.n)

        future = executor.submit(
            provider.provide_all, force=force, on_progress=show, cancelled=cancelled
        )
        try:
            wait([future])
        except KeyboardInterrupt:
            cancelled.set()
            say("stopping at the end of this step")
            wait([future])
            raise
        return future.result()


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
