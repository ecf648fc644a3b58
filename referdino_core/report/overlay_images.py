# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The overlay video of a run for a page: a smaller video, thumbnails and single images.

The overlay is H.264, which some browsers are built without; all current ones play VP8 and VP9. VP8
is used because it is encoded several times as fast.
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
WIDEST_IMAGE = 640
WIDEST_THUMBNAIL = 240
WIDEST_STILL = 480  # of the still images that replace a video
MAX_THUMBNAILS = 48
MAX_STILLS = 240

VIDEO_TYPE = "video/webm"
_BASE64 = 4 / 3
_MARGIN = 0.9  # how far below the limit an estimate must stay
_LOWEST_RATE = 1.0  # frames per second; below, still images show as much
_SAMPLES, _SAMPLE_LENGTH = 4, 12  # sequences to estimate the size from, and their frames
_QUALITY = 80  # of JPEG
# Width in pixels and frame step, from the best quality to the smallest size.
_SIZES = ((640, 1), (480, 1), (480, 2), (320, 2), (320, 4), (320, 8), (320, 16), (320, 32))


@dataclass(frozen=True)
class PageVideo:
    """A video embedded in a page.

    Attributes:
        data: base64 of a VP8 WebM.
        rate: frames per second of the video.
        step: it shows every `step`-th frame of the run.
    """

    data: str
    rate: float
    step: int


@dataclass(frozen=True)
class OverlayImages:
    """Video and images of a run's overlay for a page.

    Attributes:
        video: None if it cannot be made.
        note: how the video was reduced to keep it small, or why there is none; or "".
        thumbnails: data URIs by position, evenly over the run.
        images: data URIs by position, of the requested frames.
        frames: number of frames of the overlay video.
    """

    video: PageVideo | None
    note: str
    thumbnails: Mapping[int, str]
    images: Mapping[int, str]
    frames: int


def take(
    overlay: Path, frames: int, wanted: Collection[int], most_bytes: int = MAX_VIDEO_BYTES
) -> OverlayImages:
    """Convert an overlay video for a page.

    Args:
        overlay: the video, one image per frame of the run.
        frames: number of frames of the run.
        wanted: positions of frames that the page shows as images.
        most_bytes: maximum size of the video in the page.

    Raises:
        SourceError: the overlay video cannot be read.
    """
    if not overlay.is_file():
        return OverlayImages(None, "The run has no overlay video.", {}, {}, frames)
    with _opened(overlay) as video_file:
        rate = video_file.rate
    with tempfile.TemporaryDirectory(prefix="referdino_report_") as folder:
        scratch = Path(folder) / "page.webm"
        video, note = _shrink(overlay, frames, rate, most_bytes, scratch)
    return _take_images(overlay, frames, wanted, video, note)


def images_at(overlay: Path, positions: Collection[int]) -> dict[int, str]:
    """Single images of an overlay video, as data URIs by position; missing ones are left out."""
    wanted = frozenset(positions)
    if not wanted or not overlay.is_file():
        return {}
    return {
        position: image_data(image, WIDEST_IMAGE)
        for position, image in _read(overlay, 1, wanted, last=max(wanted))
        if image is not None
    }


def image_data(image: np.ndarray, widest: int) -> str:
    """Data URI of a BGR image (H, W, 3) uint8, as JPEG at most `widest` pixels wide."""
    _, encoded = cv2.imencode(".jpg", _narrow(image, widest), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _take_images(
    overlay: Path, frames: int, wanted: Collection[int], video: PageVideo | None, note: str
) -> OverlayImages:
    count, width = (MAX_THUMBNAILS, WIDEST_THUMBNAIL) if video else (MAX_STILLS, WIDEST_STILL)
    even = {round(place) for place in np.linspace(0, max(frames - 1, 0), min(count, frames))}
    asked = frozenset(wanted)
    thumbnails: dict[int, str] = {}
    images: dict[int, str] = {}
    position = -1
    for position, image in _read(overlay, 1, even | asked):
        if image is None:
            continue
        if position in even:
            thumbnails[position] = image_data(image, width)
        if position in asked:
            images[position] = image_data(image, WIDEST_IMAGE)
    return OverlayImages(video, note, thumbnails, images, position + 1)


def _shrink(
    overlay: Path, frames: int, rate: float, most_bytes: int, scratch: Path
) -> tuple[PageVideo | None, str]:
    """The best video within the size limit, and a note on how it was reduced."""
    samples = _samples(overlay, frames)
    if not samples:
        return None, "The overlay video is empty."
    per_frame: dict[int, float] = {}
    for width, step in _SIZES:
        if step > 1 and rate / step < _LOWEST_RATE:
            break
        if width not in per_frame:
            size = _encode(iter(samples), rate, width, scratch)
            if size is None:
                return None, "FFmpeg cannot write VP8 here; still images replace the video."
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
        "still images replace it."
    )


def _samples(overlay: Path, frames: int) -> list[np.ndarray]:
    """Short sequences of frames, evenly over the video, to estimate its size."""
    images = []
    with _opened(overlay) as video:
        for place in range(_SAMPLES):
            if frames > _SAMPLES * _SAMPLE_LENGTH:
                video.seek(place * frames / _SAMPLES / video.rate)
            for frame in islice(video.frames(), _SAMPLE_LENGTH):
                images.append(_narrow(upright(frame, "bgr24"), WIDEST_VIDEO))
    return images


def _encode(images: Iterator[np.ndarray], rate: float, width: int, path: Path) -> int | None:
    """Write a video and return its size in bytes; None without a codec."""
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
    """Positions and BGR images; None for skipped frames, which are not converted."""
    with _opened(overlay) as video:
        for position, frame in enumerate(video.frames()):
            if last is not None and position > last:
                return
            shown = position % step == 0 if chosen is None else position in chosen
            yield position, upright(frame, "bgr24") if shown else None


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
