# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One real node, images and commands in, results out: topics, commands, bad input, diagnostics."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_stage import Stage, described, mask_of, results_stage, values_of
from referdino.msg import ReferredObject
from ros_harness import (
    image_message,
    picture,
    wait_until,
)
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from referdino_core.messages.compressed_images import compressed_image_to_rgb
from referdino_core.messages.images import image_to_rgb

pytestmark = pytest.mark.ros

NODE = "results_node"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with results_stage(NODE) as stage:
        yield stage


@pytest.fixture(autouse=True)
def defaults(stage: Stage) -> None:
    stage.reset()


# ---- Results ----


def test_the_result_bears_the_header_of_its_image(stage: Stage) -> None:
    stage.set_commands(("ball", "the red ball"), ("square", "the green box"))
    message = image_message(picture(), frame="left/optical frame")

    result = stage.camera.ask(message)

    assert result.header.frame_id == "left/optical frame"
    assert described(result) == [("ball", "the red ball"), ("square", "the green box")]
    for one in result.objects:
        assert (one.mask.height, one.mask.width) == (120, 160)
        assert mask_of(one).shape == (120, 160)
        assert 0.0 <= one.score <= 1.0
        assert 0.0 <= one.frame_score <= 1.0


def test_without_a_command_the_result_is_empty(stage: Stage) -> None:
    result = stage.camera.ask(image_message(picture()))

    assert list(result.objects) == []


def test_the_size_of_the_images_may_change(stage: Stage) -> None:
    stage.set_commands(("ball", "the red ball"))
    for height, width in ((120, 160), (90, 200), (120, 160)):
        result = stage.camera.ask(image_message(picture(height, width)))
        mask = result.objects[0].mask
        assert (mask.height, mask.width) == (height, width)


def test_a_target_that_is_lost_has_an_empty_mask(stage: Stage) -> None:
    stage.set_commands(("any", "the red ball"))
    stage.set_parameters(accept=0.0, keep=0.0, mask_threshold=0.0)
    seen = stage.camera.ask(image_message(picture())).objects[0]
    assert seen.state == ReferredObject.TRACKING
    assert seen.track_id > 0
    assert mask_of(seen).all()  # every pixel is above a threshold of 0
    assert 0 < seen.box.x_offset + seen.box.width <= 160
    assert 0 < seen.box.y_offset + seen.box.height <= 120

    assert seen.label == 1

    stage.set_parameters(accept=1.0, keep=1.0)
    for _ in range(8):
        lost = stage.camera.ask(image_message(picture())).objects[0]
        if lost.state == ReferredObject.LOST:
            break

    assert lost.state == ReferredObject.LOST
    assert not mask_of(lost).any()
    assert (lost.box.width, lost.box.height) == (0, 0)


def test_images_of_the_results_go_to_those_who_listen(stage: Stage) -> None:
    stage.set_commands(("first", "the red ball"), ("second", "the green box"))
    stage.set_parameters(accept=0.0, keep=0.0, mask_threshold=0.0)
    listeners = {
        "mask": stage.client.collect(Image, f"/{NODE}/mask"),
        "overlay": stage.client.collect(Image, f"/{NODE}/overlay"),
        "overlay/compressed": stage.client.collect(CompressedImage, f"/{NODE}/overlay/compressed"),
    }
    result = stage.camera.ask(image_message(picture()))

    received = {
        topic: listener.wait_for(lambda message: message.header == result.header)
        for topic, listener in listeners.items()
    }
    for listener in listeners.values():
        stage.client.drop(listener)

    mask, overlay = received["mask"], received["overlay"]
    assert (mask.encoding, mask.height, mask.width) == ("mono8", 120, 160)
    labels = np.frombuffer(mask.data, np.uint8).reshape(120, 160)
    assert (labels == 1).all()  # both masks are full, and the first command wins
    drawn = image_to_rgb(overlay)
    assert drawn.shape == (120, 160, 3)
    assert (drawn != picture()).any()
    from_jpeg = compressed_image_to_rgb(received["overlay/compressed"])
    assert np.abs(from_jpeg.astype(int) - drawn).mean() < 12


# ---- Commands ----


def test_the_command_topic_replaces_the_command_and_empty_text_clears(stage: Stage) -> None:
    stage.set_commands(("a", "the red ball"), ("b", "the green box"))

    stage.command.publish(String(data="the grey floor"))
    wait_until(
        lambda: (
            [text for _, text in described(stage.camera.ask(image_message(picture())))]
            == ["the grey floor"]
        ),
        "the new command",
    )
    assert described(stage.camera.ask(image_message(picture())))[0][0] == "command"
    stage.command.publish(String(data=""))

    wait_until(
        lambda: described(stage.camera.ask(image_message(picture()))) == [], "the cleared command"
    )


