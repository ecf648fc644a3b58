# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino download`: released checkpoints and BERT's files, resumed and checked."""

from __future__ import annotations

import argparse
from pathlib import Path

from referdino_core.cli.progress import ExitStatus, progress_bar
from referdino_core.download import ASSETS, DownloadError, Fetched, Outcome, cache_directory, fetch
from referdino_core.download.catalogue import RemoteFile

_DESCRIPTION = """Downloads released checkpoints and BERT's files from their public home.

What was interrupted goes on where it stopped when the same command runs again. BERT's files come
from a fixed commit and must have their published SHA-256 sums. No public source states the sums of
the checkpoints: they must have those that their host announces, which are recorded beside them the
first time and compared every time after."""

_EPILOG = """examples:
  referdino download --list
  referdino download ryt_swinb bert
  referdino download bert --directory /data/referdino

environment:
  REFERDINO_CACHE   where to keep the files (else XDG_CACHE_HOME/referdino, else ~/.cache/referdino)
  HF_ENDPOINT       a mirror to use in place of https://huggingface.co
  HTTPS_PROXY       a proxy to go through"""


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `download` to the commands of the program."""
    parser = commands.add_parser(
        "download",
        parents=[common],
        help="fetch released checkpoints and BERT's files",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to fetch: {', '.join(ASSETS)}"
    )
    parser.add_argument("--list", action="store_true", help="show what there is and what is here")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="keep the files here, not in the cache"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fetch the named assets, or list them all, and return the exit status.

    Raises:
        DownloadError: a name is unknown, or a file is not to be had; later ones are not tried.
    """
    directory: Path = arguments.directory or cache_directory()
    unknown = [name for name in arguments.names if name not in ASSETS]
    if unknown:
        raise DownloadError(
            f"There is nothing called {unknown[0]!r} to download; choose from {', '.join(ASSETS)}."
        )
    if arguments.list or not arguments.names:
        _list(directory)
        return ExitStatus.DONE
    for name in dict.fromkeys(arguments.names):
        for file in ASSETS[name].files:
            _tell(_fetch_with_progress(file, directory))
    return ExitStatus.DONE


def _list(directory: Path) -> None:
    widest = max(len(name) for name in ASSETS)
    for asset in ASSETS.values():
        here = "here" if asset.is_here(directory) else "-"
        print(f"{asset.name:<{widest}}  {here:<4}  {asset.description}")
    print(f"\nkept in {directory}; fetch with: referdino download NAME")


def _fetch_with_progress(file: RemoteFile, directory: Path) -> Fetched:
    with progress_bar(
        desc=file.place, unit="B", unit_scale=True, unit_divisor=1024, leave=False
    ) as bar:

        def show(here: int, total: int | None) -> None:
            if bar.total is None:
                bar.initial = here
            bar.total = total
            bar.n = here
            bar.update(0)

        return fetch(file, directory, show)


def _tell(fetched: Fetched) -> None:
    told = {
        Outcome.DOWNLOADED: "downloaded",
        Outcome.UNCHANGED: "is here, unchanged",
        Outcome.RECORDED: "is here, checksum recorded",
    }
    print(f"{fetched.path}: {told[fetched.outcome]} (SHA-256 {fetched.checksum})")
