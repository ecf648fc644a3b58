# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Targets as messages, and publishers that make nothing that nobody listens to."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from referdino.msg import Command, ReferredObject, ReferredObjectArray
from ros_harness import PATIENCE, domain_id, wait_until
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from referdino_core.messages import run_lengths
from referdino_core.messages.results import (
    JUDGEMENTS,
    Verdict,
    label_image,
    objects_message,
)
from referdino_core.target import Judgement, Target, TargetState
from referdino_ros import result_publishers
from referdino_ros.command_input import SELECTION_CODES
from referdino_ros.messages import make_message
from referdino_ros.process import spin_until_shutdown
from referdino_ros.result_publishers import ResultPublishers

pytestmark = pytest.mark.ros

HEADER = Header(frame_id="camera", stamp=Time(sec=12, nanosec=345_678_901))


def target(
    rows: slice, columns: slice, box: tuple[float, float, float, float] | None, **other: Any
) -> Target:
    mask = np.zeros((20, 30), bool)
    mask[rows, columns] = True
    values = {
        "command_id": "a",
        "command": "the red ball",
        "track_id": 7,
        "state": TargetState.TRACKING,
        "score": 0.75,
        "frame_score": 0.5,
    }
    return Target(**{**values, **other}, box=box, mask=mask)


SEEN = target(slice(2, 8), slice(4, 16), (4.0, 2.0, 16.0, 8.0), predicted_box=(3.5, 1.5, 16.5, 9.5))
BEHIND = target(slice(5, 12), slice(10, 20), (10.0, 5.0, 20.0, 12.0), command_id="b", track_id=9)
LOST = target(slice(0, 0), slice(0, 0), None, state=TargetState.LOST, track_id=0, score=0.0)


def message_of(*targets: Target) -> Any:
    return objects_message(make_message, HEADER, targets, Verdict())


def test_every_field_of_a_target_arrives() -> None:
    verdict = Verdict(Judgement.RESET, "the clock jumped", 3, 12)
    message = objects_message(make_message, HEADER, [BEHIND, SEEN], verdict)

    assert message.header == HEADER
    assert (message.judgement, message.reason, message.dropped, message.stream) == (
        ReferredObjectArray.RESET,
        "the clock jumped",
        3,
        12,
    )
    assert [one.command_id for one in message.objects] == ["b", "a"]
    seen = message.objects[1]
    assert (seen.command, seen.track_id, seen.state) == ("the red ball", 7, ReferredObject.TRACKING)
    assert (seen.score, seen.frame_score) == (0.75, 0.5)
    box = seen.box
    assert (box.x_offset, box.y_offset, box.width, box.height) == (4, 2, 12, 6)
    predicted = seen.predicted_box
    assert (predicted.x_offset, predicted.y_offset) == (3, 1)
    assert (predicted.width, predicted.height, seen.label) == (14, 9, 2)
    assert (seen.mask.height, seen.mask.width) == (20, 30)
    assert np.array_equal(run_lengths.decode(seen.mask.counts, 20, 30), SEEN.mask)


def test_every_state_has_its_constant() -> None:
    for state in TargetState:
        one = target(slice(0, 1), slice(0, 1), None, state=state)
        (sent,) = message_of(one).objects
        assert sent.state == getattr(ReferredObject, state.name)


def test_every_judgement_and_selection_has_its_constant() -> None:
    for judgement in Judgement:
        assert JUDGEMENTS[judgement] == getattr(ReferredObjectArray, judgement.name)
    assert SELECTION_CODES == {
        None: Command.SELECT_DEFAULT,
        "one": Command.SELECT_ONE,
        "all": Command.SELECT_ALL,
    }


def test_a_lost_target_has_no_box_and_no_pixels() -> None:
    (lost,) = message_of(LOST).objects

    assert (lost.state, lost.box.width, lost.box.height) == (ReferredObject.LOST, 0, 0)
    assert not run_lengths.decode(lost.mask.counts, 20, 30).any()


def test_a_box_becomes_the_whole_pixels_that_cover_it_inside_the_image() -> None:
    one = target(slice(0, 20), slice(0, 30), (-3.5, 1.25, 30.75, 17.5))

    box = message_of(one).objects[0].box

    assert (box.x_offset, box.y_offset, box.width, box.height) == (0, 1, 30, 17)


def test_the_kth_object_has_the_value_k_and_the_first_one_wins() -> None:
    labels = label_image([SEEN, LOST, BEHIND], 20, 30)

    assert labels.dtype == np.uint8
    assert np.array_equal(labels == 1, SEEN.mask)
    assert np.array_equal(labels == 3, BEHIND.mask & ~SEEN.mask)
    assert not (labels == 2).any()


