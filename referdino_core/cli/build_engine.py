# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino build-engine`: build the TensorRT engines of an exported network ahead of time."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.argument_types import positive_integer, positive_number
from referdino_core.cli.progress import ExitStatus, progress_bar, say
from referdino_core.progress import Progress, ProgressMonitor

if TYPE_CHECKING:
    from referdino_core.backends.tensorrt.engine_cache import CachedEngine
    from referdino_core.backends.tensorrt.provider import EngineProvider

_DESCRIPTION = """Builds the TensorRT engines of an exported network for the GPU of this machine.

This takes minutes, on a Jetson 10 to 20 the first time. Existing engines that match the network,
TensorRT and the GPU are kept. Ctrl-C stops; complete engines are kept.

With --for it builds for RTX GPUs of other machines and needs no GPU: TensorRT for RTX takes about a
minute. The engines are written to the folder `engines` of the exported network: the node and
`referdino` use them wherever that folder is copied, if they match the GPU and TensorRT for RTX
there; a line in the log says what does not match."""

_EPILOG = """examples:
  referdino export --model swint --checkpoint weights.pth --size 360x640 --tokens 32 --out swint
  referdino build-engine swint
  referdino build-engine swint --max-commands 4 --workspace-gib 2
  referdino build-engine swint --cache /data/engines --force
  referdino build-engine swint --for sm_89 --for sm_120    (RTX 40 and RTX 50)

environment:
  REFERDINO_CACHE         engines are stored in its folder `engines`, unless --cache or --for is
                          given (else XDG_CACHE_HOME/referdino, else ~/.cache/referdino)
  REFERDINO_TRT_PLUGINS   location of the TensorRT plugin, if not beside referdino's kernels"""

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
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder written by `referdino export`"
    )
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
        help="maximum number of commands that are grounded together (default: 8)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="store the engines here")
    parser.add_argument(
        "--workspace-gib",
        type=positive_number,
        metavar="X",
        help="maximum scratch memory of a layer in GiB (default: TensorRT's)",
    )
    parser.add_argument("--force", action="store_true", help="rebuild existing engines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build missing engines, print the paths of all, and return the exit status.

    Raises:
        ReferDINOError: the folder, TensorRT, its plugin or a GPU is missing, or building fails.
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    from referdino_core.backends.tensorrt.builder import BuilderOptions
    from referdino_core.backends.tensorrt.provider import DEFAULT_MAX_COMMANDS, open_provider

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
            state = "built" if engine.was_built else "exists"
            print(f"{engine.path}: {state}{'' if name is None else f' for {name}'}", flush=True)
    return ExitStatus.DONE


def _build(provider: EngineProvider, force: bool) -> dict[str, CachedEngine]:
    """Build in another thread: TensorRT must not be interrupted by Ctrl-C's exception."""
    with (
        progress_bar(
            total=_PERCENT, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}", leave=False
        ) as bar,
        ThreadPoolExecutor(1, "engine build") as executor,
    ):

        def show(progress: Progress) -> None:
            bar.set_description_str(progress.phase, refresh=False)
            bar.update(_PERCENT * progress.fraction - bar.n)

        monitor = ProgressMonitor(show)
        future = executor.submit(provider.provide_all, force=force, monitor=monitor)
        try:
            wait([future])
        except KeyboardInterrupt:
            monitor.cancelled.set()
            say("stopping at the end of this step")
            wait([future])
            raise
        return future.result()


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of names such as sm_86,sm_89")
    return names
