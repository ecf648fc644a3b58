# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Built engines on disk, each under a key of everything that it depends on.

An engine's file begins with a magic line and a JSON header that names all parts of its key; the
engine itself follows. A file that does not fit, is foreign or is damaged is never used: one line in
the log says why, and the engine is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from referdino_core.download.checksums import compute
from referdino_core.errors import BuildCancelled, DownloadError, ReferDINOError
from referdino_core.runtime.tensorrt.engine_key import EngineKey, difference
from referdino_core.user_files import cache_directory, cannot_be_written

MAGIC = b"referdino TensorRT engine 2\n"
_LENGTH_BYTES = 8
_LONGEST_HEADER = 1 << 20  # bytes
_DIGITS_IN_NAME = 16
_SECONDS_BETWEEN_TRIES = 0.1

_log = logging.getLogger("referdino.tensorrt")


class EngineCacheError(ReferDINOError):
    """The folder of built engines cannot be read or written."""


class _Unusable(Exception):
    """Why a file is not used, for the log."""


@dataclass(frozen=True)
class CachedEngine:
    """An engine that is there: its file, the engine itself, and whether it was built just now."""

    path: Path
    payload: bytes
    was_built: bool


def engine_directory() -> Path:
    """Where engines are kept unless something else is asked for."""
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
    """Files beside a network whose names it contains: ONNX spells the places of its weights out."""
    others = sorted(path for path in onnx.parent.iterdir() if path.is_file() and path != onnx)
    with onnx.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [path for path in others if content.find(path.name.encode()) >= 0]


