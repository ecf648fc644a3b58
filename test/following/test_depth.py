# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Depth messages in both encodings, and depth joined to results by stamp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose

from referdino_core.errors import ImageError
from referdino_core.following.depth import (
    DepthBuffer,
    DepthBufferSettings,
    Join,
    depth_from_message,
    metres,
)


@dataclass
class Message:
    height: int
    width: int
    encoding: str
    step: int
    data: bytes
    is_bigendian: int = 0


def test_millimetres_and_metres_are_told_apart_by_encoding() -> None:
    whole = metres(np.array([[0, 1500, 65535]], np.uint16), "16UC1")
    real = metres(np.array([[np.nan, 1.5, np.inf, -np.inf, 0.0, -1.0]], np.float32), "32FC1")
    assert_allclose(whole, [[np.nan, 1.5, 65.535]], rtol=1e-6)
    assert_allclose(real, [[np.nan, 1.5, *[np.nan] * 4]])


@pytest.mark.parametrize("order", ["<", ">"])
def test_padded_rows_and_byte_order_are_honoured(order: str) -> None:
    values = np.arange(1, 7).reshape(2, 3) * 1000
    for encoding, kind, size in (("16UC1", "u2", 2), ("32FC1", "f4", 4)):
        rows = np.zeros((2, 3 * size + 5), np.uint8)
        rows[:, : 3 * size] = values.astype(f"{order}{kind}").view(np.uint8).reshape(2, -1)
        message = Message(2, 3, encoding, rows.shape[1], rows.tobytes(), int(order == ">"))
        expected = values / 1000 if encoding == "16UC1" else values
        assert_allclose(depth_from_message(message), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message(1, 1, "rgb8", 3, b"abc"), "is not depth"),
        (Message(0, 4, "16UC1", 8, b""), "no pixels"),
        (Message(2, 4, "16UC1", 8, bytes(15)), "15 bytes"),
        (Message(2, 4, "32FC1", 8, bytes(16)), "does not fit"),
    ],
)
def test_what_is_no_depth_image_is_refused_with_its_numbers(message: Message, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        depth_from_message(message)


def images(*stamps: float) -> DepthBuffer:
    buffer = DepthBuffer()
    for stamp in stamps:
        assert buffer.add(stamp, np.full((4, 4), stamp, np.float32)) == ""
    return buffer


def test_the_exact_stamp_goes_before_a_nearer_newer_one() -> None:
    match = images(1.0, 1.1, 1.101).find(1.1)
    assert match.join is Join.EXACT and match.reason == ""
    assert match.depth is not None and match.depth[0, 0] == np.float32(1.1)


def test_the_nearest_within_the_tolerance_passes_and_its_gap_is_told() -> None:
    match = images(1.0, 1.1).find(1.085)
    assert match.join is Join.NEAREST and match.gap == pytest.approx(0.015)
    assert "+15.0 ms" in match.reason


def test_what_is_too_far_off_is_never_paired() -> None:
    match = images(1.0, 1.1, 1.2).find(1.15)
    assert match.join is Join.MISSING and match.depth is None
    assert "0.05" in match.reason and "sync_tolerance" in match.reason
    assert DepthBuffer().find(1.0).reason == "No depth image has come yet."


def test_depth_that_may_still_come_is_waited_for() -> None:
    match = images(1.0, 1.1).find(1.3)
    assert match.join is Join.PENDING and "0.200 s older" in match.reason


def test_the_buffer_is_bounded_in_time_and_memory() -> None:
    buffer = images(*np.arange(1.0, 9.0, 0.1))
    assert len(buffer) <= 22
    small = DepthBuffer(DepthBufferSettings(duration=60.0, megabytes=1.0))
    for stamp in range(1, 30):
        small.add(float(stamp), np.zeros((300, 300), np.float32))
    assert len(small) == 2
    assert small.find(29.0).join is Join.EXACT


def test_stamps_that_are_unset_late_or_jump_back() -> None:
    buffer = images(10.0, 10.1)
    assert "no stamp" in buffer.add(0.0, np.zeros((4, 4)))
    assert "left out" in buffer.add(10.05, np.zeros((4, 4)))
    assert len(buffer) == 2
    assert "jumped back by 8.100 s" in buffer.add(2.0, np.zeros((4, 4)))
    assert len(buffer) == 1 and buffer.find(2.0).join is Join.EXACT
