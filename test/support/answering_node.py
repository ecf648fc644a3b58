# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A running node with a camera and listeners, for tests of what it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from referdino.msg import Command, ReferredObject, ReferredObjectArray
from referdino.srv import SetCommands
from ros_harness import Camera, Client, Collector, NodeProcess

from referdino_core.messages import run_lengths


@dataclass
class Stage:
    """The node under test and everything that is connected to it."""

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


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def described(answer: ReferredObjectArray) -> list[tuple[str, str]]:
    return [(one.command_id, one.command) for one in answer.objects]


def mask_of(one: ReferredObject) -> np.ndarray:
    return run_lengths.decode(one.mask.counts, one.mask.height, one.mask.width)