def test_commands_are_added_replaced_and_removed(stage: Stage) -> None:
    steps: list[tuple[dict[str, Any], list[tuple[str, str]], list[tuple[str, str]]]] = [
        ({}, [("a", "the red ball")], [("a", "the red ball")]),
        ({}, [("b", "the green box")], [("a", "the red ball"), ("b", "the green box")]),
        ({}, [("a", "the blue ball")], [("a", "the blue ball"), ("b", "the green box")]),
        ({"remove": ["a"]}, [], [("b", "the green box")]),
        ({"clear": True}, [("c", "the red ball")], [("c", "the red ball")]),
    ]
    for other, commands, wanted in steps:
        response = stage.set_commands(*commands, **other)
        assert (response.success, response.message) == (True, "")
        assert [(one.id, one.text) for one in response.commands] == wanted
        assert described(stage.camera.ask(image_message(picture()))) == wanted


def test_after_a_change_no_result_bears_a_command_of_before(stage: Stage) -> None:
    sets = [
        [(f"id{turn}", f"the {colour} ball"), ("kept", "the green box")]
        for turn, colour in enumerate(("red", "blue", "green", "yellow"))
    ]
    start = len(stage.objects.messages)
    stop = threading.Event()
    sending = threading.Lock()
    sent: list[int] = []

    def send() -> None:
        with sending:
            sent.append(stage.camera.send(image_message(picture())).stamp.sec)

    def film() -> None:
        while not stop.wait(0.03):
            send()

    send()
    filming = threading.Thread(target=film)
    filming.start()
    boundaries = []
    try:
        for commands in sets:
            assert stage.set_commands(*commands, clear=True).success
            with sending:
                boundaries.append(sent[-1])
            result = stage.objects.wait_for(
                lambda one, boundary=boundaries[-1]: one.header.stamp.sec > boundary, start=start
            )
            assert result is not None
    finally:
        stop.set()
        filming.join()

    for first, last, commands in zip(boundaries, [*boundaries[1:], sent[-1]], sets, strict=True):
        allowed = sets[sets.index(commands) :][:2]
        results = [
            described(one)
            for one in stage.objects.messages[start:]
            if first < one.header.stamp.sec <= last
        ]
        assert results
        assert all(result in allowed for result in results)


# ---- Overload and diagnostics ----


def test_under_a_flood_the_newest_image_is_processed_and_the_others_are_counted(
    stage: Stage,
) -> None:
    stage.set_commands(("a", "the red ball"), ("b", "the green box"))
    start = len(stage.objects.messages)
    for _ in range(200):
        stage.camera.send(image_message(picture()))
    last = stage.camera.ask(image_message(picture()))

    stamps = [
        (one.header.stamp.sec, one.header.stamp.nanosec) for one in stage.objects.messages[start:]
    ]
    assert all(before < after for before, after in itertools.pairwise(stamps))
    assert stamps[-1] == (last.header.stamp.sec, last.header.stamp.nanosec)

    def adds_up(status: DiagnosticStatus) -> bool:
        values = {key: value for key, value in values_of(status).items() if value.isdigit()}
        accounted = int(values["images answered"]) + int(values["dropped frames"])
        return int(values["dropped frames"]) > 0 and accounted <= int(values["images received"])

    stage.status(adds_up)


def test_diagnostics_say_what_an_operator_needs(stage: Stage) -> None:
    stage.set_commands(("a", "the red ball"))
    processed = int(values_of(stage.status())["images answered"])

    def is_filled(status: DiagnosticStatus) -> bool:
        stage.camera.send(image_message(picture()))
        return int(values_of(status)["images answered"]) > processed + 1

    status = stage.status(is_filled)
    values = values_of(status)

    assert status.name == f"{NODE}: stream"
    assert (values["state"], values["model"], values["device"]) == ("active", "nano", "cpu")
    assert status.hardware_id == "cpu"
    assert values["image topic"] == f"/{NODE}/image_raw"
    assert values["image publishers"] == "1"
    assert values["commands"] == "'a': 'the red ball'"
    assert float(values["rate (Hz)"]) > 0
    assert 0 < float(values["inference (ms)"]) <= float(values["worst latency (ms)"])
    assert float(values["latency (ms)"]) <= float(values["worst latency (ms)"])
    assert "last memory reset" in values
    recent = [one.header.stamp.sec for one in stage.diagnostics.messages]
    assert recent == sorted(recent)
