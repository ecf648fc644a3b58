# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`~/command` over real DDS: from publishers of both durabilities, before and after the node."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import pytest
from node_in_process import node_in_process
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import Client, wait_until
from std_msgs.msg import String

from referdino_core import CameraGroup, CommandRequest
from referdino_ros.command_input import _Address, _ReceivedCommands
from referdino_ros.referdino_node import ReferDINONode

pytestmark = pytest.mark.ros

TOPIC = "/referdino/command"
VOLATILE = QoSProfile(depth=10)
TRANSIENT_LOCAL = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SUCCESS = TransitionCallbackReturn.SUCCESS


@pytest.fixture
def node() -> Iterator[ReferDINONode]:
    with node_in_process() as made:
        yield made


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every command that reaches the camera's session, in order."""
    texts: list[str] = []
    set_commands = CameraGroup.set_commands

    def recorded(group: CameraGroup, wanted: Mapping[int, Mapping[str, CommandRequest]]) -> None:
        (commands,) = wanted.values()
        texts.append("".join(one.text for one in commands.values()))
        set_commands(group, wanted)

    monkeypatch.setattr(CameraGroup, "set_commands", recorded)
    return texts


@pytest.mark.parametrize("qos", [VOLATILE, TRANSIENT_LOCAL], ids=["volatile", "transient_local"])
def test_commands_of_both_durabilities_are_taken_once_and_in_order(
    node: ReferDINONode, client: Client, taken: list[str], qos: QoSProfile
) -> None:
    assert node.trigger_configure() == SUCCESS
    publisher = client.node.create_publisher(String, TOPIC, qos)
    matching = 1 if qos is VOLATILE else 2
    wait_until(lambda: publisher.get_subscription_count() == matching, "the node's subscriptions")
    time.sleep(1.0)  # until the node, too, has found the publisher
    taken.clear()
    texts = ["the red ball", "the box", "the red ball", "", "the red ball"]

    for text in texts:
        publisher.publish(String(data=text))
        time.sleep(0.1)
    wait_until(lambda: len(taken) >= len(texts), "five commands")
    time.sleep(0.5)  # for copies that must not come

    assert taken == texts


def test_the_last_command_of_a_transient_local_publisher_reaches_a_node_that_starts_later(
    node: ReferDINONode, client: Client, taken: list[str]
) -> None:
    stored = client.node.create_publisher(String, TOPIC, TRANSIENT_LOCAL)
    volatile = client.node.create_publisher(String, TOPIC, VOLATILE)
    stored.publish(String(data="the box"))
    stored.publish(String(data="the green ball"))
    volatile.publish(String(data="the cylinder"))

    assert node.trigger_configure() == SUCCESS

    wait_until(lambda: "the green ball" in taken, "the stored command")
    wait_until(lambda: volatile.get_subscription_count() == 1, "the node's subscription")
    time.sleep(0.5)
    assert taken[1:] == ["the green ball"]  # after initial_command
    volatile.publish(String(data="the cylinder"))
    wait_until(lambda: taken[-1] == "the cylinder", "a later command")
    assert node.trigger_cleanup() == SUCCESS
    assert node.trigger_configure() == SUCCESS
    wait_until(lambda: taken.count("the green ball") == 2, "the stored command again")


def test_a_stored_command_does_not_replace_a_younger_one() -> None:
    everyone, front = _Address("~", (0, 1)), _Address("~/front", (0,))
    received = _ReceivedCommands()
    assert received.without_newer((0, 1), 5) == (0, 1)
    assert received.is_new(front, "the box", 20)
    assert received.without_newer((0, 1), 20) == received.without_newer((0, 1), 10) == (1,)
    assert not received.is_new(front, "the box", 20)
    assert received.is_new(everyone, "the box", 20)
    assert received.without_newer((0, 1), 20) == ()
    assert received.is_new(front, "the box", 30)
    assert received.without_newer((0, 1), 25) == (1,)
