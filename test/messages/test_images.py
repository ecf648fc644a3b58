# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Camera messages to RGB pixels: encodings, padding, and messages that make no sense."""

from __future__ import annotations

import array
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from encoded_images import (
    HEIGHT,
    WIDTH,
    assert_shows_the_blocks,
    blocks,
    padded,
    rows_of,
)
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from referdino_core.errors import ImageError
from referdino_core.messages.image_encodings import ENCODINGS, refusal, warn_once
from referdino_core.messages.images import image_to_rgb
from referdino_ros.messages import image_message

pytestmark = pytest.mark.ros


def message_of(
    pixels: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False
) -> Image:
    """The message of RGB pixels, each row of it followed by `padding` bytes of 255."""
    rows = rows_of(pixels, encoding, big_endian)
    height, width = pixels.shape[:2]
    data = padded(rows, padding)
    if encoding == "nv24":  # a row of colours is as long as two rows of light
        colours = padded(rows[height:].reshape(height, 2 * width), 2 * padding)
        data = np.concatenate([data[:height], colours.reshape(2 * height, -1)])
    message = Image(height=height, width=width, encoding=encoding, step=data.shape[1])
    message.is_bigendian = int(big_endian)
    message.data = array.array("B", data.tobytes())
    return message


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_colours_of_the_scene(encoding: str, padding: int) -> None:
    for big_endian in (False, True):
        message = message_of(blocks(), encoding, padding, big_endian)
        assert_shows_the_blocks(image_to_rgb(message), encoding)


def encodings_of_ros() -> set[str]:
    """What the header of sensor_msgs lists."""
    prefixes = [sys.prefix, *os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]
    header = Path("include", "sensor_msgs", "sensor_msgs", "image_encodings.hpp")
    found = next(Path(one, header) for one in prefixes if Path(one, header).is_file())
    return set(re.findall(r'\[\] = "(\w+)";', found.read_text()))


def test_every_encoding_of_ros_is_taken_or_refused_by_name() -> None:
    listed = encodings_of_ros()
    assert len(listed) > 45 and "bayer_rggb16" in listed
    refused = {name for name in listed | {"nv12"} if refusal(name)}
    assert listed - refused <= set(ENCODINGS)
    assert {name for name in refused if name[:3] not in ("8SC", "64F")} == {
        *("8UC2", "16UC1", "16UC2", "16SC1", "16SC2", "16SC3", "16SC4"),
        *("32SC1", "32SC2", "32SC3", "32SC4", "32FC1", "32FC2", "32FC3", "32FC4"),
    }
    for name in refused:
        said = str(refusal(name))
        assert repr(name) in said and "cv_bridge" not in said and "\n" not in said


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@pytest.mark.parametrize("padding", [0, 8])
def test_two_planes_are_found_however_their_rows_are_counted(encoding: str, padding: int) -> None:
    as_ros = message_of(blocks(), encoding, padding)
    wanted = image_to_rgb(as_ros)

    both_counted = message_of(blocks(), encoding, padding)
    both_counted.height = HEIGHT * 3 // 2
    assert np.array_equal(image_to_rgb(both_counted), wanted)

    step_of_both = message_of(blocks(), encoding)
    step_of_both.step = WIDTH * 3 // 2
    assert np.array_equal(image_to_rgb(step_of_both), wanted)


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
@pytest.mark.parametrize("step", [WIDTH - 2, WIDTH, 2 * WIDTH])
def test_planes_that_do_not_fit_are_named(encoding: str, step: int) -> None:
    message = Image(height=HEIGHT - 4, width=WIDTH, encoding=encoding, step=step)
    message.data = array.array("B", bytes(step * (HEIGHT - 4)))

    with pytest.raises(ImageError, match=f"does not fit its size: .*{encoding}"):
        image_to_rgb(message)


