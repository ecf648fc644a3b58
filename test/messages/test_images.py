# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Camera messages to RGB pixels: encodings, padding, and messages that make no sense."""

from __future__ import annotations

import array
import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from encoded_images import mosaic, padded, rows_of
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from referdino_core.errors import ImageError
from referdino_core.messages.compressed_images import compressed_image_to_rgb
from referdino_core.messages.image_encodings import ENCODINGS, SEMI_PLANAR, refusal, warn_once
from referdino_core.messages.images import image_to_rgb
from referdino_ros.image_conversion import compressed_image_message, image_message

pytestmark = pytest.mark.ros

HEIGHT, WIDTH = 24, 32
RED, GREEN, BLUE = (200, 30, 40), (20, 180, 60), (50, 60, 210)


def blocks() -> np.ndarray:
    """(H, W, 3) RGB of four areas, large enough for encodings that share colour between pixels."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:12, :16], pixels[:12, 16:] = RED, GREEN
    pixels[12:, :16], pixels[12:, 16:] = BLUE, (128, 128, 128)
    return pixels


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


def assert_shows_the_blocks(converted: np.ndarray, encoding: str) -> None:
    """Compare colours inside the four areas, since demosaicing mixes them along edges."""
    wanted = blocks()
    is_grey = encoding in ("mono8", "mono16", "8UC", "8UC1")
    wanted = np.repeat(wanted[..., :1], 3, axis=-1) if is_grey else wanted
    tolerance = 3 if encoding in (*SEMI_PLANAR, "yuv422", "uyvy", "yuv422_yuy2", "yuyv") else 0
    assert converted.shape == (HEIGHT, WIDTH, 3)
    assert converted.dtype == np.uint8
    for rows in (slice(3, 9), slice(15, 21)):
        for columns in (slice(3, 13), slice(19, 29)):
            difference = np.abs(converted[rows, columns].astype(int) - wanted[rows, columns])
            assert difference.max() <= tolerance


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
    assert "8UC3" in warning and "taken as bgr8" in warning and "name the encoding" in warning


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
        ("32SC3", "signed numbers of 32 bits"),
        ("64FC7", "floating-point numbers of 64 bits"),
        ("no_such_encoding", "not known"),
        ("", "not known"),
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


def photograph() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 60, (96, 128, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0) + np.linspace(0, 150, 128, dtype=np.uint8)[:, None]


def jpeg(pixels: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".jpg", pixels[..., ::-1], list(options))[1].tobytes()


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def compressed(data: bytes, kind: str = "jpeg") -> CompressedImage:
    return CompressedImage(format=kind, data=array.array("B", data))


PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)


@pytest.mark.parametrize("options", [(), PROGRESSIVE, RESTARTS])
def test_jpeg_is_decoded(options: tuple[int, ...]) -> None:
    decoded = compressed_image_to_rgb(compressed(jpeg(photograph(), *options)))

    assert np.abs(decoded.astype(int) - photograph()).mean() < 4


def test_png_is_decoded_exactly() -> None:
    assert np.array_equal(
        compressed_image_to_rgb(compressed(png(photograph()), "png")), photograph()
    )


def test_grey_jpeg_is_decoded_to_three_channels() -> None:
    grey = cv2.imencode(".jpg", photograph()[..., 0])[1].tobytes()
    decoded = compressed_image_to_rgb(compressed(grey))

    assert decoded.shape == (96, 128, 3)
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    decoded = compressed_image_to_rgb(compressed(jpeg(photograph()) + bytes(64)))

    assert decoded.shape == (96, 128, 3)


@pytest.mark.parametrize("options", [(), PROGRESSIVE, RESTARTS])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.98])
def test_truncated_jpeg_is_an_error(options: tuple[int, ...], kept: float) -> None:
    whole = jpeg(photograph(), *options)

    with pytest.raises(ImageError, match="truncated"):
        compressed_image_to_rgb(compressed(whole[: int(len(whole) * kept)]))


def test_end_marker_of_a_thumbnail_is_not_the_end_of_the_jpeg() -> None:
    whole = jpeg(photograph())
    thumbnail = b"Exif\0\0" + jpeg(photograph()[::8, ::8])
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]

    assert compressed_image_to_rgb(compressed(with_thumbnail)).shape == (96, 128, 3)
    with pytest.raises(ImageError, match="truncated"):
        compressed_image_to_rgb(compressed(with_thumbnail[: len(with_thumbnail) * 3 // 4]))


def test_truncated_png_is_an_error() -> None:
    whole = png(photograph())

    with pytest.raises(ImageError, match="truncated"):
        compressed_image_to_rgb(compressed(whole[: len(whole) // 2], "png"))


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_compressed_mosaic_is_demosaiced(kind: str, pattern: str, bits: int) -> None:
    samples = mosaic(blocks(), pattern)
    samples = samples if bits == 8 else samples.astype(np.uint16) * 257
    data = cv2.imencode(kind, samples)[1].tobytes()
    message = compressed(data, f"bayer_{pattern}{bits}; {kind[1:]} compressed ")

    assert_shows_the_blocks(compressed_image_to_rgb(message), f"bayer_{pattern}{bits}")


@pytest.mark.parametrize("target", ["", "bayer_rggb8", "bayer_rggb16"])
def test_a_mosaic_in_a_jpeg_is_demosaiced(target: str) -> None:
    grey = cv2.imencode(".jpg", mosaic(blocks(), "rggb"), [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    message = compressed(grey.tobytes(), f"bayer_rggb8; jpeg compressed {target}")

    converted = compressed_image_to_rgb(message)

    for place, colour in (((6, 8), RED), ((6, 24), GREEN), ((18, 8), BLUE)):
        assert np.abs(converted[place].astype(int) - colour).max() < 8


def test_a_colour_picture_of_a_mosaic_is_already_colour() -> None:
    message = compressed(png(blocks()), "bayer_rggb8; png compressed bgr8")

    assert np.array_equal(compressed_image_to_rgb(message), blocks())


def test_a_grey_picture_of_a_mosaic_stays_grey_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_once.cache_clear()
    grey = cv2.imencode(".png", blocks()[..., 0])[1].tobytes()
    for _ in range(2):
        converted = compressed_image_to_rgb(compressed(grey, "bayer_rggb8; png compressed mono8"))
        assert np.array_equal(converted, np.repeat(blocks()[..., :1], 3, axis=-1))

    (warning,) = [record.getMessage() for record in caplog.records]
    assert "bayer_rggb8" in warning and "colours are lost" in warning


def test_wide_samples_in_a_png_are_scaled() -> None:
    wide = blocks()[..., ::-1].astype(np.uint16) * 257
    colour = cv2.imencode(".png", wide)[1].tobytes()
    grey = cv2.imencode(".png", wide[..., 2])[1].tobytes()

    assert np.array_equal(
        compressed_image_to_rgb(compressed(colour, "rgb16; png compressed bgr16")), blocks()
    )
    assert np.array_equal(
        compressed_image_to_rgb(compressed(grey, "mono16; png compressed "))[..., 1],
        blocks()[..., 0],
    )


@pytest.mark.parametrize(("encoding", "order"), [("rgb8", 1), ("bgr8", -1)])
def test_a_tiff_keeps_the_order_of_the_raw_image(encoding: str, order: int) -> None:
    """As compressed_image_transport writes it: without regard to what OpenCV takes it for."""
    data = cv2.imencode(".tiff", np.ascontiguousarray(blocks()[..., ::order]))[1].tobytes()

    converted = compressed_image_to_rgb(compressed(data, f"{encoding}; tiff compressed "))

    assert np.array_equal(converted, blocks())


DEPTH = cv2.imencode(".png", np.full((4, 4), 1500, np.uint16))[1].tobytes()
FLOATS = cv2.imencode(".tiff", np.full((4, 4), 1.5, np.float32))[1].tobytes()


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (DEPTH, "16UC1; png compressed ", "'16UC1' hold depth"),
        (DEPTH, "16UC1", "'16UC1' hold depth"),
        (DEPTH, "png", "a number of 16 bits per pixel"),
        (FLOATS, "32FC1; tiff compressed ", "'32FC1' hold depth"),
        (FLOATS, "tiff", "float32 numbers, not colours"),
        (b"", "jpeg", "no data"),
        (b"this is no picture", "jpeg", "no picture"),
        (b"\xff\xd8\xff\xd9", "jpeg", "truncated"),
        (png(photograph()), "16UC1; compressedDepth png", "depth"),
    ],
)
def test_no_picture_is_one_clear_line(data: bytes, kind: str, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        compressed_image_to_rgb(compressed(data, kind))

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overlay_survives_compression() -> None:
    header = Header(frame_id="camera")

    message = compressed_image_message(photograph(), header, quality=95)

    assert message.header == header
    assert np.abs(compressed_image_to_rgb(message).astype(int) - photograph()).mean() < 3
