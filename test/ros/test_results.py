# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One real node, images and commands in, results out: topics, commands, bad input, diagnostics."""

from __future__ import annotations

import array
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from answering_node import Stage, described, mask_of, values_of
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from referdino.msg import ReferredObject, ReferredObjectArray
from ros_harness import (
    Camera,
    Client,
    image_message,
    picture,
    running_node,
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
    parameters = {"initial_command": "the red ball", "hold": 0.0, "error_log_period": 0.0}
    with running_node(name=NODE, parameters=parameters) as process:
        client = Client()
        process.wait_for_log("Active: answering images of /results_node/image_raw")
        objects = client.collect(ReferredObjectArray, f"/{NODE}/objects")
        camera = Camera(client, client.publisher(Image, f"/{NODE}/image_raw"), objects)
        diagnostics = client.collect(DiagnosticArray, "/diagnostics")
        command = client.publisher(String, f"/{NODE}/command")
        yield Stage(process, client, objects, diagnostics, camera, command)
        client.close()


@pytest.fixture(autouse=True)
def defaults(stage: Stage) -> None:
    stage.set_parameters(accept=0.5, keep=0.35, mask_threshold=0.5, max_commands=16)
    stage.set_parameters(error_log_period=0.0)
    assert stage.set_commands(clear=True).success


# ---- Results ----


def test_the_answer_bears_the_header_of_its_image(stage: Stage) -> None:
    stage.set_commands(("ball", "the red ball"), ("square", "the green box"))
    message = image_message(picture(), frame="left/optical frame")

    answer = stage.camera.ask(message)

    assert answer.header.frame_id == "left/optical frame"
    assert described(answer) == [("ball", "the red ball"), ("square", "the green box")]
    for one in answer.objects:
        assert (one.mask.height, one.mask.width) == (120, 160)
        assert mask_of(one).shape == (120, 160)
        assert 0.0 <= one.score <= 1.0
        assert 0.0 <= one.frame_score <= 1.0


def test_without_a_command_the_answer_is_empty(stage: Stage) -> None:
    answer = stage.camera.ask(image_message(picture()))

    assert list(answer.objects) == []


def test_the_size_of_the_images_may_change(stage: Stage) -> None:
    stage.set_commands(("ball", "the red ball"))
    for height, width in ((120, 160), (90, 200), (120, 160)):
        answer = stage.camera.ask(image_message(picture(height, width)))
        mask = answer.objects[0].mask
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


def test_pictures_of_the_results_go_to_those_who_listen(stage: Stage) -> None:
    stage.set_commands(("first", "the red ball"), ("second", "the green box"))
    stage.set_parameters(accept=0.0, keep=0.0, mask_threshold=0.0)
    listeners = {
        "mask": stage.client.collect(Image, f"/{NODE}/mask"),
        "overlay": stage.client.collect(Image, f"/{NODE}/overlay"),
        "overlay/compressed": stage.client.collect(CompressedImage, f"/{NODE}/overlay/compressed"),
    }
    answer = stage.camera.ask(image_message(picture()))

    received = {
        topic: listener.wait_for(lambda message: message.header == answer.header)
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


def test_after_a_change_no_answer_bears_a_command_of_before(stage: Stage) -> None:
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
            answer = stage.objects.wait_for(
                lambda one, boundary=boundaries[-1]: one.header.stamp.sec > boundary, start=start
            )
            assert answer is not None
    finally:
        stop.set()
        filming.join()

    for first, last, commands in zip(boundaries, [*boundaries[1:], sent[-1]], sets, strict=True):
        allowed = sets[sets.index(commands) :][:2]
        answers = [
            described(one)
            for one in stage.objects.messages[start:]
            if first < one.header.stamp.sec <= last
        ]
        assert answers
        assert all(answer in allowed for answer in answers)


# ---- Bad input ----


def changed(**changes: Any) -> Image:
    message = image_message(picture())
    for name, value in changes.items():
        setattr(message, name, value)
    return message


BAD_IMAGES = {
    "no height": changed(height=0),
    "no width": changed(width=0),
    "too few rows": changed(height=200),
    "step too small": changed(step=100, height=576),
    "no data": changed(data=array.array("B")),
    "unknown encoding": changed(encoding="plaid8"),
    "odd shared colour": changed(encoding="yuv422", width=159),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_reported_and_the_next_good_one_answered(stage: Stage, kind: str) -> None:
    bad = BAD_IMAGES[kind]
    bad.header.frame_id = f"bad: {kind}"

    line = stage.error_from(lambda: stage.camera.send(bad))

    assert "mage" in line
    if kind == "unknown encoding":
        assert "'plaid8'" in line
    assert stage.camera.ask(image_message(picture())).header.frame_id == "camera_optical_frame"
    (told,) = [one for one in stage.objects.messages if one.header.frame_id == f"bad: {kind}"]
    assert told.judgement == ReferredObjectArray.FAILED
    assert told.reason and told.reason in line
    assert not any(mask_of(one).any() for one in told.objects)


def test_an_error_that_repeats_is_logged_once_and_stands_in_the_diagnostics(stage: Stage) -> None:
    stage.set_parameters(error_log_period=3600.0)
    bad = changed(encoding="sepia8")
    errors = int(values_of(stage.status())["errors"])

    def has_repeated(status: DiagnosticStatus) -> bool:
        for _ in range(5):
            stage.camera.send(bad)
            time.sleep(0.02)
        return int(values_of(status)["errors"]) > errors + 5

    status = stage.status(has_repeated)

    assert status.level == DiagnosticStatus.ERROR
    assert "'sepia8'" in status.message
    assert "'sepia8'" in values_of(status)["last error"]
    assert len(stage.process.lines_with("'sepia8'")) == 1


BAD_COMMANDS = {
    "100 kB": ("x", "ball " * 20_000),
    "more than 256 tokens": ("x", "ball " * 300),
    "no text": ("x", ""),
    "blank text": ("x", "  \t"),
    "control characters": ("x", "the \x07 ball"),
    "no identifier": ("", "the red ball"),
}


@pytest.mark.parametrize("kind", BAD_COMMANDS)
def test_a_bad_command_is_refused_and_the_running_ones_stay(stage: Stage, kind: str) -> None:
    stage.set_commands(("a", "the red ball"), ("b", "the green box"))
    start = len(stage.process.log)

    response = stage.set_commands(("c", "the blue ball"), BAD_COMMANDS[kind], remove=["a"])

    assert not response.success
    assert 10 < len(response.message) < 400
    assert "\n" not in response.message
    running = [("a", "the red ball"), ("b", "the green box")]
    assert [(one.id, one.text) for one in response.commands] == running
    assert described(stage.camera.ask(image_message(picture()))) == running
    stage.process.wait_for_log("[ERROR]", response.message, start=start)

    assert stage.set_commands(("c", "the blue ball"), remove=["a"]).success
    assert described(stage.camera.ask(image_message(picture()))) == [
        ("b", "the green box"),
        ("c", "the blue ball"),
    ]


def test_other_requests_that_make_no_sense_are_refused(stage: Stage) -> None:
    stage.set_commands(("a", "the red ball"))
    stage.set_parameters(max_commands=2)

    responses = [
        stage.set_commands(("x", "the red ball"), ("x", "the green box")),
        stage.set_commands(remove=["never seen"]),
        stage.set_commands(*((str(number), "the red ball") for number in range(3))),
    ]

    for response, said in zip(responses, ("'x'", "'never seen'", "max_commands"), strict=True):
        assert not response.success
        assert said in response.message
        assert [one.id for one in response.commands] == ["a"]


def serialized_string(data: bytes) -> bytes:
    """A std_msgs/String of any bytes as it travels (CDR, little endian)."""
    return b"\x00\x01\x00\x00" + (len(data) + 1).to_bytes(4, "little") + data + b"\x00"


@pytest.mark.parametrize(
    "message",
    [String(data="ball " * 20_000), String(data="ball " * 300), serialized_string(b"\xff\xfe\x81")],
    ids=["100 kB", "more than 256 tokens", "no UTF-8"],
)
def test_a_bad_text_on_the_command_topic_leaves_the_running_command(
    stage: Stage, message: String | bytes
) -> None:
    running = [("a", "the red ball")]
    stage.set_commands(*running)

    line = stage.error_from(lambda: stage.command.publish(message))

    assert len(line) < 500
    assert described(stage.camera.ask(image_message(picture()))) == running
    start = len(stage.process.log)
    stage.command.publish(String(data="the green box"))
    stage.process.wait_for_log("Commands: 'the green box'.", start=start)
    answer = stage.camera.ask(image_message(picture()))
    assert described(answer) == [("command", "the green box")]


# ---- Overload and diagnostics ----


def test_under_a_flood_the_newest_image_is_answered_and_the_others_are_counted(
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
    answered = int(values_of(stage.status())["images answered"])

    def is_filled(status: DiagnosticStatus) -> bool:
        stage.camera.send(image_message(picture()))
        return int(values_of(status)["images answered"]) > answered + 1

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
