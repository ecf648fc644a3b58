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
from referdino_core.cli.progress import ExitStatus, progress_bar, say

if TYPE_CHECKING:
    from referdino_core.runtime.tensorrt import BuildProgress, EngineProvider
    from referdino_core.runtime.tensorrt.engine_cache import CachedEngine

_DESCRIPTION = """Builds the TensorRT engines of an exported network for the GPU of this machine.

That takes minutes, on a Jetson 10 to 20 the first time. Engines that are there already and still
fit the network, TensorRT and the GPU are kept. Ctrl-C stops; complete engines stay.

With --for it builds ahead of time for RTX GPUs of other machines, and needs no GPU: TensorRT for
RTX does that in about a minute. The engines go into the folder `engines` of the exported network:
the node and `referdino` use them wherever that folder is copied, if they fit the GPU and TensorRT
for RTX there; a line in the log says what does not fit."""

_EPILOG = """examples:
  referdino export --model swint --checkpoint weights.pth --size 360x640 --tokens 32 --out swint
  referdino build-engine swint
  referdino build-engine swint --max-commands 4 --workspace-gib 2
  referdino build-engine swint --cache /data/engines --force
  referdino build-engine swint --for sm_89 --for sm_120    (RTX 40 and RTX 50)

environment:
  REFERDINO_CACHE         engines are kept in its folder `engines`, unless --cache or --for is given
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
        "--for",
        dest="architectures",
        action="append",
        type=_names,
        metavar="SM",
        help="build for GPUs of this architecture instead, such as sm_89 or sm_86,sm_89; may be "
        "given more than once",
    )
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

    names = [name for names in arguments.architectures or [] for name in names]
    providers = {
        name: open_provider(
            arguments.folder,
            arguments.cache,
            arguments.max_commands or DEFAULT_MAX_COMMANDS,
            BuilderOptions(workspace_gib=arguments.workspace_gib),
            architecture=name,
        )
        for name in dict.fromkeys(names or [None])
    }
    for name, provider in providers.items():
        for engine in _build(provider, arguments.force).values():
            state = "built" if engine.was_built else "is here"
            print(f"{engine.path}: {state}{'' if name is None else f' for {name}'}", flush=True)
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


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of names such as sm_86,sm_89")
    return names


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
