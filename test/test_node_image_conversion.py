# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Camera messages to RGB pixels: encodings, padding, and messages that make no sense."""

from __future__ import annotations

import array
import sys
import types

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from referdino_core.errors import ImageError
from referdino_core.media.compressed_image_messages import compressed_image_to_rgb
from referdino_core.media.image_messages import ENCODINGS, image_to_rgb
from referdino_ros.compressed_images import compressed_image_message
from referdino_ros.image_conversion import image_message

HEIGHT, WIDTH = 24, 32
RED, GREEN, BLUE = (200, 30, 40), (20, 180, 60), (50, 60, 210)


def blocks() -> np.ndarray:
    """(H, W, 3) RGB of four areas, large enough for encodings that share colour between pixels."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:12, :16], pixels[:12, 16:] = RED, GREEN
    pixels[12:, :16], pixels[12:, 16:] = BLUE, (128, 128, 128)
    return pixels


def message_of(samples: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """The message of (H, W) or (H, W, C) samples, each row followed by `padding` bytes of 255."""
    rows = samples.reshape(HEIGHT, -1)
    padded = np.full((HEIGHT, rows.shape[1] + padding), 255, np.uint8)
    padded[:, : rows.shape[1]] = rows
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=padded.shape[1])
    message.data = array.array("B", padded.tobytes())
    return message


def mosaic(pixels: np.ndarray, pattern: str) -> np.ndarray:
    """(H, W) what a sensor with that pattern (such as "rggb", row by row) sees."""
    seen = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, letter in enumerate(pattern):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        seen[rows, columns] = pixels[rows, columns, "rgb".index(letter)]
    return seen


def packed_yuv(pixels: np.ndarray, order: str) -> np.ndarray:
    """(H, W, 2) 4:2:2 samples; `order` is "uyvy" or "yuyv". BT.601, studio range, as cameras."""
    red, green, blue = (pixels[..., channel].astype(float) for channel in range(3))
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    chroma_u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    chroma_v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    chroma = np.where(np.arange(WIDTH) % 2 == 0, chroma_u, chroma_v)
    first, second = (chroma, luma) if order == "uyvy" else (luma, chroma)
    return np.round(np.stack([first, second], axis=-1)).astype(np.uint8)


def encoded(encoding: str) -> np.ndarray:
    pixels = blocks()
    opaque = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    if encoding.startswith("bayer_"):
        return mosaic(pixels, encoding[len("bayer_") : -1])
    return {
        "rgb8": pixels,
        "bgr8": pixels[..., ::-1],
        "rgba8": np.concatenate([pixels, opaque], axis=-1),
        "bgra8": np.concatenate([pixels[..., ::-1], opaque], axis=-1),
        "mono8": pixels[..., 0],
        "yuv422": packed_yuv(pixels, "uyvy"),
        "uyvy": packed_yuv(pixels, "uyvy"),
        "yuv422_yuy2": packed_yuv(pixels, "yuyv"),
        "yuyv": packed_yuv(pixels, "yuyv"),
    }[encoding]


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_colours_of_the_scene(encoding: str, padding: int) -> None:
    converted = image_to_rgb(message_of(encoded(encoding), encoding, padding))

    assert converted.shape == (HEIGHT, WIDTH, 3)
    assert converted.dtype == np.uint8
    wanted = blocks()
    if encoding == "mono8":
        wanted = np.repeat(wanted[..., :1], 3, axis=-1)
    tolerance = 3 if "yuv" in encoding or "yuy" in encoding or "uyvy" in encoding else 0
    # Demosaicing mixes colours along edges: compare inside the four areas.
    for rows in (slice(3, 9), slice(15, 21)):
        for columns in (slice(3, 13), slice(19, 29)):
            difference = np.abs(converted[rows, columns].astype(int) - wanted[rows, columns])
            assert difference.max() <= tolerance


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


@pytest.mark.parametrize("encoding", ["32FC1", "no_such_encoding", ""])
def test_unknown_encoding_is_named_where_cv_bridge_is_missing(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    message = message_of(blocks(), encoding)

    with pytest.raises(ImageError) as caught:
        image_to_rgb(message)

    assert repr(encoding) in str(caught.value)
    assert "cv_bridge" in str(caught.value)
    assert "rgb8" in str(caught.value)


def test_unknown_encoding_goes_through_a_stand_in_for_cv_bridge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class CvBridge:
        def imgmsg_to_cv2(self, message: Image, desired_encoding: str) -> np.ndarray:
            if message.encoding != "rgb16":
                raise RuntimeError(f"Unrecognized image encoding [{message.encoding}]")
            assert desired_encoding == "rgb8"
            return blocks()

    module = types.ModuleType("cv_bridge")
    module.CvBridge = CvBridge  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv_bridge", module)

    assert np.array_equal(image_to_rgb(message_of(blocks(), "rgb16")), blocks())
    with pytest.raises(ImageError, match=r"'odd'.*Unrecognized image encoding \[odd\]"):
        image_to_rgb(message_of(blocks(), "odd"))


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


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
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
