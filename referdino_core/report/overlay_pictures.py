# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The overlay video of a run, made fit for a page: a smaller video, and single pictures.

The overlay is H.264, which browsers that are built without it do not play; all current ones play
VP8 and VP9. VP8 it is, which is written several times as fast.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import SourceError
from referdino_core.media.video_encoder import WEBM_ENCODERS, EncoderError, VideoEncoder
from referdino_core.media.video_file import EncodedVideo, upright

MAX_VIDEO_BYTES = 24_000_000  # of a page, as base64
WIDEST_VIDEO = 640  # pixels
WIDEST_PICTURE = 640
WIDEST_THUMBNAIL = 240
WIDEST_STAND_IN = 480  # of the pictures that stand in for a video
MAX_THUMBNAILS = 48
MAX_STAND_INS = 240

VIDEO_TYPE = "video/webm"
_BASE64 = 4 / 3
_MARGIN = 0.9  # how far below the limit an estimate must stay
_LOWEST_RATE = 1.0  # pictures per second; below, single pictures show as much
_SAMPLES, _SAMPLE_LENGTH = 4, 12  # frames that an estimate is made from: so many runs of so many
_QUALITY = 80  # of JPEG
# Widths in pixels and every how manieth frame, from the best to the smallest.
_SIZES = ((640, 1), (480, 1), (480, 2), (320, 2), (320, 4), (320, 8), (320, 16), (320, 32))


@dataclass(frozen=True)
class PageVideo:
    """A video to be put into a page.

    Attributes:
        data: base64 of a VP8 WebM.
        rate: pictures per second of the video.
        step: every how manieth frame of the run it shows.
    """

    data: str
    rate: float
    step: int


@dataclass(frozen=True)
class OverlayPictures:
    """What a page shows of an overlay video.

    Attributes:
        video: None where none can be had.
        note: what was given up to keep the video small, or why there is none; or "".
        thumbnails: data URIs by position, evenly over the run.
        pictures: data URIs by position, of the frames that were asked for.
        frames: how many frames the overlay video has.
    """

    video: PageVideo | None
    note: str
    thumbnails: Mapping[int, str]
    pictures: Mapping[int, str]
    frames: int


def take(
    overlay: Path, frames: int, wanted: Collection[int], most_bytes: int = MAX_VIDEO_BYTES
) -> OverlayPictures:
    """Read an overlay video and make what a page needs of it.

    Args:
        overlay: the video, one picture per frame of the run.
        frames: how many frames the run has.
        wanted: positions of frames that the page shows as pictures.
        most_bytes: what the video may take in the page.

    Raises:
        SourceError: the overlay video cannot be read.
    """
    if not overlay.is_file():
        return OverlayPictures(None, "The run has no overlay video.", {}, {}, frames)
    with _opened(overlay) as video_file:
        rate = video_file.rate
    with tempfile.TemporaryDirectory(prefix="referdino_report_") as folder:
        scratch = Path(folder) / "page.webm"
        video, note = _shrink(overlay, frames, rate, most_bytes, scratch)
    return _take_pictures(overlay, frames, wanted, video, note)


def pictures_at(overlay: Path, positions: Collection[int]) -> dict[int, str]:
    """Single pictures of an overlay video, as data URIs by position; those it does not have are
    left out.
    """
    wanted = frozenset(positions)
    if not wanted or not overlay.is_file():
        return {}
    return {
        position: image_data(image, WIDEST_PICTURE)
        for position, image in _read(overlay, 1, wanted, last=max(wanted))
        if image is not None
    }


