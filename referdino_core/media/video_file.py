# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Video files, decoded by FFmpeg through PyAV.

Files are opened here and handed over as streams of bytes, so that FFmpeg never takes a name for the
address of a protocol or for a pattern, whatever is in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import av
import numpy as np

from referdino_core.errors import SourceError
from referdino_core.media.frame_source import (
    DEFAULT_FRAME_RATE,
    Frame,
    FrameSource,
    is_plausible,
)

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

# Titles in old encodings are no errors; PyAV 19 needs not be told.
_ANY_METADATA: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
_TEXT_AS_PICTURE = "ansi"  # the codec with which FFmpeg reads the text of a .txt file
_CONTAINERS_WITH_EDIT_LISTS = "mov"
_ALLOWANCE = 0.02  # share of the frames, or seconds, that containers may announce in error

_logger = logging.getLogger("referdino.media")


class EncodedVideo:
    """The video track of a file, decoded picture by picture, once, from front to back.

    Attributes:
        rate: frames per second that are announced on average; 0.0 where none are.
        seconds: announced duration of the track; None where there is none.
        frame_count: announced number of frames, or one estimated from the duration; None where
            nobody can know.
        counts_frames: whether that number was counted by whoever wrote the file.
        damage: what was met that cannot be decoded faithfully: lost and disfigured frames.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            SourceError: it cannot be read, or holds no video.
        """
        self._path = path
        self._container: InputContainer | None = None
        try:
            self._file: IO[bytes] = path.open("rb")
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
        try:
            container = av.open(self._file, "r", **_ANY_METADATA)
            self._container = container
            self._stream = self._video_stream(container)
        except (av.FFmpegError, OSError, SourceError) as error:
            self.close()
            raise SourceError(
                f"{path} holds no video that can be read; check that it is a complete video file."
            ) from error
        # With threads the pictures of damaged files differ from time to time.
        self._stream.thread_type = "NONE"
        self.damage = 0
        self.rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.seconds = _duration(container, self._stream)
        self.frame_count, self.counts_frames = self._announced()

    def pictures(self) -> Iterator[VideoFrame]:
        """Decode what can be decoded; what cannot is counted as damage."""
        assert self._container is not None
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                decoded = packet.decode()
            except av.EOFError:
                return
            except av.InvalidDataError:
                self.damage += 1
                continue
            except (av.FFmpegError, OSError):  # such as a medium that was pulled out
                self.damage += 1
                return
            for picture in decoded:
                self.damage += picture.is_corrupt
                yield picture

    def seek(self, seconds: float) -> None:
        """Go to a picture at or before that time, from which on `pictures` goes on."""
        assert self._container is not None
        self._container.seek(round(seconds * 1e6))  # in microseconds where no stream is given

    def close(self) -> None:
        """Release the file; may be called more than once."""
        if self._container is not None:
            self._container.close()
        self._file.close()

    def __enter__(self) -> EncodedVideo:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _video_stream(self, container: InputContainer) -> VideoStream:
        stream = container.streams.best("video")
        context = None if stream is None else stream.codec_context
        if context is None or context.name == _TEXT_AS_PICTURE:
            raise SourceError(f"{self._path} has no video track that can be decoded.")
        return stream  # type: ignore[return-value]  # best("video") gives nothing else

    def _announced(self) -> tuple[int | None, bool]:
        """Number of frames, and whether it was counted rather than estimated."""
        assert self._container is not None
        counted = self._stream.frames
        # An edit list leaves frames out that were counted.
        if counted and not self._container.format.name.startswith(_CONTAINERS_WITH_EDIT_LISTS):
            return counted, True
        if self.seconds and is_plausible(self.rate):
            return max(1, round(self.seconds * self.rate)), bool(counted)
        return None, False


class VideoFile(FrameSource):
    """The frames of a video file, upright, stamped with the times its container gives them."""

    def __init__(self, path: Path, frame_rate: float | None = None) -> None:
        """Open the file and decode its first frame.

        Raises:
            SourceError: it holds no video that can be read.
        """
        self.description = str(path)
        self._video = EncodedVideo(path)
        self._pictures = self._video.pictures()
        self._next = next(self._pictures, None)
        if self._next is None:
            self.close()
            raise SourceError(
                f"{path} holds no video that can be read; check that it is a complete video file."
            )
        self._keeps_container_times = frame_rate is None and self._next.time is not None
        self._origin = self._next.time or 0.0
        self.frame_count = self._video.frame_count
        self.frame_rate = frame_rate or self._video.rate
        if not is_plausible(self.frame_rate):
            announced, self.frame_rate = self.frame_rate, DEFAULT_FRAME_RATE
            _logger.warning(
                "%s announces %s frames per second; counting with %.0f.",
                path,
                announced,
                self.frame_rate,
            )

    def __iter__(self) -> Iterator[Frame]:
        index, stamp, end = 0, 0.0, 0.0
        while self._next is not None:
            yield Frame(upright(self._next), stamp, index)
            self._next = next(self._pictures, None)
            index += 1
            end = stamp + 1.0 / self.frame_rate
            if self._next is not None:
                stamp = self._stamp_after(stamp, self._next.time)
        self._report_damage(index, end)

    def close(self) -> None:
        self._next = None
        self._video.close()

    def _stamp_after(self, previous: float, container_time: float | None) -> float:
        """The container's time where it goes forward, else one frame period after the previous
        stamp.
        """
        if self._keeps_container_times and container_time is not None:
            stamp = container_time - self._origin
            if stamp > previous:
                return stamp
        return previous + 1.0 / self.frame_rate

    def _report_damage(self, read_count: int, end: float) -> None:
        """Tell where the file breaks off, or how many frames within it are damaged."""
        video = self._video
        lost = video.frame_count - read_count if video.counts_frames and video.frame_count else 0
        lost = lost if lost > max(1, _ALLOWANCE * (video.frame_count or 0)) else 0
        missing = self._seconds_missing(end)
        if lost and missing != 0.0:
            announced = f"frame {read_count} of the {video.frame_count}"
            self.problem = f"cannot be read beyond {announced} it announces; the file is damaged."
        elif missing and not video.counts_frames:
            announced = f"{end:.1f} of the {video.seconds:.1f} seconds"
            self.problem = f"cannot be read beyond {announced} it announces; the file is damaged."
        elif lost or video.damage:
            number = max(lost, video.damage)
            frames = "1 frame" if number == 1 else f"{number} frames"
            self.problem = f"is damaged: {frames} could not be decoded, or not fully."
        if self.problem:
            self.problem = f"{self.description} {self.problem}"
            _logger.warning("%s", self.problem)

    def _seconds_missing(self, end: float) -> float | None:
        """Announced seconds after the last frame, 0.0 for few; None where nobody can know."""
        video = self._video
        if video.seconds is None or not self._keeps_container_times:
            return None
        if video.counts_frames and round(video.seconds * video.rate) != video.frame_count:
            return None  # FFmpeg found that the file breaks off, and reckons with what is there
        missing = video.seconds - end
        return missing if missing > max(2.0 / self.frame_rate, _ALLOWANCE * video.seconds) else 0.0


def upright(picture: VideoFrame, layout: str = "rgb24") -> np.ndarray:
    """A picture as (H, W, 3) uint8, turned as its container says.

    Args:
        layout: "rgb24" or "bgr24".
    """
    image = picture.to_ndarray(format=layout)
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of the video track; None where only the whole file's are known, of several tracks."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None or len(container.streams) > 1:
        return None
    start = 0 if container.start_time is None else container.start_time
    return max(0, container.duration - max(0, start)) / 1e6