class EngineCache:
    """The engines of one folder, which several processes may share, and those that came along.

    folder: where engines are built into. shipped: a folder with engines that were built elsewhere,
    which are used where they fit; it may be missing, and nothing is written there.
    """

    def __init__(self, folder: Path, shipped: Path | None = None) -> None:
        """Make the folder of what is built here.

        Raises:
            EngineCacheError: it cannot be made.
        """
        self.folder = folder
        self.shipped = shipped
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineCacheError(cannot_be_written(folder, error)) from error

    def path(self, key: EngineKey) -> Path:
        """Where the engine of a key is, or will be, if it does not come along."""
        return self.folder / _file_name(key)

    def provide(
        self,
        key: EngineKey,
        source: Path,
        build: Callable[[], bytes],
        *,
        force: bool = False,
        cancelled: threading.Event | None = None,
    ) -> CachedEngine:
        """The engine of a key: from its file, or built and stored.

        While one process builds it, another that wants the same one waits.

        Args:
            key: what the engine must have been built from.
            source: the network's ONNX file, by which the log tells an outdated engine from none.
            build: builds the engine.
            force: build it in any case.
            cancelled: set to stop waiting for another process.

        Raises:
            EngineCacheError: the folder cannot be read or written.
            BuildCancelled: `cancelled` was set.
        """
        path = self.path(key)
        found = None if force else self.load(key, source)
        if found is not None:
            return found
        with self._lock(key, cancelled):
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
                return CachedEngine(path, _load(path, key), False)
            except _Unusable as reason:
                _log.warning(
                    "%s engine: %s is not used: %s; rebuilding it", key.stage, path.name, reason
                )
            except OSError as error:
                raise EngineCacheError(f"{path} cannot be read: {error.strerror}.") from error
        if not there:
            level = logging.WARNING if self._came_along(key) else logging.INFO
            why = self._why_none(key, source)
            _log.log(level, "%s engine: %s; building it", key.stage, why)
        return None

    def _came_along(self, key: EngineKey) -> list[Path]:
        """Engines of the stage that were built elsewhere."""
        return [] if self.shipped is None else sorted(self.shipped.glob(f"{key.stage}-*.engine"))

    def _paths(self, key: EngineKey) -> list[Path]:
        """Where the engine of a key may be."""
        folders = [self.folder] if self.shipped is None else [self.folder, self.shipped]
        return [folder / _file_name(key) for folder in folders]

    def _load_quietly(self, key: EngineKey) -> bytes | None:
        try:
            return _load(self.path(key), key)
        except (_Unusable, OSError):
            return None

    def store(self, key: EngineKey, source: Path, payload: bytes) -> Path:
        """Write an engine under a temporary name, then give it its own; returns where it is.

        Raises:
            EngineCacheError: it cannot be written.
        """
        path = self.path(key)
        header = {
            "key": key.parts(),
            "source": str(source.resolve()),
            "payload_sha256": hashlib.sha256(payload).hexdigest(),
            "payload_bytes": len(payload),
        }
        encoded = json.dumps(header, sort_keys=True).encode()
        temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with temporary.open("wb") as file:
                file.write(MAGIC + len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise EngineCacheError(cannot_be_written(path, error)) from error
        return path

    @contextmanager
    def _lock(self, key: EngineKey, cancelled: threading.Event | None) -> Iterator[None]:
        """Keep other processes from building the same."""
        path = self.path(key).with_suffix(".lock")
        try:
            file = path.open("ab")
        except OSError as error:
            raise EngineCacheError(cannot_be_written(path, error)) from error
        with file:
            waited = False
            while not _try_to_lock(file.fileno()):
                if not waited:
                    _log.info("%s engine: another process is building it; waiting", key.stage)
                waited = True
                if (cancelled or threading.Event()).wait(_SECONDS_BETWEEN_TRIES):
                    raise BuildCancelled(f"Building the {key.stage} engine was cancelled.")
            yield

    def _why_none(self, key: EngineKey, source: Path) -> str:
        """What tells the wanted engine from the most similar one that was built before."""
        reasons = []
        came_along = self._came_along(key)
        for path in [*sorted(self.folder.glob(f"{key.stage}-*.engine")), *came_along]:
            try:
                with path.open("rb") as file:
                    header = _read_header(file.read(_LONGEST_HEADER))[0]
            except (_Unusable, OSError):
                continue
            earlier = header["key"]
            same_network = earlier.get("onnx_sha256") == key.onnx_sha256
            is_meant = path in came_along or header.get("source") == str(source.resolve())
            if same_network or is_meant:
                count = sum(earlier.get(name) != part for name, part in key.parts().items())
                reasons.append((count, path.name, difference(earlier, key)))
        if not reasons:
            return "there is none yet"
        _, name, reason = min(reasons)
        return f"{name} is not used: {reason}"


def _file_name(key: EngineKey) -> str:
    return f"{key.stage}-{key.digest[:_DIGITS_IN_NAME]}.engine"


def _try_to_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _load(path: Path, key: EngineKey) -> bytes:
    header, payload = _read(path)
    reason = difference(header["key"], key)
    if reason:
        raise _Unusable(reason)
    return payload


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    header, start = _read_header(content)
    payload = content[start:]
    size = header.get("payload_bytes")
    if len(payload) != size:
        raise _Unusable(f"file is truncated or corrupt ({len(payload)} bytes instead of {size})")
    if hashlib.sha256(payload).hexdigest() != header.get("payload_sha256"):
        raise _Unusable("file is corrupt (its checksum differs)")
    return header, payload


def _read_header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header of an engine's file, and where the engine begins."""
    if not content.startswith(MAGIC):
        is_beginning = len(content) < len(MAGIC) and MAGIC.startswith(content)
        raise _Unusable("file is truncated" if is_beginning else "not an engine of referdino")
    start = len(MAGIC) + _LENGTH_BYTES
    end = start + int.from_bytes(content[len(MAGIC) : start], "little")
    if end > len(content) or end > _LONGEST_HEADER:
        raise _Unusable("file is truncated or corrupt (within its header)")
    try:
        header = json.loads(content[start:end])
        if not isinstance(header["key"], dict):
            raise _Unusable("file is corrupt (its header)")
    except (ValueError, KeyError, TypeError) as error:
        raise _Unusable("file is corrupt (its header)") from error
    return header, end
