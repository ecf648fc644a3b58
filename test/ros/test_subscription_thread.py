# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that takes images past the executor: it delivers, and it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import rclpy
import ros_harness
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from referdino_ros import subscription_thread
from referdino_ros.subscription_thread import ExternallyHandledGroup, SubscriptionThread

pytestmark = pytest.mark.ros

THREAD_NAME = "referdino images"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = Context()
    rclpy.init(context=context, domain_id=ros_harness.domain_id())
    made = Node("subscription_thread", context=context)
    yield made
    if context.ok():
        made.destroy_node()
        context.try_shutdown()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_messages_come_in_the_thread_and_not_through_the_executor(node: Node) -> None:
    from_executor: list[String] = []
    taken: list[tuple[str, str]] = []
    subscription = node.create_subscription(
        String, "text", from_executor.append, 10, callback_group=ExternallyHandledGroup()
    )
    publisher = node.create_publisher(String, "text", 10)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    thread = SubscriptionThread(
        {
            subscription: lambda message, info: taken.append(
                (message.data, threading.current_thread().name)
            )
        },
        node.context,
        THREAD_NAME,
    )
    ros_harness.wait_until(publisher.get_subscription_count, "the subscription to be found")

    for number in range(5):
        publisher.publish(String(data=str(number)))
        executor.spin_once(timeout_sec=0.05)
    ros_harness.wait_until(lambda: len(taken) == 5, "five messages")
    thread.close()

    assert taken == [(str(number), THREAD_NAME) for number in range(5)]
    assert from_executor == []
    executor.shutdown()


def test_after_it_is_closed_nothing_is_delivered_and_the_thread_is_gone(node: Node) -> None:
    taken: list[String] = []
    subscription = node.create_subscription(
        String, "text", taken.append, 10, callback_group=ExternallyHandledGroup()
    )
    publisher = node.create_publisher(String, "text", 10)
    thread = SubscriptionThread(
        {subscription: lambda message, info: taken.append(message)}, node.context, THREAD_NAME
    )
    ros_harness.wait_until(publisher.get_subscription_count, "the subscription to be found")
    assert len(threads()) == 1

    thread.close()
    publisher.publish(String(data="too late"))
    time.sleep(0.3)

    assert taken == [] and threads() == []
    node.destroy_subscription(subscription)


def test_a_shutdown_of_ros_ends_the_thread(node: Node) -> None:
    subscription = node.create_subscription(
        String, "text", print, 10, callback_group=ExternallyHandledGroup()
    )
    thread = SubscriptionThread({subscription: print}, node.context, THREAD_NAME)

    node.context.shutdown()

    ros_harness.wait_until(lambda: not threads(), "the thread to end")
    assert threads() == []
    thread.close()


def test_after_a_shutdown_of_ros_closing_does_not_wait_for_a_message(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_thread, "LONGEST_WAIT", 3_600_000_000_000)
    subscription = node.create_subscription(
        String, "text", print, 10, callback_group=ExternallyHandledGroup()
    )
    thread = SubscriptionThread({subscription: print}, node.context, THREAD_NAME)
    time.sleep(0.2)  # until it waits
    node.context.shutdown()

    thread.close()

    assert threads() == []
