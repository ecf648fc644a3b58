# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Files of built engines: the key of everything that an engine depends on, and the format.

A file begins with a magic line and a JSON header that names all parts of the key; the serialized
engine follows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

MAGIC = b"referdino TensorRT engine 2\n"
_LENGTH_BYTES = 8
_LONGEST_HEADER = 1 << 20  # bytes

_log = logging.getLogger("referdino.tensorrt")


class UnusableEngine(Exception):
    """A file of an engine cannot be used; the message says why."""


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        stage: name of the stage.
        onnx_sha256: of the network, weights outside of its file included.
        library: name and full version of the library that builds and runs it.
        gpu: the GPU that it is built for; None if any GPU of the compute capability can run it.
        compute_capability: of the GPU, such as "8.9".
        shapes: sizes and ranges of the axes, by letter.
        precision: of the export.
        plugin: name and version of the plugin, None if the network needs none; an engine holds
            none of the plugin's code, so that another build of the same version will do.
        builder_options: by name.
    """

    stage: str
    onnx_sha256: str
    library: str
    gpu: str | None
    compute_capability: str
    shapes: Mapping[str, Any]
    precision: str
    plugin: str | None
    builder_options: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 sum of all parts, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.parts(), sort_keys=True).encode()).hexdigest()

    def parts(self) -> dict[str, Any]:
        """The parts by name, as JSON gives them back."""
        return json.loads(json.dumps(asdict(self)))


def difference(earlier: Mapping[str, Any], key: EngineKey) -> str:
    """The differences between the key of an engine on disk and the wanted one, for the log."""
    wanted = key.parts()
    differing = [
        field.name for field in fields(key) if earlier.get(field.name) != wanted[field.name]
    ]
    reasons = []
    for name in differing:
        was, now = earlier.get(name), wanted[name]
        if name == "library":
            reasons.append(f"built by {was}, this is {now}")
        elif name == "gpu":
            reasons.append(f"for {_gpu(was)}, this is {_gpu(now)}")
        elif name == "compute_capability":
            reasons.append(f"for compute capability {was}, this is {now}")
        elif name == "onnx_sha256":
            reasons.append("the ONNX changed")
        elif name == "plugin":
            reasons.append(f"for {was or 'no plugin'}, this is {now or 'no plugin'}")
        elif name == "shapes":
            reasons.append(f"for the shapes {_text(was)}, wanted are {_text(now)}")
        elif name == "builder_options":
            reasons.append(f"built with {_text(was)}, wanted is {_text(now)}")
        else:
            reasons.append(f"for {name.replace('_', ' ')} {was}, wanted is {now}")
    return "; ".join(reasons)


def _gpu(name: object) -> str:
    return "any GPU" if name is None else f"the GPU {name}"


def _text(values: object) -> str:
    if not isinstance(values, dict):
        return str(values)
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))


def write_engine(path: Path, key: EngineKey, source: Path, payload: bytes) -> None:
    """Write an engine's file atomically.

    Args:
        path: of the file.
        key: of the engine.
        source: the ONNX file that it was built from.
        payload: the serialized engine.

    Raises:
        OSError: it cannot be written.
    """
    header = {
        "key": key.parts(),
        "source": str(source.resolve()),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
        "payload_bytes": len(payload),
    }
    encoded = json.dumps(header, sort_keys=True).encode()
    length = len(encoded).to_bytes(_LENGTH_BYTES, "little")
    _write(path, MAGIC + length + encoded, payload)


def write_for_speed(path: Path, content: bytes) -> None:
    """Write a file that only saves time later; logs one warning if it cannot be written."""
    try:
        _write(path, content)
    except OSError as error:
        _log.warning("%s cannot be written: %s", path, error.strerror)


def _write(path: Path, *parts: bytes) -> None:
    """Write to a temporary file, and rename it when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_header(path: Path) -> dict[str, Any]:
    """The header of an engine's file.

    Raises:
        UnusableEngine: it is foreign or damaged.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _parse_header(file.read(_LONGEST_HEADER))[0]


def read_engine(path: Path, key: EngineKey) -> bytes:
    """The serialized engine of a file that was built for this key.

    Raises:
        UnusableEngine: it is of another key, foreign or damaged.
        OSError: the file cannot be read.
    """
    header, payload = _read(path)
    reason = difference(header["key"], key)
    if reason:
        raise UnusableEngine(reason)
    return payload


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    header, start = _parse_header(content)
    payload = content[start:]
    size = header.get("payload_bytes")
    if len(payload) != size:
        raise UnusableEngine(
            f"file is truncated or corrupt ({len(payload)} bytes instead of {size})"
        )
    if hashlib.sha256(payload).hexdigest() != header.get("payload_sha256"):
        raise UnusableEngine("file is corrupt (its checksum differs)")
    return header, payload


def _parse_header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header, and the offset of the serialized engine."""
    if not content.startswith(MAGIC):
        is_beginning = len(content) < len(MAGIC) and MAGIC.startswith(content)
        raise UnusableEngine("file is truncated" if is_beginning else "not an engine of referdino")
    start = len(MAGIC) + _LENGTH_BYTES
    end = start + int.from_bytes(content[len(MAGIC) : start], "little")
    if end > len(content) or end > _LONGEST_HEADER:
        raise UnusableEngine("file is truncated or corrupt (within its header)")
    try:
        header = json.loads(content[start:end])
        if not isinstance(header["key"], dict):
            raise UnusableEngine("file is corrupt (its header)")
    except (ValueError, KeyError, TypeError) as error:
        raise UnusableEngine("file is corrupt (its header)") from error
    return header, end
