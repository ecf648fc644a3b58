# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The action of Nav2's following server, served by the installed follower.

Where ROS brings no nav2_msgs, a package with the documented fields is built from `interfaces/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from interface_packages import built_interfaces
from ros_harness import node_executable, ros_environment

pytestmark = [pytest.mark.slow, pytest.mark.ros]

# Runs in a process of its own, whose environment knows the prefix: a base, and a client of Nav2's.
CLIENT = """
import json, math, threading, time
import rclpy
from geometry_msgs.msg import PoseStamped, Twist
from nav_msgs.msg import Odometry
from nav2_msgs.action import FollowObject
from rclpy.action import ActionClient
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

class Base(Node):
    def __init__(self):
        super().__init__("base")
        self.x, self.v, self.states = 0.0, 0.0, set()
        self.odom = self.create_publisher(Odometry, "odom", 10)
        self.pose = self.create_publisher(PoseStamped, "/ball_pose", 1)
        self.create_subscription(Twist, "cmd_vel", self.take, 10)
        self.create_timer(0.02, self.move)
        self.create_timer(0.1, self.look)
    def take(self, message):
        self.v = message.linear.x
    def move(self):
        self.x += 0.02 * self.v
        message = Odometry()
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = "odom"
        message.pose.pose.position.x, message.pose.pose.orientation.w = self.x, 1.0
        message.twist.twist.linear.x = self.v
        self.odom.publish(message)
    def look(self):
        message = PoseStamped()
        message.header.stamp, message.header.frame_id = self.get_clock().now().to_msg(), "odom"
        message.pose.position.x = 1.6
        self.pose.publish(message)

rclpy.init()
base = Base()
executor = MultiThreadedExecutor(3)
executor.add_node(base)
threading.Thread(target=executor.spin, daemon=True).start()
client = ActionClient(base, FollowObject, "follow_object")
assert client.wait_for_server(60)

def comes(future, seconds):
    until = time.monotonic() + seconds
    while not future.done() and time.monotonic() < until:
        time.sleep(0.02)
    return future.done()

def accepted(goal):
    # A reply is lost where the server has not yet found the client's end of it.
    for _ in range(5):
        sent = client.send_goal_async(
            goal, feedback_callback=lambda m: base.states.add(m.feedback.state))
        if comes(sent, 15):
            return sent.result()
    raise SystemExit("no reply to a goal")

def run(goal):
    done = accepted(goal).get_result_async()
    if not comes(done, 60):
        raise SystemExit("no result of a goal")
    return done.result().result

refused = run(FollowObject.Goal())
unknown = run(FollowObject.Goal(tracked_frame="ball"))
goal = FollowObject.Goal(pose_topic="/ball_pose")
goal.max_duration.sec = 12
followed = run(goal)
print(json.dumps({"refused": refused.error_code, "unknown": unknown.error_code,
    "why": unknown.error_msg, "code": followed.error_code,
    "x": base.x, "states": sorted(base.states), "said": followed.error_msg,
    "elapsed": followed.total_elapsed_time.sec}), flush=True)
import os
os._exit(0)
"""


@pytest.fixture(scope="module")
def nav2_prefix(pytestconfig: pytest.Config) -> Path | None:
    """Where nav2_msgs is installed; None where the environment brings it."""
    return built_interfaces("nav2_msgs", pytestconfig)


@pytest.mark.timeout(900)
def test_a_client_of_nav2_is_served_where_nav2_msgs_is_installed(nav2_prefix: Path | None) -> None:
    environment = ros_environment(nav2_prefix)
    given = ["-p", "sight.max_age:=2.0", "-p", "odometry_age:=2.0"]
    follower = subprocess.Popen(
        [node_executable().with_name("follower"), "--ros-args", *given], env=environment
    )
    try:
        client = subprocess.run(
            [sys.executable, "-c", CLIENT],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
    finally:
        follower.terminate()
        follower.wait(30)
    assert client.returncode == 0, client.stderr
    told = json.loads(client.stdout.splitlines()[-1])
    assert told["refused"] == 1  # GOAL_REJECTED
    assert told["unknown"] == 901 and "'ball'" in told["why"]  # TF_ERROR
    assert told["x"] == pytest.approx(0.6, abs=0.12)  # a metre before the pose
    assert told["code"] == 904 and 11 <= told["elapsed"] <= 22  # TIMEOUT: its 12 s are over
    assert {2, 3} <= set(told["states"]), told  # CONTROLLING, STOPPING
