# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Random access to the frames of video files and folders of images.

A frame has the index that sequential reading gives it. Of a video, only the frames between a key
frame and the wanted one are decoded; where a container does not tell them apart reliably, the video
is decoded from its start.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from av.video.frame import PictureType

from referdino_core.errors import ImageError, SourceError
from referdino_core.media.image_files import images_in, is_image, read_image
from referdino_core.media.sources import open_source
from referdino_core.media.video_file import EncodedVideo, upright

INDEXED_VIDEOS = 4096
"""Videos whose index is kept in memory."""


@dataclass(frozen=True)
class VideoIndex:
    """Presentation times of the frames of a video, in units of the track's time base.

    Attributes:
        times: of every frame, ascending.
        keys: of the key frames, ascending; the first frame is one.
    """

    times: tuple[int, ...]
    keys: tuple[int, ...]

    def key_of(self, number: int) -> int:
        """Time of the last key frame that is shown at or before a frame."""
        return self.keys[bisect_right(self.keys, self.times[number]) - 1]


def frame_count(place: Path) -> int:
    """Number of frames of a video file, an image or a folder of images.

    Raises:
        SourceError: it holds no video or image that can be read.
    """
    if place.is_dir():
        return len(images_in(place))
    index = video_index(place)
    if index is not None:
        return len(index.times)
    with open_source(str(place)) as source:
        return sum(1 for _ in source)


def read_frames(
    place: Path, indices: Sequence[int] | None = None
) -> Iterator[np.ndarray | ImageError]:
    """Frames of a video file, an image or a folder of images.

    Args:
        indices: from 0, ascending; all frames by default.

    Yields:
        (H, W, 3) uint8 RGB, or the error of a frame that cannot be read.

    Raises:
        SourceError: it holds no video or image that can be read.
    """
    if place.is_dir():
        yield from read_images(images_in(place), indices)
        return
    found = None if indices is None else _sought(place, indices)
    if found is not None and indices is not None:
        for number in indices:
            yield found.get(number, ImageError(f"{place} has no frame {number}."))
    else:
        yield from _sequential(place, indices)


def read_images(
    paths: Sequence[Path], indices: Sequence[int] | None = None
) -> Iterator[np.ndarray | ImageError]:
    """Read image files one by one, by default all; unreadable ones are replaced by their error."""
    for path in paths if indices is None else (paths[index] for index in indices):
        try:
            yield read_image(path)
        except ImageError as error:
            yield error


def video_index(path: Path) -> VideoIndex | None:
    """The index of a video file; None if its frames can only be counted by decoding them.

    It is read from the packets, without decoding, once for every version of the file.

    Raises:
        SourceError: the file cannot be read, or holds no video.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    return _video_index(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=INDEXED_VIDEOS)
def _video_index(path: Path, modified: int, size: int) -> VideoIndex | None:
    if is_image(path):
        return None
    times: list[int] = []
    keys: list[int] = []
    with EncodedVideo(path) as video:
        for packet in video.packets():
            if packet.is_discard:  # outside the edit list of the file
                continue
            if packet.pts is None or packet.is_corrupt:
                return None
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
        if video.damage:
            return None
    if not keys or min(keys) != min(times) or len(set(times)) != len(times):
        return None
    return VideoIndex(tuple(sorted(times)), tuple(sorted(keys)))


def _sought(path: Path, indices: Sequence[int]) -> dict[int, np.ndarray] | None:
    """The frames that exist of some; None if seeking does not find exactly these."""
    index = video_index(path)
    if index is None:
        return None
    known = [number for number in indices if 0 <= number < len(index.times)]
    times = frozenset(index.times)
    found: dict[int, np.ndarray] = {}
    with EncodedVideo(path) as video:
        for key, group in groupby(known, index.key_of):
            wanted = {index.times[number]: number for number in group}
            video.seek_key_frame(key)
            for place, frame in enumerate(video.frames()):
                if frame.is_corrupt or frame.pts not in times:
                    return None
                if place == 0 and frame.pict_type != PictureType.I:
                    return None  # gradual refresh: no picture stands on its own
                if frame.pts in wanted:
                    found[wanted.pop(frame.pts)] = upright(frame)
                if not wanted:
                    break
            if wanted or video.damage:
                return None
    return found


def _sequential(place: Path, indices: Sequence[int] | None) -> Iterator[np.ndarray | ImageError]:
    """Frames of a video that is decoded from its start up to the last of them."""
    wanted = None if indices is None else list(indices)
    with open_source(str(place)) as source:
        for frame in source if wanted is None or wanted else ():
            if wanted is None:
                yield frame.image
                continue
            while wanted and wanted[0] == frame.index:
                wanted.pop(0)
                yield frame.image
            if not wanted:
                return
    for number in wanted or ():
        yield ImageError(f"{place} has no frame {number}.")
