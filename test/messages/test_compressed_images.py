# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed camera messages to RGB pixels: formats, mosaics, truncated and invalid images."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from encoded_images import (
    BLUE,
    GREEN,
    RED,
    assert_shows_the_blocks,
    blocks,
    mosaic,
)
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from referdino_core.errors import ImageError
from referdino_core.messages.compressed_images import compressed_image_to_rgb
from referdino_core.messages.image_encodings import warn_once
from referdino_ros.messages import compressed_image_message

pytestmark = pytest.mark.ros


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


def test_a_colour_image_of_a_mosaic_is_already_colour() -> None:
    message = compressed(png(blocks()), "bayer_rggb8; png compressed bgr8")

    assert np.array_equal(compressed_image_to_rgb(message), blocks())


def test_a_grey_image_of_a_mosaic_stays_grey_with_one_warning(
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
        (DEPTH, "png", "one 16-bit value per pixel"),
        (FLOATS, "32FC1; tiff compressed ", "'32FC1' hold depth"),
        (FLOATS, "tiff", "float32 numbers, not colours"),
        (b"", "jpeg", "no data"),
        (b"this is no image", "jpeg", "OpenCV cannot decode"),
        (b"\xff\xd8\xff\xd9", "jpeg", "truncated"),
        (png(photograph()), "16UC1; compressedDepth png", "depth"),
    ],
)
def test_an_invalid_image_is_reported_in_one_clear_line(data: bytes, kind: str, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        compressed_image_to_rgb(compressed(data, kind))

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overlay_survives_compression() -> None:
    header = Header(frame_id="camera")

    message = compressed_image_message(photograph(), header, quality=95)

    assert message.header == header
    assert np.abs(compressed_image_to_rgb(message).astype(int) - photograph()).mean() < 3
