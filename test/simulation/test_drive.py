# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The base in closed form: arcs, limits, the time-out of commands, drift."""

from __future__ import annotations

import math

import numpy as np
import pytest

from referdino_core.following import Pose, Velocity
from referdino_core.simulation import DifferentialDrive, DriveSettings

STEP = 0.01


def driven(
    velocity: Velocity, seconds: float, settings: DriveSettings | None = None, repeat: bool = True
) -> DifferentialDrive:
    base = DifferentialDrive(settings or DriveSettings(), Pose(), np.random.default_rng(0))
    base.command(0.0, velocity)
    for tick in range(round(seconds / STEP)):
        if repeat:
            base.command(tick * STEP, velocity)
        base.advance(tick * STEP, STEP)
    return base


def test_it_drives_the_arc_that_it_is_told() -> None:
    quick = DriveSettings(acceleration=20.0, angular_acceleration=50.0)
    base = driven(Velocity(0.4, 0.5), math.pi, quick)
    # Half a turn, less the start, on a circle of 0.8 m.
    assert base.pose.yaw == pytest.approx(math.pi / 2, abs=0.01)
    assert (base.pose.x, base.pose.y) == pytest.approx((0.8, 0.8), abs=0.02)
    assert base.way == pytest.approx(0.4 * math.pi, abs=0.01)


def test_speeds_and_their_changes_are_limited() -> None:
    settings = DriveSettings(linear=0.5, acceleration=1.0)
    assert driven(Velocity(9.0), 0.3, settings).velocity.linear == pytest.approx(0.3)
    assert driven(Velocity(9.0, -9.0), 3.0, settings).velocity == Velocity(0.5, -1.5)


def test_a_command_that_is_not_repeated_runs_out() -> None:
    base = driven(Velocity(0.3), 2.0, repeat=False)
    assert base.velocity == Velocity(0.0, 0.0)
    # Half a second, the time that it takes to stop, less the time that it took to start.
    assert base.way == pytest.approx(0.3 * 0.5, abs=0.02)


def test_odometry_starts_at_zero_and_drifts_where_it_is_told_to() -> None:
    exact = driven(Velocity(0.3, 0.2), 5.0)
    assert exact.odometry(5.0).pose == exact.pose
    assert exact.odometry(5.0).linear == pytest.approx(0.3)
    drifting = driven(Velocity(0.3, 0.2), 5.0, DriveSettings(drift=0.05))
    said = drifting.odometry(5.0).pose
    assert drifting.pose == exact.pose
    assert 0.01 < math.hypot(said.x - exact.pose.x, said.y - exact.pose.y) < 0.5