def test_two_commands_on_one_object_share_its_label_and_keep_their_masks() -> None:
    again = target(slice(2, 9), slice(4, 16), (4.0, 2.0, 16.0, 9.0), command_id="b", track_id=7)

    message = message_of(BEHIND, SEEN, again)

    assert [one.label for one in message.objects] == [1, 2, 2]
    for sent, own in zip(message.objects, (BEHIND, SEEN, again), strict=True):
        assert np.array_equal(run_lengths.decode(sent.mask.counts, 20, 30), own.mask)
    labels = label_image([BEHIND, SEEN, again], 20, 30)
    assert np.array_equal(labels == 2, (SEEN.mask | again.mask) & ~BEHIND.mask)


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, domain_id=domain_id())
    yield context
    context.try_shutdown()


def test_images_are_made_only_while_somebody_listens(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(name: str, original: Any) -> Any:
        def make(*arguments: Any) -> Any:
            made.append(name)
            return original(*arguments)

        return make

    for name in ("label_image", "image_message", "compressed_image_message"):
        monkeypatch.setattr(
            result_publishers, name, counted(name, getattr(result_publishers, name))
        )
    monkeypatch.setattr(
        result_publishers.overlay, "draw", counted("draw", result_publishers.overlay.draw)
    )
    node = LifecycleNode("publishing", context=context)
    publishers = ResultPublishers(node)
    node.trigger_configure()
    node.trigger_activate()
    listener = Node("listening", context=context)
    pixels = np.zeros((20, 30, 3), np.uint8)

    def made_while_listening_to(topic: str, message_type: Any) -> list[str]:
        subscription = listener.create_subscription(message_type, topic, lambda message: None, 1)
        wait_until(lambda: node.count_subscribers(topic), f"the subscription to {topic}")
        made.clear()
        publishers.publish_images(HEADER, pixels, [SEEN], 80)
        listener.destroy_subscription(subscription)
        wait_until(lambda: not node.count_subscribers(topic), f"the end of {topic}")
        return sorted(made)

    publishers.publish_objects(HEADER, [SEEN], Verdict())
    publishers.publish_images(HEADER, pixels, [SEEN], 80)
    assert made == []
    assert made_while_listening_to("/publishing/mask", Image) == ["image_message", "label_image"]
    assert made_while_listening_to("/publishing/overlay", Image) == ["draw", "image_message"]
    assert made_while_listening_to("/publishing/overlay/compressed", CompressedImage) == [
        "compressed_image_message",
        "draw",
    ]
    made.clear()
    publishers.publish_objects(HEADER, [SEEN], Verdict())
    publishers.publish_images(HEADER, pixels, [SEEN], 80)
    assert made == []


def test_without_vision_msgs_there_is_no_detections_topic(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vision_msgs", None)
    node = LifecycleNode("plain", context=context)

    publishers = ResultPublishers(node)

    topics = {publisher.topic_name for publisher in node.publishers}
    assert {"/plain/objects", "/plain/mask", "/plain/overlay"} < topics
    assert "/plain/detections" not in topics
    publishers.destroy()
    assert "/plain/objects" not in {publisher.topic_name for publisher in node.publishers}


def test_a_callback_that_raises_does_not_end_the_node(context: Context) -> None:
    node = Node("resilient", context=context)
    calls: list[int] = []

    def fail_at_first() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise RuntimeError("the client is gone")

    node.create_timer(0.01, fail_at_first)
    spinning = threading.Thread(target=spin_until_shutdown, args=(node,))
    spinning.start()
    wait_until(lambda: len(calls) > 2, "calls after the failed one")
    context.try_shutdown()
    spinning.join(PATIENCE)

    assert not spinning.is_alive()


def test_spinning_ends_only_after_a_callback_that_still_runs(context: Context) -> None:
    node = Node("slow_to_end", context=context)
    entered, ended = threading.Event(), threading.Event()

    def take_a_while() -> None:
        if not entered.is_set():
            entered.set()
            time.sleep(0.5)
            ended.set()

    node.create_timer(0.01, take_a_while)
    spinning = threading.Thread(target=spin_until_shutdown, args=(node,))
    spinning.start()
    assert entered.wait(PATIENCE)
    context.try_shutdown()
    spinning.join(PATIENCE)

    assert ended.is_set()
    node.destroy_node()
