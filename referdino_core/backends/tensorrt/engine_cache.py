# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The cache of built engines, each under a key of everything that it depends on.

A file that does not fit, is foreign or is damaged is never used: one line in the log says why, and
the engine is built again.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from referdino_core.backends.tensorrt.engine_file import (
    EngineKey,
    UnusableEngine,
    difference,
    read_engine,
    read_header,
    write_engine,
)
from referdino_core.download.checksums import compute
from referdino_core.errors import DownloadError, ReferDINOError
from referdino_core.file_lock import file_lock
from referdino_core.progress import ProgressMonitor
from referdino_core.user_files import cache_directory, cannot_be_written

_DIGITS_IN_NAME = 16

_log = logging.getLogger("referdino.tensorrt")


class EngineCacheError(ReferDINOError):
    """The folder of built engines cannot be read or written."""


@dataclass(frozen=True)
class CachedEngine:
    """A serialized engine with its file, and whether it was built just now."""

    path: Path
    payload: bytes
    was_built: bool


def engine_directory() -> Path:
    """The default folder of engines."""
    return cache_directory() / "engines"


def network_checksum(onnx: Path) -> str:
    """The SHA-256 sum of a network: its ONNX file and every file of weights that it names.

    Raises:
        EngineCacheError: the network cannot be read.
    """
    try:
        digest = hashlib.sha256(compute(onnx).encode())
        for path in _external_files(onnx):
            digest.update(f"{path.name}:{compute(path)}".encode())
    except DownloadError as error:
        raise EngineCacheError(str(error)) from error
    except (OSError, ValueError) as error:
        raise EngineCacheError(f"{onnx} cannot be read: {error}.") from error
    return digest.hexdigest()


def _external_files(onnx: Path) -> list[Path]:
    """Files of a network's external weights, which its ONNX file names."""
    others = sorted(path for path in onnx.parent.iterdir() if path.is_file() and path != onnx)
    with onnx.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [path for path in others if content.find(path.name.encode()) >= 0]


class EngineCache:
    """The engines of one folder, which several processes may share, and the bundled ones.

    Attributes:
        folder: of the engines that are built here.
        bundled: folder with engines that were built elsewhere and are used if they fit; it may
            be missing, and nothing is written there.
    """

    def __init__(self, folder: Path, bundled: Path | None = None) -> None:
        """Make the folder.

        Raises:
            EngineCacheError: it cannot be made.
        """
        self.folder = folder
        self.bundled = bundled
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineCacheError(cannot_be_written(folder, error)) from error

    def path(self, key: EngineKey) -> Path:
        """The file of a key's engine, unless it is bundled."""
        return self.folder / _file_name(key)

    def provide(
        self,
        key: EngineKey,
        source: Path,
        build: Callable[[], bytes],
        *,
        force: bool = False,
        monitor: ProgressMonitor | None = None,
    ) -> CachedEngine:
        """The engine of a key, loaded from its file, or built and stored.

        While one process builds it, another that wants the same one waits.

        Args:
            key: what the engine must have been built from.
            source: the network's ONNX file, by which the log tells an outdated engine from none.
            build: builds the engine.
            force: build it in any case.
            monitor: cancels waiting for another process.

        Raises:
            EngineCacheError: the folder cannot be read or written.
            Cancelled: waiting was cancelled.
        """
        path = self.path(key)
        found = None if force else self.load(key, source)
        if found is not None:
            return found
        with file_lock(
            path.with_suffix(".lock"),
            f"Building the {key.stage} engine",
            lambda: _log.info("%s engine: another process is building it; waiting", key.stage),
            monitor or ProgressMonitor(),
            EngineCacheError,
        ):
            # Another process may have stored exactly this engine in the meantime.
            payload = None if force else self._load_quietly(key)
            if payload is not None:
                return CachedEngine(path, payload, False)
            payload = build()
            self.store(key, source, payload)
        return CachedEngine(path, payload, True)

    def load(self, key: EngineKey, source: Path) -> CachedEngine | None:
        """The engine of a key, or None with one line in the log that says why not.

        Raises:
            EngineCacheError: the folder cannot be read.
        """
        there = [path for path in self._paths(key) if path.exists()]
        for path in there:
            try:
                return CachedEngine(path, read_engine(path, key), False)
            except UnusableEngine as reason:
                _log.warning(
                    "%s engine: %s is not used: %s; rebuilding it", key.stage, path.name, reason
                )
            except OSError as error:
                raise EngineCacheError(f"{path} cannot be read: {error.strerror}.") from error
        if not there:
            level = logging.WARNING if self._bundled(key) else logging.INFO
            why = self._why_none(key, source)
            _log.log(level, "%s engine: %s; building it", key.stage, why)
        return None

    def _bundled(self, key: EngineKey) -> list[Path]:
        """Bundled engines of the stage."""
        return [] if self.bundled is None else sorted(self.bundled.glob(f"{key.stage}-*.engine"))

    def _paths(self, key: EngineKey) -> list[Path]:
        """Files that may hold the engine of a key."""
        folders = [self.folder] if self.bundled is None else [self.folder, self.bundled]
        return [folder / _file_name(key) for folder in folders]

    def _load_quietly(self, key: EngineKey) -> bytes | None:
        try:
            return read_engine(self.path(key), key)
        except (UnusableEngine, OSError):
            return None

    def store(self, key: EngineKey, source: Path, payload: bytes) -> Path:
        """Write an engine into the folder; returns its file.

        Raises:
            EngineCacheError: it cannot be written.
        """
        path = self.path(key)
        try:
            write_engine(path, key, source, payload)
        except OSError as error:
            raise EngineCacheError(cannot_be_written(path, error)) from error
        return path

    def _why_none(self, key: EngineKey, source: Path) -> str:
        """How the most similar engine in the cache differs."""
        reasons = []
        bundled = self._bundled(key)
        for path in [*sorted(self.folder.glob(f"{key.stage}-*.engine")), *bundled]:
            try:
                header = read_header(path)
            except (UnusableEngine, OSError):
                continue
            earlier = header["key"]
            same_network = earlier.get("onnx_sha256") == key.onnx_sha256
            is_meant = path in bundled or header.get("source") == str(source.resolve())
            if same_network or is_meant:
                count = sum(earlier.get(name) != part for name, part in key.parts().items())
                reasons.append((count, path.name, difference(earlier, key)))
        if not reasons:
            return "there is none yet"
        _, name, reason = min(reasons)
        return f"{name} is not used: {reason}"


def _file_name(key: EngineKey) -> str:
    return f"{key.stage}-{key.digest[:_DIGITS_IN_NAME]}.engine"
