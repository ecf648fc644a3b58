# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Video files, decoded by FFmpeg through PyAV.

Files are opened here and passed on as byte streams, so that FFmpeg never interprets a name as a URL
or a pattern.
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
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

# Metadata in old encodings is not an error; PyAV 19 has this as its default.
_ANY_METADATA: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
_TEXT_AS_IMAGE = "ansi"  # the codec with which FFmpeg decodes the text of a .txt file
_CONTAINERS_WITH_EDIT_LISTS = "mov"
_TOLERANCE = 0.02  # fraction of frames, or of seconds, by which containers may be wrong

_logger = logging.getLogger("referdino.media")


class EncodedVideo:
    """The video track of a file, decoded frame by frame, once, from front to back.

    Attributes:
        rate: announced average frame rate; 0.0 if none is announced.
        seconds: announced duration of the track; None if none is announced.
        frame_count: announced number of frames, or an estimate from the duration; None if unknown.
        counts_frames: whether that number was counted when the file was written.
        damage: number of lost or corrupt frames met so far.
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
        # With threads, decoding of damaged files is not deterministic.
        self._stream.thread_type = "NONE"
        self.damage = 0
        self.rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.seconds = _duration(container, self._stream)
        self.frame_count, self.counts_frames = self._announced()

    def frames(self) -> Iterator[VideoFrame]:
        """Decode the frames; those that cannot be decoded count as damage."""
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
            except (av.FFmpegError, OSError):  # such as a medium that was removed
                self.damage += 1
                return
            for frame in decoded:
                self.damage += frame.is_corrupt
                yield frame

    def packets(self) -> Iterator[Packet]:
        """The encoded packets of the track; a medium that breaks off counts as damage."""
        assert self._container is not None
        try:
            yield from (one for one in self._container.demux(self._stream) if one.size)
        except (av.FFmpegError, OSError):
            self.damage += 1

    def seek_key_frame(self, time: int) -> None:
        """Seek to a key frame, from which `frames` continues.

        Args:
            time: its presentation time in units of the track's time base.
        """
        assert self._container is not None
        self._container.seek(time, stream=self._stream)

    def seek(self, seconds: float) -> None:
        """Seek to a frame at or before that time, from which `frames` continues."""
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
        if context is None or context.name == _TEXT_AS_IMAGE:
            raise SourceError(f"{self._path} has no video track that can be decoded.")
        return stream  # type: ignore[return-value]  # best("video") gives nothing else

    def _announced(self) -> tuple[int | None, bool]:
        """Number of frames, and whether it was counted rather than estimated."""
        assert self._container is not None
        counted = self._stream.frames
        # An edit list may leave out frames that were counted.
        if counted and not self._container.format.name.startswith(_CONTAINERS_WITH_EDIT_LISTS):
            return counted, True
        if self.seconds and is_plausible(self.rate):
            return max(1, round(self.seconds * self.rate)), bool(counted)
        return None, False


class VideoFile(FrameSource):
    """The frames of a video file, rotated upright, with the time stamps of the container."""

    def __init__(self, path: Path, frame_rate: float | None = None) -> None:
        """Open the file and decode its first frame.

        Raises:
            SourceError: it holds no video that can be read.
        """
        self.description = str(path)
        self._video = EncodedVideo(path)
        self._frames = self._video.frames()
        self._next = next(self._frames, None)
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
                "%s announces %s frames per second; using %.0f instead.",
                path,
                announced,
                self.frame_rate,
            )

    def __iter__(self) -> Iterator[Frame]:
        index, stamp, end = 0, 0.0, 0.0
        while self._next is not None:
            yield Frame(upright(self._next), stamp, index)
            self._next = next(self._frames, None)
            index += 1
            end = stamp + 1.0 / self.frame_rate
            if self._next is not None:
                stamp = self._stamp_after(stamp, self._next.time)
        self._report_damage(index, end)

    def close(self) -> None:
        self._next = None
        self._video.close()

    def _stamp_after(self, previous: float, container_time: float | None) -> float:
        """The container's time if it increases, else one frame period after the previous stamp."""
        if self._keeps_container_times and container_time is not None:
            stamp = container_time - self._origin
            if stamp > previous:
                return stamp
        return previous + 1.0 / self.frame_rate

    def _report_damage(self, read_count: int, end: float) -> None:
        """Set `problem` to where the file is truncated, or how many of its frames are damaged."""
        video = self._video
        lost = video.frame_count - read_count if video.counts_frames and video.frame_count else 0
        lost = lost if lost > max(1, _TOLERANCE * (video.frame_count or 0)) else 0
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
        """Announced seconds after the last frame, 0.0 if negligible; None if unknown."""
        video = self._video
        if video.seconds is None or not self._keeps_container_times:
            return None
        if video.counts_frames and round(video.seconds * video.rate) != video.frame_count:
            return None  # FFmpeg noticed the truncation and reports the remaining duration
        missing = video.seconds - end
        return missing if missing > max(2.0 / self.frame_rate, _TOLERANCE * video.seconds) else 0.0


def upright(frame: VideoFrame, layout: str = "rgb24") -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8, rotated as its container says.

    Args:
        layout: "rgb24" or "bgr24".
    """
    image = frame.to_ndarray(format=layout)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of the video track; None if known only for a file of several tracks."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None or len(container.streams) > 1:
        return None
    start = 0 if container.start_time is None else container.start_time
    return max(0, container.duration - max(0, start)) / 1e6
