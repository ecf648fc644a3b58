# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""~/detections, where vision_msgs is installed.

Where ROS brings no vision_msgs, a package of the documented fields is built from `interfaces/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from interface_packages import built_interfaces
from referdino.msg import Command, ReferredObjectArray
from referdino.srv import SetCommands
from ros_harness import Camera, Client, image_message, picture, ros_environment, running_node
from sensor_msgs.msg import Image

pytestmark = [pytest.mark.slow, pytest.mark.ros]

# Runs in a process of its own, whose environment knows the prefix: prints one Detection2DArray.
LISTENER = """
import json, sys
import rclpy
from vision_msgs.msg import Detection2DArray

def received(message):
    if not message.detections:
        return
    print(json.dumps({
        "stamp": [message.header.stamp.sec, message.header.stamp.nanosec],
        "frame": message.header.frame_id,
        "detections": [{
            "header": [one.header.stamp.sec, one.header.frame_id],
            "id": one.id,
            "class": [result.hypothesis.class_id for result in one.results],
            "score": [result.hypothesis.score for result in one.results],
            "center": [one.bbox.center.position.x, one.bbox.center.position.y],
            "size": [one.bbox.size_x, one.bbox.size_y],
        } for one in message.detections],
    }), flush=True)
    raise SystemExit

rclpy.init()
node = rclpy.create_node("detections_listener")
node.create_subscription(Detection2DArray, sys.argv[1], received, 10)
rclpy.spin(node)
"""


@pytest.fixture(scope="module")
def vision_prefix(pytestconfig: pytest.Config) -> Path | None:
    """Where vision_msgs is installed; None where the environment brings it."""
    return built_interfaces("vision_msgs", pytestconfig)


def stamp_of(message: ReferredObjectArray) -> list[int]:
    return [message.header.stamp.sec, message.header.stamp.nanosec]


@pytest.mark.timeout(900)
def test_detections_of_a_node_in_a_namespace_where_vision_msgs_is_installed(
    vision_prefix: Path | None,
) -> None:
    parameters = {"initial_command": "the red ball", "accept": 0.0, "keep": 0.0}
    parameters |= {"mask_threshold": 0.0}
    with running_node(
        name="eyes", namespace="front", parameters=parameters, prefix=vision_prefix
    ) as process:
        process.wait_for_log("Active: processing images of /front/image_raw")
        listener = subprocess.Popen(
            [sys.executable, "-c", LISTENER, "/front/eyes/detections"],
            env=ros_environment(vision_prefix),
            stdout=subprocess.PIPE,
            text=True,
        )
        client = Client()
        objects = client.collect(ReferredObjectArray, "/front/eyes/objects")
        camera = Camera(client, client.publisher(Image, "/front/image_raw"), objects)
        second = Command(id="second", text="the green box")
        request = SetCommands.Request(set=[second])
        assert client.call(SetCommands, "/front/eyes/set_commands", request).success
        while listener.poll() is None:
            camera.ask(image_message(picture()))
        assert listener.stdout is not None
        seen = json.loads(listener.stdout.read())
        result = objects.wait_for(lambda sent: stamp_of(sent) == seen["stamp"])
        client.close()

    assert result is not None
    assert seen["frame"] == result.header.frame_id == "camera_optical_frame"
    assert [one["class"] for one in seen["detections"]] == [["the red ball"], ["the green box"]]
    for detection, sent in zip(seen["detections"], result.objects, strict=True):
        assert detection["header"] == [seen["stamp"][0], "camera_optical_frame"]
        assert detection["id"] == str(sent.track_id)
        assert sent.track_id > 0
        assert 0.0 <= detection["score"][0] <= 1.0
        # The region is rounded outwards to whole pixels.
        box = sent.box
        assert detection["size"] == pytest.approx([box.width, box.height], abs=2.0)
        center = [box.x_offset + box.width / 2, box.y_offset + box.height / 2]
        assert detection["center"] == pytest.approx(center, abs=1.0)
