# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino download`: resumable, verified download of checkpoints and BERT's files."""

from __future__ import annotations

import argparse
from pathlib import Path

from referdino_core.cli.progress import ExitStatus, progress_bar
from referdino_core.download import ASSETS, DownloadError, Fetched, Outcome, cache_directory, fetch
from referdino_core.download.catalogue import RemoteFile
from referdino_core.progress import Progress, ProgressMonitor

_DESCRIPTION = """Downloads released checkpoints and BERT's files from their public host.

Interrupted downloads resume when the same command runs again. BERT's and GroundingDINO's files come
from fixed commits and are verified against known SHA-256 checksums. No checksums of the other
checkpoints are published: they are verified against those that the host announces, which are
recorded beside the files on the first download and compared from then on."""

_EPILOG = """examples:
  referdino download --list
  referdino download ryt_swinb bert
  referdino download bert --directory /data/referdino

environment:
  REFERDINO_CACHE   folder for the files (else XDG_CACHE_HOME/referdino, else ~/.cache/referdino)
  HF_ENDPOINT       mirror to use instead of https://huggingface.co
  HTTPS_PROXY       proxy to use"""


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `download` to the commands of the program."""
    parser = commands.add_parser(
        "download",
        parents=[common],
        help="download released checkpoints and BERT's files",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to download: {', '.join(ASSETS)}"
    )
    parser.add_argument("--list", action="store_true", help="list what can be downloaded")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="store the files here instead of in the cache"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fetch the named assets, or list them all, and return the exit status.

    Raises:
        DownloadError: a name is unknown, or a download fails; later files are not tried.
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
            _report(_fetch_with_progress(file, directory))
    return ExitStatus.DONE


def _list(directory: Path) -> None:
    widest = max(len(name) for name in ASSETS)
    for asset in ASSETS.values():
        here = "here" if asset.is_here(directory) else "-"
        print(f"{asset.name:<{widest}}  {here:<4}  {asset.description}")
    print(f"\nstored in {directory}; download with: referdino download NAME")


def _fetch_with_progress(file: RemoteFile, directory: Path) -> Fetched:
    with progress_bar(
        desc=file.place, unit="B", unit_scale=True, unit_divisor=1024, leave=False
    ) as bar:

        def show(progress: Progress) -> None:
            if bar.total is None:
                bar.initial = progress.done
            bar.total = progress.total
            bar.n = progress.done
            bar.update(0)

        return fetch(file, directory, ProgressMonitor(show))


def _report(fetched: Fetched) -> None:
    outcomes = {
        Outcome.DOWNLOADED: "downloaded",
        Outcome.UNCHANGED: "exists, unchanged",
        Outcome.RECORDED: "exists, checksum recorded",
    }
    print(f"{fetched.path}: {outcomes[fetched.outcome]} (SHA-256 {fetched.checksum})")
