# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Running nodes under test, with clients, cameras and listeners."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from referdino.msg import Command, ReferredObject, ReferredObjectArray
from referdino.srv import SetCommands
from ros_harness import RELIABLE, Camera, Client, Collector, NodeProcess, running_node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from referdino_core.messages import run_lengths


@dataclass
class Stage:
    """A running node with a camera, a commander and listeners."""

    process: NodeProcess
    client: Client
    objects: Collector
    diagnostics: Collector
    camera: Camera
    command: Any

    def set_commands(self, *commands: tuple[str, str], **other: Any) -> SetCommands.Response:
        listed = [Command(id=name, text=text) for name, text in commands]
        request = SetCommands.Request(set=listed, **other)
        return self.client.call(SetCommands, f"/{self.process.name}/set_commands", request)

    def set_parameters(self, **values: float) -> None:
        request = SetParametersAtomically.Request()
        for name, value in values.items():
            kind = ParameterType.PARAMETER_DOUBLE
            content = ParameterValue(type=kind, double_value=value)
            if isinstance(value, int):
                kind = ParameterType.PARAMETER_INTEGER
                content = ParameterValue(type=kind, integer_value=value)
            request.parameters.append(Parameter(name=name, value=content))
        response = self.client.call(
            SetParametersAtomically, f"/{self.process.name}/set_parameters_atomically", request
        )
        assert response.result.successful, response.result.reason

    def reset(self) -> None:
        """Reset parameters and commands between two tests."""
        self.set_parameters(accept=0.5, keep=0.35, mask_threshold=0.5, max_commands=16)
        self.set_parameters(error_log_period=0.0)
        assert self.set_commands(clear=True).success

    def error_from(self, send: Callable[[], object]) -> str:
        """The line of the error that sending brings about; best effort may lose a message."""
        start = len(self.process.log)
        for _ in range(30):
            send()
            with contextlib.suppress(AssertionError):
                return self.process.wait_for_log("[ERROR]", start=start, timeout=3.0)
        raise AssertionError("no error in:\n" + "\n".join(self.process.log[start:]))

    def status(self, wanted: Callable[[DiagnosticStatus], bool] = lambda status: True) -> Any:
        """The node's first diagnostic status from now on that is wanted."""
        start = len(self.diagnostics.messages)
        message = self.diagnostics.wait_for(lambda one: wanted(one.status[0]), start=start)
        assert message is not None
        return message.status[0]


@contextlib.contextmanager
def results_stage(name: str) -> Iterator[Stage]:
    """An active node in a process of its own, with everything that a `Stage` has."""
    parameters = {"initial_command": "the red ball", "hold": 0.0, "error_log_period": 0.0}
    with running_node(name=name, parameters=parameters) as process:
        client = Client()
        process.wait_for_log(f"Active: processing images of /{name}/image_raw")
        objects = client.collect(ReferredObjectArray, f"/{name}/objects")
        camera = Camera(client, client.publisher(Image, f"/{name}/image_raw"), objects)
        diagnostics = client.collect(DiagnosticArray, "/diagnostics")
        command = client.publisher(String, f"/{name}/command")
        yield Stage(process, client, objects, diagnostics, camera, command)
        client.close()


@dataclass
class LifecycleStage:
    """A running node, and a client that moves it through its lifecycle."""

    process: NodeProcess
    client: Client
    diagnostics: Collector

    @property
    def state(self) -> str:
        name = f"/{self.process.name}/get_state"
        return self.client.call(GetState, name, GetState.Request()).current_state.label

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        name = f"/{self.process.name}/change_state"
        return self.client.call(ChangeState, name, request).success

    def set(self, name: str, value: str | float) -> str:
        """Why the parameter was refused, or an empty text."""
        if isinstance(value, str):
            content = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
        else:
            content = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=content)])
        service = f"/{self.process.name}/set_parameters"
        return self.client.call(SetParameters, service, request).results[0].reason

    def reach(self, wanted: str, parameters: Mapping[str, str]) -> None:
        """Bring the node to that state from any, with these parameters."""
        if self.state == "active":
            assert self.change(Transition.TRANSITION_DEACTIVATE)
        if self.state == "inactive":
            assert self.change(Transition.TRANSITION_CLEANUP)
        assert self.state == "unconfigured"
        for name, value in parameters.items():
            assert self.set(name, value) == ""
        if wanted in ("inactive", "active"):
            assert self.change(Transition.TRANSITION_CONFIGURE)
        if wanted == "active":
            assert self.change(Transition.TRANSITION_ACTIVATE)
        assert self.state == wanted

    def status(self, part: str = "") -> DiagnosticStatus:
        """The next diagnostic status whose message contains that part."""
        start = len(self.diagnostics.messages)
        found = self.diagnostics.wait_for(lambda one: part in one.status[0].message, start=start)
        assert found is not None, f"{part!r} is not in the diagnostics"
        return found.status[0]

    def status_after(self, send: Callable[[], object], part: str) -> DiagnosticStatus:
        """The same, once sending brings it about; best effort may lose a message."""
        for _ in range(30):
            start = len(self.diagnostics.messages)
            send()
            found = self.diagnostics.wait_for(
                lambda one: part in one.status[0].message, timeout=3.0, start=start
            )
            if found is not None:
                return found.status[0]
        raise AssertionError(f"{part!r} is not in the diagnostics")

    def set_commands(self, *texts: str) -> SetCommands.Response:
        commands = [Command(id=str(number), text=text) for number, text in enumerate(texts)]
        request = SetCommands.Request(clear=True, set=commands)
        return self.client.call(SetCommands, f"/{self.process.name}/set_commands", request)

    @contextlib.contextmanager
    def camera(self, message_type: Any = Image, qos: Any = RELIABLE) -> Iterator[Camera]:
        """A camera and a listener to the results; only while the node is active."""
        suffix = "/compressed" if message_type is CompressedImage else ""
        topic = f"/{self.process.name}/image_raw{suffix}"
        publisher = self.client.publisher(message_type, topic, qos)
        objects = self.client.collect(ReferredObjectArray, f"/{self.process.name}/objects")
        try:
            yield Camera(self.client, publisher, objects)
        finally:
            self.client.node.destroy_publisher(publisher)
            self.client.drop(objects)


@contextlib.contextmanager
def lifecycle_stage(name: str, **parameters: Any) -> Iterator[LifecycleStage]:
    """A node in a process of its own, with these parameters."""
    with running_node(name=name, parameters=parameters) as process:
        client = Client()
        try:
            yield LifecycleStage(process, client, client.collect(DiagnosticArray, "/diagnostics"))
        finally:
            client.close()


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def described(result: ReferredObjectArray) -> list[tuple[str, str]]:
    return [(one.command_id, one.command) for one in result.objects]


def mask_of(one: ReferredObject) -> np.ndarray:
    return run_lengths.decode(one.mask.counts, one.mask.height, one.mask.width)
