# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras on one node with one model: topics, commands, failures and health of each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from node_in_process import holdings, node_in_process
from node_stage import described, mask_of, values_of
from rclpy.lifecycle import TransitionCallbackReturn
from referdino.msg import Command, ReferredObjectArray
from referdino.srv import SetCommands
from ros_harness import (
    Camera,
    Client,
    Collector,
    NodeProcess,
    image_message,
    picture,
    running_node,
    wait_until,
)
from sensor_msgs.msg import Image
from std_msgs.msg import String

from referdino_core import CameraGroup
from referdino_core.errors import ReferDINOError
from referdino_ros.camera_topics import CameraTopics, camera_topics

pytestmark = pytest.mark.ros

NAME = "two_eyes"
SIZES = {"front": (120, 160), "rear": (90, 120)}
TOPICS = {"front": f"/{NAME}/front/image_raw", "rear": "/rear_camera/color"}
SUCCESS = TransitionCallbackReturn.SUCCESS


@dataclass
class Rig:
    """A running node with two cameras."""

    process: NodeProcess
    client: Client
    objects: dict[str, Collector]
    cameras: dict[str, Camera]

    def ask(self, name: str, pixels: Any = None) -> ReferredObjectArray:
        shown = picture(*SIZES[name]) if pixels is None else pixels
        return self.cameras[name].ask(image_message(shown, f"{name}_frame"))

    def set_commands(self, where: str, **request: Any) -> SetCommands.Response:
        request["set"] = [
            Command(id=key, text=text) for key, text in request.get("set", {}).items()
        ]
        service = f"/{NAME}{where}/set_commands"
        return self.client.call(SetCommands, service, SetCommands.Request(**request))

    def running(self) -> dict[str, list[tuple[str, str]]]:
        return {name: described(self.ask(name)) for name in SIZES}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    client = Client()
    entries = f"['front:={TOPICS['front']}', 'rear:={TOPICS['rear']}']"
    parameters = {"cameras": entries, "accept": 0.0, "keep": 0.0, "image_qos": "reliable"}
    try:
        with running_node(name=NAME, parameters=parameters) as process:
            process.wait_for_log("Active: processing images of", TOPICS["front"], TOPICS["rear"])
            objects = {
                name: client.collect(ReferredObjectArray, f"/{NAME}/{name}/objects")
                for name in SIZES
            }
            cameras = {
                name: Camera(client, client.publisher(Image, topic), objects[name])
                for name, topic in TOPICS.items()
            }
            yield Rig(process, client, objects, cameras)
    finally:
        client.close()


@pytest.fixture(autouse=True)
def no_commands(request: pytest.FixtureRequest) -> None:
    if "rig" in request.fixturenames:
        assert request.getfixturevalue("rig").set_commands("", clear=True).success


def test_each_camera_gets_results_of_its_own_images_in_its_own_namespace(rig: Rig) -> None:
    assert rig.set_commands("", set={"a": "the red ball"}).success
    for name, size in SIZES.items():
        result = rig.ask(name)
        assert result.header.frame_id == f"{name}_frame"
        assert described(result) == [("a", "the red ball")]
        assert mask_of(result.objects[0]).shape == size
    mask = rig.client.collect(Image, f"/{NAME}/rear/mask")
    rig.ask("rear")
    processed = mask.wait_for(lambda message: True)
    assert processed is not None
    assert (processed.height, processed.width) == SIZES["rear"]
    rig.client.drop(mask)


def test_commands_are_for_one_camera_or_for_all(rig: Rig) -> None:
    assert rig.set_commands("/rear", set={"b": "the green box"}).success
    assert rig.running() == {"front": [], "rear": [("b", "the green box")]}

    response = rig.set_commands("", set={"a": "the red ball"})
    assert [(one.id, one.text) for one in response.commands] == [
        ("a", "the red ball"),
        ("b", "the green box"),
    ]
    assert rig.running() == {
        "front": [("a", "the red ball")],
        "rear": [("b", "the green box"), ("a", "the red ball")],
    }

    assert rig.set_commands("", remove=["b"]).success  # it runs on one of them
    assert rig.running() == {name: [("a", "the red ball")] for name in SIZES}
    refused = rig.set_commands("", remove=["b"])
    assert not refused.success
    assert "'b': it is not running" in refused.message


def test_a_set_that_one_camera_cannot_take_changes_none(rig: Rig) -> None:
    sixteen = {f"c{number}": "the red ball" for number in range(16)}
    assert rig.set_commands("/rear", set=sixteen).success
    refused = rig.set_commands("", set={"one more": "the green box"})
    assert not refused.success
    assert "17 commands would run at once" in refused.message
    empty = rig.set_commands("", clear=True, set={"blank": "  "})
    assert not empty.success
    assert {name: len(own) for name, own in rig.running().items()} == {"front": 0, "rear": 16}


def test_sentences_by_topic_are_for_one_camera_or_for_all(rig: Rig) -> None:
    for where, text, expected in (
        ("", "the red ball", {"front": "the red ball", "rear": "the red ball"}),
        ("/front", "the green box", {"front": "the green box", "rear": "the red ball"}),
        ("", "the cylinder", {"front": "the cylinder", "rear": "the cylinder"}),
    ):
        start = len(rig.process.log)
        rig.client.publisher(String, f"/{NAME}{where}/command").publish(String(data=text))
        rig.process.wait_for_log("Commands of", where[1:] or "all cameras", text, start=start)
        assert rig.running() == {name: [("command", one)] for name, one in expected.items()}


