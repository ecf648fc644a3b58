# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A camera message on its way to the model, and what its stamp says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rclpy.time import Time

LONGEST_AGE = 86_400.0
"""Seconds; an image that seems older was stamped by another clock."""


@dataclass(frozen=True)
class ReceivedImage:
    """A camera message.

    Attributes:
        received: when it came, in seconds of the monotonic clock.
        skipped: of each image before it that the model did not come to, its `stamp`.
    """

    message: Any
    received: float
    skipped: list[float | None] = field(default_factory=list)

    @property
    def stamp(self) -> float | None:
        """Seconds of the header's stamp; None for the zero of a camera that sets none."""
        stamp = self.message.header.stamp
        return float(stamp.sec + stamp.nanosec * 1e-9) or None


def hand_over_skipped(replaced: ReceivedImage, newer: ReceivedImage) -> None:
    """Let an image know which ones were dropped in its favour."""
    newer.skipped.extend([*replaced.skipped, replaced.stamp])


def image_age(now: Time, stamp: Any) -> float | None:
    """Seconds since an image was stamped; None for a stamp that is no time of this clock."""
    if stamp.sec < 0 or (stamp.sec, stamp.nanosec) == (0, 0):
        return None
    age = (now - Time.from_msg(stamp)).nanoseconds * 1e-9
    return age if abs(age) < LONGEST_AGE else None
