# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One real node through its lifecycle, with cameras that do not fit and checkpoints that fail."""

from __future__ import annotations

import array
import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_stage import LifecycleStage, lifecycle_stage
from referdino.srv import SetCommands
from ros_harness import (
    BEST_EFFORT,
    RELIABLE,
    Client,
    image_message,
    picture,
    running_node,
    wait_until,
)
from sensor_msgs.msg import CompressedImage, Image

pytestmark = [pytest.mark.slow, pytest.mark.ros]

NODE = "cycle_node"
DEFAULTS = {"checkpoint": "", "image_qos": "sensor_data", "image_transport": "raw"}


def reach(stage: LifecycleStage, wanted: str, **parameters: str) -> None:
    """Bring the node to that state, with these parameters and defaults for others."""
    stage.reach(wanted, {**DEFAULTS, **parameters})


@pytest.fixture(scope="module")
def stage() -> Iterator[LifecycleStage]:
    with lifecycle_stage(NODE, autostart=False, error_log_period=0.0) as stage:
        yield stage


# ---- Transitions ----


def test_without_autostart_the_node_waits_to_be_configured(stage: LifecycleStage) -> None:
    reach(stage, "unconfigured")

    status = stage.status()

    assert status.level == DiagnosticStatus.WARN
    assert "unconfigured" in status.message
    topics = {name for name, _ in stage.client.node.get_topic_names_and_types()}
    assert f"/{NODE}/command" not in topics


def test_a_transition_that_the_state_does_not_allow_is_refused_and_the_node_lives(
    stage: LifecycleStage,
) -> None:
    reach(stage, "unconfigured")
    start = len(stage.process.log)

    assert not stage.change(Transition.TRANSITION_ACTIVATE)
    assert not stage.change(99)

    stage.process.wait_for_log("[ERROR]", "unconfigured", start=start)
    assert stage.process.running
    assert stage.state == "unconfigured"


def test_images_are_processed_while_active_and_at_no_other_time(stage: LifecycleStage) -> None:
    reach(stage, "active")
    assert stage.set_commands("the red ball").success
    with stage.camera() as camera:
        camera.ask(image_message(picture()))

        assert stage.change(Transition.TRANSITION_DEACTIVATE)
        publisher = stage.client.node.create_publisher(Image, f"/{NODE}/image_raw", RELIABLE)
        wait_until(lambda: publisher.get_subscription_count() == 0, "the subscription to end")
        assert stage.state == "inactive"
        assert "inactive" in stage.status().message

        assert stage.change(Transition.TRANSITION_ACTIVATE)
        result = camera.ask(image_message(picture()))
        assert [one.command for one in result.objects] == ["the red ball"]  # commands were kept
        stage.client.node.destroy_publisher(publisher)


def test_streams_are_told_apart_after_a_break_and_after_a_new_start(stage: LifecycleStage) -> None:
    reach(stage, "active")
    with stage.camera() as camera:
        assert stage.set_commands("the red ball").success
        first, again = (camera.ask(image_message(picture())) for _ in range(2))
        stage.client.next_stamp(step=60.0)
        broken = camera.ask(image_message(picture()))
        assert stage.change(Transition.TRANSITION_DEACTIVATE)
        assert stage.change(Transition.TRANSITION_CLEANUP)
        reach(stage, "active")
        assert stage.set_commands("the red ball").success
        restarted = camera.ask(image_message(picture()))

    assert (first.judgement, again.judgement) == (first.JUDGED, first.JUDGED)
    assert first.stream == again.stream > 0
    assert broken.judgement == broken.RESET and broken.stream != first.stream
    assert restarted.stream not in (0, first.stream, broken.stream)


def test_commands_are_taken_while_inactive_and_forgotten_by_a_clean_up(
    stage: LifecycleStage,
) -> None:
    reach(stage, "inactive")
    assert [one.text for one in stage.set_commands("the red ball").commands] == ["the red ball"]
    assert stage.change(Transition.TRANSITION_CLEANUP)
    assert stage.change(Transition.TRANSITION_CONFIGURE)

    request = SetCommands.Request()
    running = stage.client.call(SetCommands, f"/{NODE}/set_commands", request).commands

    assert running == []


