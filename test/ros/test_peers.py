# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Another published model in the real node, on small random networks of transformers' real classes;
and the group of cameras that it runs in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

import peer_samples
from node_in_process import node_in_process
from node_stage import mask_of
from rclpy.lifecycle import TransitionCallbackReturn
from referdino.msg import ReferredObjectArray
from ros_harness import Camera, Client, image_message, picture
from sensor_msgs.msg import Image
from std_msgs.msg import String

from referdino_core.configuration import SessionSettings
from referdino_core.errors import CommandError, ImageError
from referdino_core.session.peer_cameras import PeerCameraGroup
from referdino_ros.diagnostics import diagnostic_array

pytestmark = pytest.mark.ros


def test_the_node_publishes_a_peers_results(tmp_path: Path) -> None:
    peer_samples.set_visibility(peer_samples.sam2_network(), 4.0)
    folders = peer_samples.save_folders(tmp_path)
    parameters = {"model": "grounded-sam2", "checkpoint": str(folders), "device": "cpu"}
    with node_in_process(initial_command="the red ball", **parameters) as node:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() is TransitionCallbackReturn.SUCCESS
        client = Client()
        try:
            objects = client.collect(ReferredObjectArray, "/referdino/objects")
            camera = Camera(client, client.publisher(Image, "/image_raw"), objects)
            (found,) = camera.ask(image_message(picture())).objects
            assert found.command == "the red ball" and found.track_id == 1
            assert (found.mask.height, found.mask.width) == (120, 160)
            assert mask_of(found).any()
            commands = client.publisher(String, "/referdino/command")
            commands.publish(String(data="the blue box"))
            for _ in range(20):
                (changed,) = camera.ask(image_message(picture())).objects
                if changed.command == "the blue box":
                    break
            assert changed.command == "the blue box" and changed.track_id != 1
        finally:
            client.close()


def test_a_peer_that_cannot_be_loaded_is_reported_in_one_line(tmp_path: Path) -> None:
    with node_in_process(model="sam3", checkpoint=str(tmp_path)) as node:
        assert node.trigger_configure() is TransitionCallbackReturn.FAILURE
        now = node.get_clock().now().to_msg()
        status = diagnostic_array("referdino", now, node._health()).status[0]
        assert "holds no sam3_video models" in status.message


def test_cameras_are_processed_one_by_one_and_fail_alone() -> None:
    group = PeerCameraGroup(peer_samples.grounded_sam2(), 3)
    group.set_commands({0: {"a": "the red ball"}, 2: {"b": "a dog"}})
    image = peer_samples.images(1)[0]
    results = group.step_each([image, None, image])
    assert [one.command_id for camera in (0, 2) for one in results[camera].value()] == ["a", "b"]
    assert 1 not in results
    results = group.step_each([np.zeros((4, 4), np.uint8), image, image])
    assert isinstance(results[0].error, ImageError)
    assert results[1].value() == () and len(results[2].value()) == 1
    with pytest.raises(ImageError, match="2 images"):
        group.step_each([image, image])


def test_commands_of_several_cameras_change_all_or_nothing() -> None:
    group = PeerCameraGroup(peer_samples.grounded_sam2(), 2)
    with pytest.raises(CommandError):
        group.set_commands({0: {"a": "the red ball"}, 1: {"a": ""}})
    assert [session.commands for session in group.sessions] == [{}, {}]


def test_parameters_of_the_node_change_what_a_peer_shares_with_a_session() -> None:
    group = PeerCameraGroup(peer_samples.grounded_sam2(box_threshold=0.4), 2)
    group.settings = SessionSettings(hold=1.5, max_gap=2.0, select="all")
    for session in group.sessions:
        assert (session.settings.hold, session.settings.max_gap) == (1.5, 2.0)
        assert session.settings.select == "all" and session.settings.box_threshold == 0.4