def test_odd_sizes_of_shared_colour_are_refused() -> None:
    for height, width, message in (
        (2, 3, Image(height=2, width=3, encoding="nv12", step=4, data=bytes_of(12))),
        (3, 4, Image(height=3, width=4, encoding="nv21", step=8, data=bytes_of(36))),
    ):
        with pytest.raises(
            ImageError, match=f"even width and height; this one is {width}x{height}"
        ):
            image_to_rgb(message)


def bytes_of(count: int) -> array.array[int]:
    return array.array("B", bytes(count))


def test_the_smallest_mosaics_are_refused() -> None:
    message = Image(height=2, width=2, encoding="bayer_rggb8", step=2, data=bytes_of(4))
    with pytest.raises(ImageError, match="at least 3x3 pixels; this one is 2x2"):
        image_to_rgb(message)


def test_a_name_without_colours_is_taken_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_once.cache_clear()
    message = message_of(blocks(), "8UC3")
    for _ in range(3):
        assert_shows_the_blocks(image_to_rgb(message), "8UC3")
    image_to_rgb(message_of(blocks(), "bgr8"))

    (warning,) = [record.getMessage() for record in caplog.records]
    assert "8UC3" in warning and "read as bgr8" in warning and "name the encoding" in warning


def test_sixteen_bits_keep_their_whole_range() -> None:
    samples = np.arange(65536, dtype="<u2").reshape(256, 256)
    message = Image(height=256, width=256, encoding="mono16", step=512)
    message.data = array.array("B", samples.tobytes())

    converted = image_to_rgb(message)

    assert np.array_equal(converted[..., 1], np.round(samples / 257).astype(np.uint8))


@pytest.mark.parametrize("padding", [0, 6])
def test_rgb8_is_a_view_of_the_message(padding: int) -> None:
    message = message_of(blocks(), "rgb8", padding)

    converted = image_to_rgb(message)

    assert np.shares_memory(converted, np.frombuffer(message.data, np.uint8))


def broken(**changes: int) -> Image:
    message = message_of(blocks(), "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (broken(height=0), "no pixels"),
        (broken(width=0), "no pixels"),
        (broken(height=HEIGHT + 1), "does not fit its size"),
        (broken(step=WIDTH * 3 + 1), "does not fit its size"),
        (broken(height=HEIGHT * 2, step=WIDTH * 3 // 2), "step does not fit its width"),
        (Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=WIDTH * 3), "0 bytes"),
    ],
)
def test_sizes_that_do_not_fit_are_one_clear_line(message: Image, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        image_to_rgb(message)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_odd_width_of_shared_colour_is_refused() -> None:
    message = Image(height=2, width=3, encoding="yuv422", step=6, data=array.array("B", bytes(12)))
    with pytest.raises(ImageError, match="even width"):
        image_to_rgb(message)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("16UC1", "hold depth, not colour"),
        ("32FC1", "hold depth, not colour"),
        ("8UC2", "uyvy or yuyv"),
        ("32SC3", "signed 32-bit numbers"),
        ("64FC7", "floating-point 64-bit numbers"),
        ("no_such_encoding", "is unknown"),
        ("", "is unknown"),
    ],
)
def test_what_is_no_colour_image_is_refused_by_name(encoding: str, said: str) -> None:
    message = message_of(blocks(), "rgb8")
    message.encoding = encoding

    with pytest.raises(ImageError) as caught:
        image_to_rgb(message)

    assert repr(encoding) in str(caught.value) and said in str(caught.value)
    assert "cv_bridge" not in str(caught.value)


@pytest.mark.parametrize("samples", [blocks(), blocks()[..., 0], blocks()[:, ::2]])
def test_pixels_survive_the_way_into_a_message_and_back(samples: np.ndarray) -> None:
    header = Header(frame_id="camera")

    message = image_message(samples, header)

    assert message.header == header
    assert message.encoding == ("mono8" if samples.ndim == 2 else "rgb8")
    assert bytes(message.data) == samples.tobytes()
    assert message.step * message.height == len(message.data)