def test_a_damaged_image_fails_for_its_camera_alone(rig: Rig) -> None:
    assert rig.set_commands("", set={"a": "the red ball"}).success
    before = rig.ask("front").objects[0].track_id
    cut_off = image_message(picture(*SIZES["rear"]))
    cut_off.data = cut_off.data[:100]

    failed = rig.cameras["rear"].ask(cut_off)

    assert failed.judgement == ReferredObjectArray.FAILED
    assert "100" in failed.reason
    rig.process.wait_for_log("[ERROR]", "rear: ")
    assert rig.ask("front").objects[0].track_id == before
    good = rig.ask("rear")
    assert good.judgement in (
        ReferredObjectArray.JUDGED,
        ReferredObjectArray.RESET,
    )


def test_diagnostics_have_a_status_per_camera(rig: Rig) -> None:
    assert rig.set_commands("/front", set={"a": "the red ball"}).success
    rig.ask("front")
    diagnostics = rig.client.collect(DiagnosticArray, "/diagnostics")
    names = [f"{NAME}: {name}" for name in SIZES]
    message = diagnostics.wait_for(
        lambda one: (
            [status.name for status in one.status] == names
            and "red ball" in values_of(one.status[0])["commands"]
        )
    )
    assert message is not None
    values = {name: values_of(one) for name, one in zip(SIZES, message.status, strict=True)}
    assert {name: one["image topic"] for name, one in values.items()} == TOPICS
    assert values["rear"]["commands"] == "none"
    assert {one["model"] for one in values.values()} == {"nano"}
    assert int(values["front"]["images answered"]) > 0


def test_both_cameras_at_once_lose_nothing_but_what_is_replaced(rig: Rig) -> None:
    assert rig.set_commands("", set={"a": "the red ball"}).success
    starts = {name: len(rig.objects[name].messages) for name in SIZES}
    images = {name: image_message(picture(*size)) for name, size in SIZES.items()}

    def stream(name: str) -> None:
        for _ in range(40):
            rig.cameras[name].send(images[name])
            threading.Event().wait(0.03)

    threads = [threading.Thread(target=stream, args=(name,)) for name in SIZES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def accounted(name: str) -> int:
        fresh = rig.objects[name].messages[starts[name] :]
        return len(fresh) + sum(one.dropped for one in fresh)

    for name in SIZES:
        wait_until(lambda name=name: accounted(name) >= 38, f"the results of {name}")


def test_cameras_share_one_model_and_leave_nothing_behind() -> None:
    with node_in_process(cameras=["left", "right", "top:=/ceiling/image"]) as node:
        before = holdings(node)
        for _ in range(2):
            assert node.trigger_configure() == SUCCESS
            assert node.trigger_activate() == SUCCESS
            held = holdings(node) - before
            assert held["thread referdino model"] == 1
            assert held["thread referdino images"] == 3
            assert held["thread referdino commands"] == 1
            for topic in ("/left/image_raw", "/right/image_raw", "/ceiling/image"):
                assert held[f"subscription {topic}"] == 1
            for where in ("", "/left", "/right", "/top"):
                assert held[f"subscription /referdino{where}/command"] == 2
                assert held[f"service ~{where}/set_commands"] == 1
                assert held[f"publisher /referdino{where}/objects"] == (1 if where else 0)
            assert node.trigger_deactivate() == SUCCESS
            assert node.trigger_cleanup() == SUCCESS
            assert holdings(node) == before


def test_settings_and_the_first_command_are_for_all_cameras(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups: list[CameraGroup] = []
    begin = CameraGroup.__init__

    def noted(group: CameraGroup, *arguments: Any) -> None:
        begin(group, *arguments)
        groups.append(group)

    monkeypatch.setattr(CameraGroup, "__init__", noted)
    parameters = {"cameras": ["left", "right"], "initial_command": "the red ball", "accept": 0.7}
    with node_in_process(**parameters) as node:
        assert node.trigger_configure() == SUCCESS
        sessions = groups[0].sessions
        assert [session.commands for session in sessions] == 2 * [{"command": "the red ball"}]
        assert [session.settings.accept for session in sessions] == [0.7, 0.7]
        assert sessions[0].model is sessions[1].model


def test_names_and_topics_of_cameras() -> None:
    assert camera_topics([]) == camera_topics(["", "  "]) == (CameraTopics("", "image_raw"),)
    assert camera_topics(["front", " rear_2 := /a/b "]) == (
        CameraTopics("front", "front/image_raw"),
        CameraTopics("rear_2", "/a/b"),
    )
    assert camera_topics(["front:=/a, rear", "top"]) == camera_topics(["front:=/a", "rear", "top"])
    assert [one.namespace for one in camera_topics(["front"])] == ["~/front"]
    assert camera_topics([""])[0].namespace == "~"


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        (["/front/image_raw"], "contains '/front/image_raw'; write NAME or NAME:=TOPIC"),
        (["2nd"], "starts with a letter"),
        (["a__b"], "single underscores"),
        (["front:=/a b"], "an invalid topic"),
        (["front", "front:=/x"], "the name 'front' to 2 cameras"),
        (["front:=/x", "rear:=/x"], "the topic '/x' to 2 cameras"),
    ],
)
def test_cameras_that_cannot_be_are_one_line(entries: list[str], complaint: str) -> None:
    with pytest.raises(ReferDINOError, match=complaint):
        camera_topics(entries)
    with pytest.raises(ReferDINOError, match=complaint), node_in_process(cameras=entries):
        pass