def image_data(image: np.ndarray, widest: int) -> str:
    """A BGR image (H, W, 3) uint8 as data URI of a JPEG, at most `widest` pixels wide."""
    _, encoded = cv2.imencode(".jpg", _narrow(image, widest), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _take_pictures(
    overlay: Path, frames: int, wanted: Collection[int], video: PageVideo | None, note: str
) -> OverlayPictures:
    count, width = (MAX_THUMBNAILS, WIDEST_THUMBNAIL) if video else (MAX_STAND_INS, WIDEST_STAND_IN)
    even = {round(place) for place in np.linspace(0, max(frames - 1, 0), min(count, frames))}
    asked = frozenset(wanted)
    thumbnails: dict[int, str] = {}
    pictures: dict[int, str] = {}
    position = -1
    for position, image in _read(overlay, 1, even | asked):
        if image is None:
            continue
        if position in even:
            thumbnails[position] = image_data(image, width)
        if position in asked:
            pictures[position] = image_data(image, WIDEST_PICTURE)
    return OverlayPictures(video, note, thumbnails, pictures, position + 1)


def _shrink(
    overlay: Path, frames: int, rate: float, most_bytes: int, scratch: Path
) -> tuple[PageVideo | None, str]:
    """The best video that keeps within the limit, and a word on what was given up for it."""
    samples = _samples(overlay, frames)
    if not samples:
        return None, "The overlay video holds no pictures."
    per_frame: dict[int, float] = {}
    for width, step in _SIZES:
        if step > 1 and rate / step < _LOWEST_RATE:
            break
        if width not in per_frame:
            size = _encode(iter(samples), rate, width, scratch)
            if size is None:
                return None, "FFmpeg cannot write VP8 here; single pictures stand in for the video."
            per_frame[width] = size / len(samples)
        if per_frame[width] * frames / step * _BASE64 > _MARGIN * most_bytes:
            continue
        images = (image for _, image in _read(overlay, step) if image is not None)
        size = _encode(images, rate / step, width, scratch)
        if size is not None and size * _BASE64 <= most_bytes:
            note = "" if step == 1 else f"The video shows one frame in {step}, to keep it small."
            data = base64.b64encode(scratch.read_bytes()).decode("ascii")
            return PageVideo(data, rate / step, step), note
    return None, (
        f"The run is too long for a video within {most_bytes / 1e6:.0f} MB; "
        "single pictures stand in for it."
    )


def _samples(overlay: Path, frames: int) -> list[np.ndarray]:
    """Some runs of frames, evenly over the video; which ones exactly does not matter."""
    images = []
    with _opened(overlay) as video:
        for place in range(_SAMPLES):
            if frames > _SAMPLES * _SAMPLE_LENGTH:
                video.seek(place * frames / _SAMPLES / video.rate)
            for picture in islice(video.pictures(), _SAMPLE_LENGTH):
                images.append(_narrow(upright(picture, "bgr24"), WIDEST_VIDEO))
    return images


def _encode(images: Iterator[np.ndarray], rate: float, width: int, path: Path) -> int | None:
    """Write a video and return its size in bytes; None where there is no codec."""
    first = next(images, None)
    if first is None:
        return None
    height, wide = _narrow(first, width).shape[:2]
    try:
        encoder = VideoEncoder(path, "webm", WEBM_ENCODERS, rate, (wide, height))
    except EncoderError:
        return None
    for image in chain((first,), images):
        fitted = cv2.resize(image, (wide, height), interpolation=cv2.INTER_AREA)
        encoder.write(cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB))
    encoder.finish()
    return path.stat().st_size


def _read(
    overlay: Path, step: int, chosen: Collection[int] | None = None, last: int | None = None
) -> Iterator[tuple[int, np.ndarray | None]]:
    """Positions and BGR images; None for those that are passed over, which costs less."""
    with _opened(overlay) as video:
        for position, picture in enumerate(video.pictures()):
            if last is not None and position > last:
                return
            shown = position % step == 0 if chosen is None else position in chosen
            yield position, upright(picture, "bgr24") if shown else None


def _opened(overlay: Path) -> EncodedVideo:
    try:
        video = EncodedVideo(overlay)
    except SourceError as error:
        raise SourceError(f"{overlay} cannot be read as a video; replay again.") from error
    if not video.rate > 0:
        video.close()
        raise SourceError(f"{overlay} cannot be read as a video; replay again.")
    return video


def _narrow(image: np.ndarray, widest: int) -> np.ndarray:
    height, width = image.shape[:2]
    if width <= widest:
        return image
    size = (widest, max(1, round(height * widest / width)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
