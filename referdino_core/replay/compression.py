# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Bounded decompression of parts of recordings, which may be truncated."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

MAX_UNPACKED = 1 << 30
"""Maximum decompressed bytes of a chunk or message; recorders write a few megabytes."""
FREE_FRACTION = 0.9
"""Fraction of the free disk space that a decompressed file may take."""
ZSTD_START = b"\x28\xb5\x2f\xfd"

_BLOCK = 1 << 20
_FRAME_STARTS = (ZSTD_START, *(bytes((0x50 + n, 0x2A, 0x4D, 0x18)) for n in range(16)))
"""Magic bytes of zstd frames: data, or one of 16 kinds of skippable frames."""


class DamagedData(Exception):
    """Compressed data is invalid; the message says how."""


class TooLarge(Exception):
    """Data would decompress to more than there is room for; the message says to how much."""


def unpack(data: bytes, kind: str, size: int) -> bytes:
    """Decompress data that may be truncated, as far as it goes.

    Args:
        kind: "zstd", "lz4", or "" for uncompressed data.
        size: its stated decompressed size in bytes, at most `MAX_UNPACKED`.

    Raises:
        DamagedData: the data is damaged, is more than `size` bytes, or its kind is unknown.
    """
    if size > MAX_UNPACKED:
        raise DamagedData(f"it announces {size} bytes, and at most {MAX_UNPACKED} are taken")
    if not kind:
        return data
    decompressor = _decompressor(kind)
    try:
        unpacked: bytes = decompressor.decompress(data, size + 1)
    except Exception as error:  # each library has an error of its own
        raise DamagedData(str(error)) from error
    if len(unpacked) > size:
        raise DamagedData(f"it unpacks to more than the {size} bytes that it announces")
    return unpacked


def unpack_message(data: bytes) -> bytes:
    """Decompress a single message that was compressed with zstd.

    Raises:
        DamagedData: the data is damaged or cut off, or more than `MAX_UNPACKED` bytes.
    """
    decompressor = _decompressor("zstd")
    try:
        unpacked: bytes = decompressor.decompress(data, MAX_UNPACKED)
    except Exception as error:  # see unpack
        raise DamagedData(str(error)) from error
    if not decompressor.eof:
        more = f"it unpacks to {MAX_UNPACKED} bytes and more"
        raise DamagedData("it is cut off" if decompressor.needs_input else more)
    return unpacked


def unpack_file(path: Path, target: Path) -> bool:
    """Decompress a zstd file, as far as it can be read; returns whether it was complete.

    Raises:
        TooLarge: it takes more than `FREE_FRACTION` of the free space on the disk of `target`.
    """
    room = int(shutil.disk_usage(target.parent).free * FREE_FRACTION)
    decompressor = _decompressor("zstd")
    with path.open("rb") as compressed, target.open("wb") as plain:
        block = compressed.read(_BLOCK)
        while block or not decompressor.needs_input:
            try:
                unpacked = decompressor.decompress(block, _BLOCK)
            except Exception:  # see unpack
                return False
            room -= len(unpacked)
            if room < 0:
                raise TooLarge(f"it unpacks to more than the disk of {target.parent} has room for")
            plain.write(unpacked)
            if decompressor.eof:
                block = decompressor.unused_data + compressed.read(_BLOCK)
                if not is_zstd(block):
                    return True
                decompressor = _decompressor("zstd")
            else:
                block = compressed.read(_BLOCK) if decompressor.needs_input else b""
    return False


def is_zstd(start: bytes) -> bool:
    """Whether these first bytes are those of a zstd file."""
    return start.startswith(_FRAME_STARTS)


def first_bytes(path: Path, count: int) -> bytes:
    """The first decompressed bytes of a zstd file; none if it is damaged."""
    with path.open("rb") as compressed:
        block = compressed.read(_BLOCK)
    unpacked = b""
    while not unpacked and is_zstd(block):
        decompressor = _decompressor("zstd")
        try:
            unpacked = decompressor.decompress(block, count)
        except Exception:  # see unpack
            return b""
        block = decompressor.unused_data
    return unpacked


def _decompressor(kind: str) -> Any:
    if kind == "zstd":
        try:
            from compression import zstd  # type: ignore[import-not-found]
        except ImportError:
            from backports import zstd
        return zstd.ZstdDecompressor()
    if kind == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        return LZ4FrameDecompressor()
    raise DamagedData(f"the compression {kind!r} is not known")
