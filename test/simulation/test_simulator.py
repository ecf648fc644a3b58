# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated robot: its images against its ground truth, collisions, and models of one's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose

from referdino_core.errors import ReferDINOError
from referdino_core.follow_evaluation.evaluation import Stage
from referdino_core.following import Mounting, Velocity, measure
from referdino_core.simulation import (
    DEFAULT_MOUNTING,
    RGBDCamera,
    encode_depth,
    open_overhead,
)
from referdino_core.world import WorldUnavailable

BOX_AHEAD = """<mujoco>
  <visual><global offwidth="64" offheight="48"/></visual>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="box" pos="2 0.3 0.5" size="0.25 0.25 0.25" rgba="1 0 0 1"/>
    <camera name="front" pos="0 0 0.5" xyaxes="0 -1 0 0 0 1" fovy="60"/>
  </worldbody>
</mujoco>"""


@pytest.fixture(scope="module", params=[1.0, 0.4])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    height = request.param
    try:
        with Stage(Mounting(x=0.1, z=height, pitch=math.atan2(height - 0.25, 2.2))) as made:
            yield made
    except WorldUnavailable as error:
        pytest.skip(str(error))


def test_what_the_camera_measures_is_where_the_target_is(stage: Stage) -> None:
    measured = 0
    for index in range(6):
        episode, _ = stage.scripted("static", index)
        simulation = stage.simulation(episode)
        frame = simulation.frame()
        assert frame.colour.std() > 5 and frame.depth.shape == frame.labels.shape == (120, 160)
        assert episode.target is not None
        mask = frame.labels == episode.target + 1
        found = measure(mask, frame.depth, simulation.intrinsics)
        if found.centre is None or found.truncated:
            continue
        base = stage.mounting.to_base(found.centre)
        truth = simulation.truth(episode.target)
        assert found.radius is not None
        assert math.atan2(base[1], base[0]) == pytest.approx(truth.bearing, abs=0.05)
        assert np.hypot(base[0], base[1]) - found.radius == pytest.approx(truth.distance, abs=0.13)
        measured += 1
    assert measured >= 3


def test_an_episode_is_the_same_for_every_camera_period(stage: Stage) -> None:
    episode, sentence = stage.scripted("moving", 3)
    again, same_sentence = stage.scripted("moving", 3)
    assert sentence == same_sentence
    np.testing.assert_array_equal(episode.centres(7.0), again.centres(7.0))


def test_a_thing_that_is_driven_into_is_named_and_stops_the_base(stage: Stage) -> None:
    episode, _ = stage.scripted("static", 0)
    simulation = stage.simulation(episode)
    assert episode.target is not None
    for _ in range(200):
        truth = simulation.truth(episode.target)
        simulation.command(Velocity(0.4, 2.0 * truth.bearing))
        simulation.advance(0.1)
    (hit,) = simulation.collisions
    assert isinstance(hit, int)
    assert 0.19 < simulation.truth(hit).distance < 0.22


def test_the_base_stands_when_nobody_commands(stage: Stage) -> None:
    episode, _ = stage.scripted("static", 1)
    simulation = stage.simulation(episode)
    simulation.command(Velocity(0.3))
    simulation.advance(3.0)
    assert simulation.odometry.linear == 0.0
    assert 0.1 < simulation.odometry.pose.x < 0.2
    assert simulation.now == pytest.approx(4.0)


def test_the_view_from_above_shows_the_robot(stage: Stage) -> None:
    episode, _ = stage.scripted("static", 0)
    simulation = stage.simulation(episode)
    with open_overhead(stage.room) as camera:
        before = simulation.overhead(camera).astype(int)
        simulation.command(Velocity(0.5))
        simulation.advance(0.5)
        after = simulation.overhead(camera).astype(int)
    assert (np.abs(after - before).max(axis=2) > 40).sum() > 20


def test_the_camera_serves_a_model_of_ones_own(stage: Stage, mujoco: ModuleType) -> None:
    model = mujoco.MjModel.from_xml_string(BOX_AHEAD)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with RGBDCamera(model, "front", width=64, height=48, reach=5.0) as camera:
        capture = camera.capture(data, geoms=True)
        assert capture.geoms is not None
        found = measure(capture.geoms == 0, capture.depth, camera.intrinsics)
        assert found.centre is not None and capture.depth is not None
        assert_allclose(found.centre, [-0.3, 0.0, 2.0], atol=0.05)
        assert np.isnan(capture.depth[0, 0])
    with pytest.raises(ReferDINOError, match="no camera 'back'; it has 'front'"):
        RGBDCamera(model, "back")


def test_depth_is_encoded_as_cameras_send_it() -> None:
    depth = np.array([[1.2345, np.nan, 70.0]], np.float32)
    assert_allclose(encode_depth(depth, "16UC1"), [[1234, 0, 0]], atol=1)
    assert encode_depth(depth, "16UC1").dtype == np.uint16
    assert_allclose(encode_depth(depth, "32FC1"), depth)
    with pytest.raises(ReferDINOError, match="16UC1 or 32FC1"):
        encode_depth(depth, "rgb8")


def test_the_default_camera_looks_at_what_is_ahead() -> None:
    assert_allclose(DEFAULT_MOUNTING.to_base(np.array([0.0, 0.0, 2.3])), [2.3, 0, 0.25], atol=0.1)
