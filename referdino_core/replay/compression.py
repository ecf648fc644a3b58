# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed parts of recordings, as far as they are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_BLOCK = 1 << 20
ZSTD_START = b"\x28\xb5\x2f\xfd"


class DamagedData(Exception):
    """Compressed data does not follow its format; the message says how."""


def decompress(data: bytes, kind: str) -> bytes:
    """What there is of data that may be cut off.

    Args:
        kind: "zstd", "lz4", or empty for data that is not compressed.

    Raises:
        DamagedData: the data is damaged, or the kind is unknown.
    """
    if not kind:
        return data
    decompressor = _decompressor(kind)
    try:
        return decompressor.decompress(data)
    except Exception as error:  # each library has an error of its own
        raise DamagedData(str(error)) from error


def decompress_file(path: Path, target: Path) -> bool:
    """Write what a zstd file holds, as far as it can be read; returns whether that is all."""
    decompressor = _decompressor("zstd")
    with path.open("rb") as compressed, target.open("wb") as plain:
        while block := compressed.read(_BLOCK):
            try:
                plain.write(decompressor.decompress(block))
            except Exception:  # damaged, or something follows the end
                break
    return bool(decompressor.eof)


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