def test_what_configuring_reads_cannot_change_until_a_clean_up(stage: LifecycleStage) -> None:
    reach(stage, "inactive")

    assert "image_qos is read-only while the node is configured" in stage.set(
        "image_qos", "reliable"
    )
    assert stage.set("accept", 0.7) == ""

    assert stage.change(Transition.TRANSITION_CLEANUP)
    assert stage.set("image_qos", "reliable") == ""


def test_the_log_says_what_is_loaded_and_how_long_it_took(stage: LifecycleStage) -> None:
    reach(stage, "unconfigured")
    start = len(stage.process.log)

    assert stage.change(Transition.TRANSITION_CONFIGURE)

    assert "nano" in stage.process.wait_for_log("Loading PyTorch and the model", start=start)
    assert " s." in stage.process.wait_for_log("The model is ready after", start=start)


# ---- Checkpoints that cannot be loaded ----


class RunsCode:
    """A pickle of it creates a file when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def write_checkpoint(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.pth"
    if kind == "truncated":
        torch.save({"weight": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:1500])
    elif kind == "other":
        torch.save({"module.some.weight": torch.zeros(3, 3)}, path)
    elif kind == "code":
        path.write_bytes(pickle.dumps({"model": RunsCode(folder / "code_was_run")}))
    return path


@pytest.mark.parametrize("kind", ["missing", "truncated", "other", "code"])
def test_a_checkpoint_that_fails_is_one_clear_line_and_the_node_waits_for_a_better_one(
    stage: LifecycleStage, tmp_path: Path, kind: str
) -> None:
    path = write_checkpoint(kind, tmp_path)
    reach(stage, "unconfigured", checkpoint=str(path))
    start = len(stage.process.log)

    assert not stage.change(Transition.TRANSITION_CONFIGURE)

    line = stage.process.wait_for_log("[ERROR]", "Cannot configure", start=start)
    assert path.name in line
    assert f"ros2 lifecycle set /{NODE} configure" in line
    assert len([one for one in stage.process.log[start:] if "[ERROR]" in one]) == 1
    assert not [one for one in stage.process.log[start:] if "Traceback" in one]
    assert stage.state == "unconfigured"
    status = stage.status()
    assert (status.level, path.name in status.message) == (DiagnosticStatus.ERROR, True)
    assert not (tmp_path / "code_was_run").exists()

    assert stage.set("checkpoint", "") == ""
    assert stage.change(Transition.TRANSITION_CONFIGURE)
    assert stage.status().level == DiagnosticStatus.WARN  # inactive, no error left


# ---- Cameras ----


def test_a_camera_whose_qos_does_not_fit_is_named_with_both_sides(stage: LifecycleStage) -> None:
    reach(stage, "active", image_qos="reliable")
    start = len(stage.process.log)
    unfit = stage.client.node.create_publisher(Image, f"/{NODE}/image_raw", BEST_EFFORT)

    line = stage.process.wait_for_log("[ERROR]", "Incompatible QoS", start=start)

    assert "/test_client" in line
    assert f"/{NODE}/image_raw" in line
    offered, asked = line.split("this node asks for")
    assert "best_effort" in offered
    assert "reliable" in asked
    assert "image_qos" in line
    assert "sensor_data" in line
    stage.status(), stage.status()  # two more looks
    assert len([one for one in stage.process.log[start:] if "Incompatible QoS" in one]) == 1
    stage.client.node.destroy_publisher(unfit)
    with stage.camera(qos=RELIABLE) as camera:
        camera.ask(image_message(picture()))


@pytest.mark.parametrize("image_qos", ["sensor_data", "reliable", "system_default"])
def test_a_reliable_camera_fits_every_setting(stage: LifecycleStage, image_qos: str) -> None:
    reach(stage, "active", image_qos=image_qos)
    with stage.camera(qos=RELIABLE) as camera:
        result = camera.ask(image_message(picture()))
    assert result.header.stamp.sec or result.header.stamp.nanosec


def test_a_missing_image_topic_is_a_warning_that_lists_the_existing_ones(
    stage: LifecycleStage,
) -> None:
    assert stage.set("no_image_warning", 0.5) == ""
    other = stage.client.node.create_publisher(Image, "/front/camera/image_raw", RELIABLE)
    reach(stage, "active")
    start = len(stage.process.log)

    line = stage.process.wait_for_log("[WARN]", f"No image on /{NODE}/image_raw", start=start)
    assert "It has no publisher" in line
    assert "/front/camera/image_raw" in line
    status = stage.status()
    assert (status.level, "No image" in status.message) == (DiagnosticStatus.WARN, True)

    silent = stage.client.publisher(Image, f"/{NODE}/image_raw")
    line = stage.process.wait_for_log("[WARN]", "No image", "Publishers: /test_client", start=start)
    assert "reliability" in line
    for publisher in (other, silent):
        stage.client.node.destroy_publisher(publisher)
    other_process = Client()  # one process cannot publish two types on one topic
    other_process.node.create_publisher(CompressedImage, f"/{NODE}/image_raw", RELIABLE)
    line = stage.process.wait_for_log("[WARN]", "No image", "image_transport", start=start)
    other_process.close()
    assert "sensor_msgs/msg/CompressedImage" in line
    assert stage.set("no_image_warning", 5.0) == ""


def jpeg_message(data: bytes) -> CompressedImage:
    message = CompressedImage(format="jpeg", data=array.array("B", data))
    message.header.frame_id = "camera_optical_frame"
    return message


def test_compressed_images_are_processed_also_after_one_that_is_cut_off(
    stage: LifecycleStage,
) -> None:
    reach(stage, "active", image_transport="compressed")
    stage.set_commands("the red ball")
    whole = cv2.imencode(".jpg", picture()[..., ::-1])[1].tobytes()
    with stage.camera(CompressedImage) as camera:
        result = camera.ask(jpeg_message(whole))
        assert result.header.frame_id == "camera_optical_frame"
        assert result.objects[0].mask.height == 120

        for bad, said in (
            (whole[: len(whole) // 2], "truncated"),
            (b"noise", "OpenCV cannot decode"),
        ):
            start = len(stage.process.log)
            for _ in range(30):
                camera.send(jpeg_message(bad))
                with contextlib.suppress(AssertionError):
                    stage.process.wait_for_log("[ERROR]", said, start=start, timeout=3.0)
                    break
            stage.process.wait_for_log("[ERROR]", said, start=start, timeout=0.0)
            camera.ask(jpeg_message(whole))


# ---- The end ----


def test_a_node_that_is_shut_down_is_finalized_and_waits_for_its_signal() -> None:
    with running_node(name="ending_node", parameters={"autostart": False}):
        client = Client()
        request = ChangeState.Request()
        request.transition.id = Transition.TRANSITION_UNCONFIGURED_SHUTDOWN
        assert client.call(ChangeState, "/ending_node/change_state", request).success
        state = client.call(GetState, "/ending_node/get_state", GetState.Request())
        client.close()

        assert state.current_state.label == "finalized"


def test_an_interrupt_ends_a_node_that_is_still_loading() -> None:
    with running_node(name="loading_node") as process:
        process.wait_for_log("Loading PyTorch")

        assert process.interrupt() == 0
        for sign in ("Traceback", "[ERROR]", "exception was never retrieved"):
            assert not process.lines_with(sign), "\n".join(process.log)


def test_interrupts_by_the_terminal_and_by_launch_end_a_node_quietly() -> None:
    with running_node(name="interrupted_node") as process:
        process.wait_for_log("Active")

        assert process.interrupt(times=5) == 0
        for sign in ("Traceback", "[ERROR]", "terminate called"):
            assert not process.lines_with(sign), "\n".join(process.log)


def test_a_value_that_is_not_allowed_at_the_start_is_one_clear_line() -> None:
    with running_node(name="refused_node", parameters={"image_qos": "best"}) as process:
        assert process.wait() == 1

        lines = [line for line in process.log if line]
        assert len(lines) == 1
        assert "image_qos is 'best'; it must be one of" in lines[0]
