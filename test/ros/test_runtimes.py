# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Real nodes on a runtime and in a precision of their parameters, and while one gets ready."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import ros_harness
import slow_backend
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_stage import lifecycle_stage, values_of
from referdino.msg import ReferredObjectArray
from ros_harness import (
    image_message,
    picture,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.ros]

GETTING_READY = "Getting ready: building the engine, 42%."


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nodes are those of `slow_backend`; the folder of the files that it looks for."""
    program = tmp_path / "slow_node"
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{slow_backend.__file__}" "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    folder = tmp_path / "door"
    folder.mkdir()
    monkeypatch.setattr(ros_harness, "node_executable", lambda: program)
    monkeypatch.setenv(slow_backend.DOOR, str(folder))
    return folder


def test_a_precision_that_cannot_be_is_reported_and_the_node_runs_once_it_is_set_right() -> None:
    parameters = {"runtime": "torch", "precision": "fp16", "image_size": "160x120"}
    with lifecycle_stage("low_node", initial_command="the red ball", **parameters) as stage:
        status = stage.status("Cannot configure")
        assert status.level == DiagnosticStatus.ERROR
        assert "fp16 on GPUs only; on a CPU choose the precision bf16 or fp32" in status.message
        assert "ros2 lifecycle set /low_node configure" in status.message
        assert len(stage.process.lines_with("[ERROR]")) == 1
        assert stage.state == "unconfigured"

        assert "precision is 'int8'; it must be one of" in stage.set("precision", "int8")
        assert "runtime is 'openvino'; it must be one of" in stage.set("runtime", "openvino")
        assert "image_size is '160'" in stage.set("image_size", "160")
        assert stage.set("precision", "bf16") == ""
        assert stage.change(Transition.TRANSITION_CONFIGURE)
        assert stage.change(Transition.TRANSITION_ACTIVATE)
        assert "read-only while the node is configured" in stage.set("precision", "fp32")
        stage.process.wait_for_log("Runtime: torch, bf16, on cpu (as asked).")
        with stage.camera() as camera:
            result = camera.ask(image_message(picture()))
        (one,) = result.objects
        assert one.command == "the red ball"
        assert (one.mask.height, one.mask.width) == (120, 160)
        status = stage.status("Running")
        assert status.level == DiagnosticStatus.OK
        values = values_of(status)
        assert (values["runtime"], values["getting ready"]) == ("torch bf16", "no")


def test_a_node_on_onnx_runtime_exports_its_model_while_it_configures_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path))
    parameters = {"runtime": "onnxruntime", "image_size": "160x120"}
    with lifecycle_stage("onnx_node", initial_command="the red ball", **parameters) as stage:
        stage.process.wait_for_log("Exporting nano to ONNX for images of 160x120")
        stage.process.wait_for_log("Active: processing images")
        assert list(tmp_path.glob("onnx/*/export.json"))
        with stage.camera() as camera:
            (one,) = camera.ask(image_message(picture())).objects
        assert one.command == "the red ball"
        assert values_of(stage.status("Running"))["runtime"] == "onnxruntime fp32"


def test_with_the_image_size_a_simulated_slow_runtime_gets_ready_while_configuring(
    door: Path,
) -> None:
    with lifecycle_stage("ready_node", runtime="tensorrt", image_size="160x120") as stage:
        status = stage.status("Getting ready")
        assert (status.level, status.message) == (DiagnosticStatus.WARN, GETTING_READY)
        values = values_of(status)
        assert values["state"] == "configuring"
        assert values["getting ready"] == "building the engine, 42%"
        assert stage.state == "configuring"
        stage.process.wait_for_log("Still building the engine, 42% (")
        assert not stage.process.lines_with("Active")

        (door / "open").touch()
        stage.process.wait_for_log("Active: processing images")
        status = stage.status("Running")
        assert values_of(status)["getting ready"] == "no"
        with stage.camera() as camera:
            camera.ask(image_message(picture()))
        assert not (door / "cancelled").exists()


def test_an_interrupt_ends_a_node_whose_simulated_slow_runtime_gets_ready(door: Path) -> None:
    with lifecycle_stage("ended_node", runtime="tensorrt", image_size="160x120") as stage:
        stage.status("Getting ready")

        assert stage.process.interrupt() == 0
        assert (door / "cancelled").exists()
        assert not stage.process.lines_with("[ERROR]")


def test_a_simulated_slow_runtime_that_gets_ready_at_the_first_image_leaves_the_node_free(
    door: Path,
) -> None:
    message = image_message(picture())
    with lifecycle_stage("free_node", runtime="tensorrt", initial_command="the red ball") as stage:
        stage.process.wait_for_log("Active: processing images")
        with stage.camera() as camera:
            status = stage.status_after(lambda: camera.send(message), "Getting ready")
            assert (status.level, status.message) == (DiagnosticStatus.WARN, GETTING_READY)
            assert values_of(status)["state"] == stage.state == "active"

        assert stage.change(Transition.TRANSITION_DEACTIVATE)
        assert stage.status().message == GETTING_READY
        assert not (door / "cancelled").exists()
        assert stage.change(Transition.TRANSITION_CLEANUP)
        assert (door / "cancelled").exists()
        stage.status("The node is unconfigured")
        assert not stage.process.lines_with("[ERROR]")

        # The next attempt is not cancelled, and a failure is told rather than the progress.
        assert stage.change(Transition.TRANSITION_CONFIGURE)
        assert stage.change(Transition.TRANSITION_ACTIVATE)
        with stage.camera() as camera:
            stage.status_after(lambda: camera.send(message), "Getting ready")
            (door / "fail").touch()
            status = stage.status("The stand-in failed, as it was told.")
            assert status.level == DiagnosticStatus.ERROR
            assert values_of(status)["getting ready"] == "no"

            (door / "open").touch()
            result = camera.ask(message)
            assert [one.command for one in result.objects] == ["the red ball"]
        assert stage.change(Transition.TRANSITION_DEACTIVATE)
        assert stage.change(Transition.TRANSITION_CLEANUP)
        wait_until(lambda: stage.state == "unconfigured", "the clean-up")


def test_images_that_a_simulated_slow_runtime_is_too_late_for_are_no_gap(door: Path) -> None:
    message = image_message(picture())
    settings = {"initial_command": "the red ball", "max_gap": 0.5}
    with lifecycle_stage("late_node", runtime="tensorrt", **settings) as stage:
        stage.process.wait_for_log("Active: processing images")
        with stage.camera() as camera:
            stage.status_after(lambda: camera.send(message), "Getting ready")
            for _ in range(30):
                camera.send(message)
                time.sleep(0.05)
            (door / "open").touch()
            result = camera.ask(message)
            assert result.judgement == ReferredObjectArray.JUDGED
            values = values_of(stage.status("Running"))
            assert (values["memory resets"], values["last memory reset"]) == ("0", "none")
            assert int(values["dropped frames"]) >= 10
