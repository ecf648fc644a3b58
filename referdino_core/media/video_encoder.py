# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Video encoding by FFmpeg through PyAV."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from referdino_core.files import OutputError

# The first that this FFmpeg has is used. H.264 plays everywhere, in browsers too; MPEG-4 part 2,
# which every FFmpeg can write, plays in no browser.
MP4_ENCODERS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "23"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(4 * 118)},
}
# Patent-free, so every browser supports it, also those built without H.264.
WEBM_ENCODERS: Mapping[str, Mapping[str, str]] = {
    "libvpx": {"deadline": "realtime", "cpu-used": "4", "crf": "10", "b": "2000000"},
}
LONGEST_SIDE = 8190  # pixels; MPEG-4 part 2 has 13 bits for a side, and sides must be even

_MAX_TICKS = 65535  # per second; MPEG-4 part 2 has 16 bits for them
_FRAMES_BETWEEN_KEY_FRAMES = 60
_BT601, _LIMITED = 6, 1  # FFmpeg's target when converting RGB, as H.273 numbers


class EncoderError(OutputError):
    """No encoder can produce such a video; not an error of the disk."""


class VideoEncoder:
    """A video file being written; the same images give the same bytes.

    Attributes:
        size: width and height of the video, even.
    """

    def __init__(
        self,
        path: Path,
        container: str,
        encoders: Mapping[str, Mapping[str, str]],
        frame_rate: float,
        size: tuple[int, int],
    ) -> None:
        """Open the file, replacing an earlier one.

        Args:
            container: FFmpeg's name of the format, such as "mp4".
            encoders: names and options; the first that this FFmpeg has is used.
            frame_rate: frames per second; rounded to what containers can store.
            size: width and height of the images; made even by repeating the last row or column.

        Raises:
            EncoderError: there is no encoder for such a video.
            OSError: the disk does not take it.
        """
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self._shape = (size[1], size[0], 3)
        self._frames = 0
        self._file = _ByteSink(path)
        self._container = av.open(self._file, "w", format=container)
        try:
            rate = container_rate(frame_rate)
            self._time_base = 1 / rate
            self._stream = self._start(encoders, rate)
            self._file.check()
        except BaseException:
            self.abandon()
            raise

    def write(self, image: np.ndarray) -> None:
        """Append an image, (H, W, 3) uint8 RGB of the announced size.

        Raises:
            EncoderError: the encoder does not take it.
            OSError: the disk does not take it.
        """
        if image.shape != self._shape:
            raise ValueError(f"an image of {image.shape} in a video of {self._shape}")
        below, beside = self.size[1] - image.shape[0], self.size[0] - image.shape[1]
        if below or beside:
            image = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._frames, self._time_base
        self._frames += 1
        self._encode(frame)

    def finish(self) -> None:
        """Write the rest of the video and flush it to the disk.

        Raises:
            EncoderError: the encoder does not finish.
            OSError: the disk does not take it.
        """
        self._encode(None)
        self._container.close()
        self._file.check()
        self._file.close()

    def abandon(self) -> None:
        """Close the file without finishing it; may be called more than once, never raises."""
        with suppress(av.FFmpegError):  # an encoder that was never opened
            self._container.close()
        with suppress(OSError):  # the disk is still full
            self._file.close()

    def _start(self, encoders: Mapping[str, Mapping[str, str]], rate: Fraction) -> Any:
        found = next(filter(_is_there, encoders), None)
        if found is None:
            raise EncoderError(f"this FFmpeg has no encoder {' or '.join(encoders)}.")
        stream = self._container.add_stream(found, rate=rate, options=dict(encoders[found]))
        context: Any = stream.codec_context
        context.width, context.height = self.size
        context.pix_fmt = "yuv420p"
        context.colorspace, context.color_range = _BT601, _LIMITED
        context.gop_size, context.max_b_frames = _FRAMES_BETWEEN_KEY_FRAMES, 0
        context.thread_count = 1  # the bytes depend on it
        try:
            self._container.start_encoding()
        except av.FFmpegError as error:
            raise EncoderError(
                f"{found} takes no {self.size[0]}x{self.size[1]} pixels at {float(rate):g} frames "
                f"per second: {error}."
            ) from error
        return stream

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except av.FFmpegError as error:
            raise EncoderError(f"the encoder stopped at frame {self._frames}: {error}.") from error
        self._file.check()


class _ByteSink:
    """An output file for FFmpeg, which would interpret protocols and patterns in names.

    Write errors are not raised through FFmpeg, which would lose or print them: `check` raises them,
    and nothing more is written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while rest and self._error is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = error
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def check(self) -> None:
        """Raise OSError for what could not be written."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Flush the file to the disk and close it."""
        if not self._file.closed:
            with self._file:
                os.fsync(self._file.fileno())


def container_rate(frame_rate: float) -> Fraction:
    """The nearest frame rate that containers can store: a ratio of two 16-bit numbers."""
    frame_rate = max(frame_rate, 1 / _MAX_TICKS)
    if frame_rate < 1:
        return 1 / Fraction(1 / frame_rate).limit_denominator(max(1, int(_MAX_TICKS * frame_rate)))
    return Fraction(frame_rate).limit_denominator(max(1, int(_MAX_TICKS / frame_rate)))


def _is_there(encoder: str) -> bool:
    try:
        av.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True
