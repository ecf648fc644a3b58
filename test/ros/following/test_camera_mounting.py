# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Where the camera sits on the base: from parameters, or from TF where that is installed."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest
from node_in_process import context_of_tests
from numpy.testing import assert_allclose
from rclpy.node import Node
from stand_in_tf import StandInTf, UnknownTransformError

from referdino_core.errors import ReferDINOError
from referdino_core.following import Mounting
from referdino_ros.following import camera_mounting
from referdino_ros.following.camera_mounting import open_mounting

pytestmark = pytest.mark.ros
TRUE = Mounting(0.2, -0.05, 0.8, yaw=0.4, pitch=0.3, roll=-0.1)
FRAME = "camera_optical"


def known_from_stamp_10(seconds: float) -> tuple[float, Mounting]:
    if seconds < 10.0:
        raise UnknownTransformError("Lookup would require extrapolation into the past")
    return seconds, TRUE


@pytest.fixture
def stand_in_tf(monkeypatch: pytest.MonkeyPatch) -> None:
    tf = StandInTf()
    tf.ways["base_link", FRAME] = known_from_stamp_10
    tf.install(monkeypatch)


def opened(source: str) -> Any:
    with context_of_tests() as context:
        return open_mounting(Node("node", context=context), source, "base_link", Mounting(z=0.5))


def test_over_a_stand_in_of_tf_the_camera_is_where_tf_says(stand_in_tf: None) -> None:
    found = opened("tf").at(FRAME, 12.0)
    assert isinstance(found, Mounting)
    assert_allclose(found.rotation, TRUE.rotation, atol=1e-12)
    assert_allclose([found.x, found.y, found.z], [TRUE.x, TRUE.y, TRUE.z])


def test_over_a_stand_in_of_tf_a_camera_that_is_not_known_is_told(stand_in_tf: None) -> None:
    told = opened("tf").at("elsewhere", 12.0)
    assert "TF knows no way from 'elsewhere' to 'base_link'" in told
    assert "TF knows no way" in opened("tf").at(FRAME, 9.0)
    assert opened("parameters").at(FRAME, 12.0) == Mounting(z=0.5)


def test_over_a_stand_in_of_tf_parameters_hold_only_while_tf_never_knew_the_camera(
    stand_in_tf: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = opened("auto")
    assert "TF knows no way" in early.at(FRAME, 9.0)  # TF gets a while to come
    monkeypatch.setattr(camera_mounting, "TF_PATIENCE", 0.0)
    assert early.at(FRAME, 9.0) == early.at("elsewhere", 9.0) == Mounting(z=0.5)
    found = early.at(FRAME, 12.0)
    assert isinstance(found, Mounting)
    assert_allclose(found.rotation, TRUE.rotation, atol=1e-12)
    # One missing transform must not let the camera jump.
    assert "TF knows no way" in early.at(FRAME, 9.0)


def test_over_a_stand_in_of_tf_a_stamp_is_not_rounded_into_the_future(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newest = 1_700_000_000_123_456_789

    def known_until_newest(seconds: float) -> tuple[float, Mounting]:
        if round(seconds * 1e9) > newest:
            raise UnknownTransformError("Lookup would require extrapolation into the future")
        return seconds, TRUE

    tf = StandInTf()
    tf.ways["base_link", FRAME] = known_until_newest
    tf.install(monkeypatch)
    for nanoseconds in range(newest - 400, newest + 1, 50):
        assert isinstance(opened("tf").at(FRAME, nanoseconds * 1e-9), Mounting)


@pytest.mark.skipif(importlib.util.find_spec("tf2_ros") is not None, reason="tf2_ros is installed")
def test_without_tf_the_parameters_hold_unless_tf_was_asked_for() -> None:
    assert opened("auto").at(FRAME, 12.0) == Mounting(z=0.5)
    with pytest.raises(ReferDINOError, match="tf2_ros is not installed"):
        opened("tf")
    with pytest.raises(ReferDINOError, match="choose one of auto, tf, parameters"):
        opened("guess")


def test_a_mounting_is_found_again_in_its_rotation() -> None:
    for mounting in (TRUE, Mounting(yaw=math.pi / 2), Mounting(pitch=1.2, roll=0.5)):
        found = Mounting.from_rotation((mounting.x, mounting.y, mounting.z), mounting.rotation)
        assert_allclose(
            np.array([found.yaw, found.pitch, found.roll]),
            [mounting.yaw, mounting.pitch, mounting.roll],
            atol=1e-12,
        )
