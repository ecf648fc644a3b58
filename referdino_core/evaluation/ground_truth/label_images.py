# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth as label images: a PNG file per annotated frame, as in YouTube-VOS and DAVIS."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.ground_truth.base import FrameGroundTruth, FrameNames, GroundTruth
from referdino_core.user_files import visible_entries

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_DROPPED = (b"PLTE", b"tRNS")


def read_labels(path: Path) -> np.ndarray:
    """Read a label image: (H, W) uint8 or uint16, the object id of every pixel.

    In a file with a palette (YouTube-VOS, DAVIS) that is the index into it, in a grey file the
    value.

    Raises:
        ImageError: the file cannot be read, is truncated or no PNG, or holds colours rather than
            ids; the message names it.
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
    """Decode a label image from the bytes of a PNG file; see `read_labels`."""
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
    """Bits per sample, colour type, and the same file with palette indices as grey values.

    OpenCV returns the colours of a palette, not the indices. The image data of both forms is the
    same, so it is enough to change the header.
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


VOID = 255
"""Value of ignored pixels in 8-bit files."""


class LabelImages(GroundTruth):
    """A folder of PNG files with a palette or in grey: 0 background, otherwise an object id.

    If the source is a folder of images, a frame's file has the name of its image. Otherwise its
    name is the frame's index from 0 (gaps are frames without annotation) or its stamp in
    nanoseconds.
    """

    def __init__(self, folder: Path, recording: Path | None = None) -> None:
        """Open a folder. Every file is read once to collect the objects.

        Args:
            recording: the source of the files, if it is known.

        Raises:
            SourceError: the folder holds no label image that belongs to a frame.
        """
        super().__init__(f"label images in {folder}")
        try:
            self._files = {path.stem: path for path in pngs_in(folder)}
        except OSError as error:
            raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error
        if not self._files:
            raise SourceError(f"{folder} holds no PNG files; give a folder of label images.")
        self._names = FrameNames(list(self._files), recording)
        self._unused = set(self._names.understood)
        if not self._unused:
            raise SourceError(
                f"No file of {folder} belongs to a frame; name them by the index of the frame "
                "(00000.png), by its stamp in nanoseconds, or like the source's images."
            )
        for stranger in sorted(set(self._files) - self._unused):
            self.note("a label image's name matches no frame", f"{stranger}.png")
        self._closed = False
        self._objects = self._find_objects()

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of all objects in any file."""
        return self._objects

    def at(self, index: int, stamp: int) -> FrameGroundTruth | None:
        """Ground truth of one frame; None if there is no file or it cannot be read."""
        name = self._names.at(index, stamp)
        if name is None:
            return None
        self._unused.discard(name)
        try:
            labels = read_labels(self._files[name])
        except ImageError:
            return None  # noted when the folder was opened
        height, width = labels.shape
        ignored = labels == VOID if labels.dtype == np.uint8 else None
        return FrameGroundTruth(
            masks={number: labels == number for number in self._objects},
            size=(height, width),
            ignored=ignored if ignored is not None and ignored.any() else None,
        )

    def close(self) -> None:
        """Report the files without a frame."""
        if not self._closed:
            for name in sorted(self._unused):
                self.note("a label image belongs to no frame that was read", f"{name}.png")
        self._closed = True

    def _find_objects(self) -> tuple[int, ...]:
        found: set[int] = set()
        for name in sorted(self._unused):
            try:
                labels = read_labels(self._files[name])
            except ImageError as error:
                self.note("a label image cannot be read", str(error))
                continue
            values = set(np.unique(labels).tolist())
            if labels.dtype == np.uint8 and values <= {0, VOID} and VOID in values:
                self.note(
                    "a label image holds only 0 and 255, which means 'ignored'", f"{name}.png"
                )
            found |= values - ({VOID} if labels.dtype == np.uint8 else set())
        return tuple(sorted(found - {0}))


def pngs_in(folder: Path) -> list[Path]:
    """The PNG files of a folder by name, without hidden ones such as ._x.png.

    Raises:
        OSError: the folder cannot be read.
    """
    return [path for path in visible_entries(folder) if path.suffix == ".png"]
