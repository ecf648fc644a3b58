# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images and commands that make no sense: refused in one line, and what runs goes on."""

from __future__ import annotations

import array
import time
from collections.abc import Iterator
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_stage import Stage, described, mask_of, results_stage, values_of
from referdino.msg import ReferredObjectArray
from ros_harness import (
    image_message,
    picture,
)
from sensor_msgs.msg import Image
from std_msgs.msg import String

pytestmark = pytest.mark.ros

NODE = "bad_input_node"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with results_stage(NODE) as stage:
        yield stage


@pytest.fixture(autouse=True)
def defaults(stage: Stage) -> None:
    stage.reset()


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
def test_a_bad_image_is_reported_and_the_next_good_one_processed(stage: Stage, kind: str) -> None:
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
    result = stage.camera.ask(image_message(picture()))
    assert described(result) == [("command", "the green box")]
