# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Download and verification of the files of the catalogue."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from referdino_core.download import checksums
from referdino_core.download.catalogue import RemoteFile
from referdino_core.download.transfer import partial_path, transfer
from referdino_core.errors import DownloadError
from referdino_core.progress import ProgressMonitor
from referdino_core.user_files import cannot_be_written

_logger = logging.getLogger("referdino.download")


class Outcome(str, Enum):
    """Whether a file was downloaded, or existed with the expected checksum or without any."""

    DOWNLOADED = "downloaded"
    UNCHANGED = "unchanged"
    RECORDED = "recorded"


@dataclass(frozen=True)
class Fetched:
    """A downloaded or existing file, with its SHA-256 checksum."""

    path: Path
    checksum: str
    outcome: Outcome


@dataclass(frozen=True)
class _Expected:
    """The SHA-256 checksum that a file must have, its origin, and advice if it differs."""

    checksum: str
    source: str
    advice: str


def fetch(file: RemoteFile, directory: Path, monitor: ProgressMonitor | None = None) -> Fetched:
    """Download a file into a directory unless it exists, and verify it.

    A file must have the checksum that the catalogue holds. Where it holds none, the checksum that
    the host announces must fit; it is recorded beside the file the first time, and compared every
    time after, also when the file is downloaded again. A download that differs stays as
    `….mismatch`.

    Args:
        file: what to fetch.
        directory: the cache directory.
        monitor: for progress, in bytes, and cancellation.

    Raises:
        DownloadError: the file is unavailable, or differs from the published or recorded one.
        Cancelled: the download was cancelled; what has arrived is kept.
    """
    path = directory / file.place
    expected = _expected(file, path)
    if os.path.isfile(path):
        return _check_present(path, expected, file.url)
    _logger.info("Downloading %s", file.url)
    announced = transfer(file.url, path, monitor or ProgressMonitor()).checksum
    found = checksums.compute(partial_path(path))
    if expected is not None and found != expected.checksum:
        _refuse(path, expected, found)
    if announced is not None and found != announced:
        _refuse(path, _Expected(announced, "announced", "run the same command again"), found)
    _rename(partial_path(path), path)
    if expected is None:
        checksums.record(path, found, file.url)
    return Fetched(path, found, Outcome.DOWNLOADED)


def _expected(file: RemoteFile, path: Path) -> _Expected | None:
    """The published or recorded checksum of a file, if there is one."""
    again = "run the same command again"
    if file.checksum is not None:
        advice = f"{again}, and check HF_ENDPOINT if you need a mirror"
        return _Expected(file.checksum, "published", advice)
    recorded = checksums.recorded(path)
    if recorded is None:
        return None
    record = checksums.record_path(path)
    advice = f"if its publisher has replaced it, delete {record} and {again}"
    return _Expected(recorded, "recorded", advice)


def _check_present(path: Path, expected: _Expected | None, url: str) -> Fetched:
    _logger.info("Checking %s", path)
    found = checksums.compute(path)
    if expected is None:
        checksums.record(path, found, url)
        return Fetched(path, found, Outcome.RECORDED)
    if expected.checksum != found:
        raise DownloadError(
            f"{path} has changed: its SHA-256 is {found}, {expected.source} was "
            f"{expected.checksum}; delete the file and run the same command again."
        )
    return Fetched(path, found, Outcome.UNCHANGED)


def _refuse(path: Path, expected: _Expected, found: str) -> None:
    kept = path.with_name(f"{path.name}.mismatch")
    _rename(partial_path(path), kept)
    raise DownloadError(
        f"{path.name} is not the expected file: its SHA-256 is {found}, {expected.source} was "
        f"{expected.checksum}; it is kept as {kept}; {expected.advice}."
    )


def _rename(part: Path, path: Path) -> None:
    try:
        part.replace(path)
    except OSError as error:
        raise DownloadError(cannot_be_written(path, error)) from error
