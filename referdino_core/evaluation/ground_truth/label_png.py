# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""PNG files whose pixels are object ids."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_DROPPED = (b"PLTE", b"tRNS")


def read_labels(path: Path) -> np.ndarray:
    """Read a label image: (H, W) uint8 or uint16, the number of every pixel.

    In a file with a palette (YouTube-VOS, DAVIS) that is the index into it, in a grey file the
    value.

    Raises:
        ImageError: the file cannot be read, is cut off or no PNG, or holds colours rather than
            numbers; the message names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return decode_labels(data)
    except ImageError as error:
        raise ImageError(f"{path} cannot be read: {error}") from error


def decode_labels(data: bytes) -> np.ndarray:
    """The label image in the bytes of a PNG file; see `read_labels`."""
    depth, kind, as_grey = _as_grey(data)
    if kind not in (_GREY, _PALETTE):
        raise ImageError("It holds colours, not object ids; save it with a palette or in grey.")
    try:
        labels = cv2.imdecode(np.frombuffer(as_grey, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        labels = None
    if labels is None or labels.ndim != 2:
        raise ImageError("The PNG image is damaged.")
    if depth < 8:  # OpenCV stretches fewer bits over the range of eight.
        labels = labels // (255 // (2**depth - 1))
    return labels


def _as_grey(data: bytes) -> tuple[int, int, bytes]:
    """Bits per sample, colour type, and the same file with a palette's indices as grey values.

    OpenCV knows only the colours of a palette, not the indices. The picture data of both forms is
    the same, so it is enough to change the header.
    """
    if not data.startswith(_SIGNATURE):
        raise ImageError("It is no PNG image.")
    depth = kind = -1
    grey = bytearray(_SIGNATURE)
    for name, content in _chunks(data):
        if name == b"IHDR" and len(content) == 13:
            depth, kind = content[8], content[9]
            content = content[:9] + bytes([_GREY if kind == _PALETTE else kind]) + content[10:]
        if name not in _DROPPED:
            check = zlib.crc32(name + content)
            grey += struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)
    if depth not in (1, 2, 4, 8, 16):
        raise ImageError("The PNG image has no header.")
    return depth, kind, bytes(grey)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of every chunk up to the end."""
    position, name = len(_SIGNATURE), b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise ImageError(f"The PNG image is cut off after {len(data)} bytes.")
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        content = data[position + 8 : position + 8 + length]
        check = data[position + 8 + length : position + 12 + length]
        if len(check) < 4:
            raise ImageError(f"The PNG image is cut off after {len(data)} bytes.")
        if zlib.crc32(name + content) != struct.unpack(">I", check)[0]:
            raise ImageError("The PNG image is damaged: a checksum does not fit.")
        yield name, content
        position += 12 + length
