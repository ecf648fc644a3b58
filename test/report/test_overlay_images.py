# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The overlay video on its way into a page."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
import run_folder_samples as samples
from referdino_core.report.overlay_images import images_at, take

from referdino_core.errors import SourceError

FRAMES = 120


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "a"
    return samples.write_run(folder, frames=FRAMES) / "overlay.mp4"


def _frames_of(webm: str, folder: Path) -> list[int]:
    path = folder / "page.webm"
    path.write_bytes(base64.b64decode(webm))
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(samples.frame_in_picture(read[1]))
    capture.release()
    return frames


def _decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_the_video_of_a_page_has_every_frame_in_order(overlay: Path, tmp_path: Path) -> None:
    taken = take(overlay, FRAMES, {7})
    assert taken.video is not None and taken.video.step == 1 and taken.note == ""
    assert _frames_of(taken.video.data, tmp_path) == list(range(FRAMES))
    assert base64.b64decode(taken.video.data)[:64].find(b"webm") > 0


def test_a_video_over_the_limit_is_made_smaller_and_says_so(overlay: Path, tmp_path: Path) -> None:
    whole = take(overlay, FRAMES, ())
    assert whole.video is not None
    limit = len(whole.video.data) // 4
    taken = take(overlay, FRAMES, (), limit)
    assert taken.video is not None
    assert len(taken.video.data) <= limit
    step = taken.video.step
    assert step > 1 and f"one frame in {step}" in taken.note
    assert _frames_of(taken.video.data, tmp_path) == list(range(0, FRAMES, step))


def test_a_run_too_long_for_a_video_keeps_pictures_and_says_so(overlay: Path) -> None:
    taken = take(overlay, FRAMES, (), 1000)
    assert taken.video is None
    assert "too long for a video" in taken.note
    assert list(taken.thumbnails) == list(range(FRAMES))


def test_pictures_are_of_the_frames_that_were_asked_for(overlay: Path) -> None:
    taken = take(overlay, FRAMES, {0, 41, 119})
    assert {key: samples.frame_in_picture(_decoded(uri)) for key, uri in taken.images.items()} == {
        0: 0,
        41: 41,
        119: 119,
    }
    assert len(taken.thumbnails) <= 48
    assert taken.frames == FRAMES
    assert samples.frame_in_picture(_decoded(images_at(overlay, {66})[66])) == 66
    assert images_at(overlay, {FRAMES + 5}) == {}


def test_a_broken_overlay_is_named(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(SourceError, match=r"overlay\.mp4 cannot be read as a video"):
        take(path, 10, ())
