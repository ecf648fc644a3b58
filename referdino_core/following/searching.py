# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Search for a lost target: first to the side where it left the view, then to the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from referdino_core.following.geometry import wrap_angle
from referdino_core.following.ranges import Ranged, quantity

FIRST_SWEEP = 2 * math.pi / 3
"""Radians to the first side; twice that back to the other makes a full turn in all."""
_IMAGES_PER_VIEW = 3


@dataclass(frozen=True)
class SearchSettings(Ranged):
    """Duration and speed of a search.

    Attributes:
        speed: of turning; slower where images are rare, so that a target shows in three of them.
        total_angle: by which it turns in all; 0 switches searching off.
        duration: after which a search ends.
        patience: for which a target that vanished within the view is waited for, facing its place.
        occupied_patience: the same, while depth shows something at its place or before it.
        refill: of continuous sight, after which the next search may be as long again.
    """

    speed: float = quantity(0.5, 0.05, 3.0, "rad/s")
    total_angle: float = quantity(2 * math.pi, 0.0, 20.0, "rad")
    duration: float = quantity(15.0, 0.0, 600.0, "s")
    patience: float = quantity(6.0, 0.0, 60.0, "s")
    occupied_patience: float = quantity(15.0, 0.0, 600.0, "s")
    refill: float = quantity(5.0, 0.0, 600.0, "s")


@dataclass(frozen=True)
class Search:
    """A search under way.

    side: +1 where it turns to the left first, -1 to the right. yaw: newest heading of the base.
    turned: radians turned in all. seconds: since it began. one_way: whether it never turns back.
    spent: of the total angle and duration, by searches shortly before; radians and seconds.
    """

    side: float
    yaw: float
    turned: float = 0.0
    seconds: float = 0.0
    one_way: bool = False
    spent: tuple[float, float] = (0.0, 0.0)


def advance_search(search: Search, yaw: float, seconds: float) -> Search:
    """The search after the base has turned to a heading, some seconds later."""
    turned = search.turned + abs(wrap_angle(yaw - search.yaw))
    return replace(search, yaw=yaw, turned=turned, seconds=search.seconds + seconds)


def search_speed(
    search: Search, field_of_view: float, image_rate: float, settings: SearchSettings
) -> float | None:
    """Radians per second to the left, or None once the search has ended.

    Args:
        field_of_view: horizontal, radians.
        image_rate: images that are judged, per second.
    """
    angle, duration = search.spent
    if angle + search.turned >= settings.total_angle:
        return None
    if duration + search.seconds >= settings.duration:
        return None
    speed = min(settings.speed, field_of_view * image_rate / _IMAGES_PER_VIEW)
    back = not search.one_way and search.turned >= FIRST_SWEEP
    return -search.side * speed if back else search.side * speed
