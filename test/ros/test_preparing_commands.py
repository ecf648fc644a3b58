# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What diagnostics say of commands whose sentence the runtime still gets ready for."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from session_samples import small_model

import referdino_core as rd
from referdino_core.backends.backend import Preparation
from referdino_core.backends.torch_backend import TorchBackend
from referdino_ros.diagnostics import CameraHealth, NodeHealth, diagnostic_array, view_of

IMAGE = np.zeros((96, 128, 3), dtype=np.uint8)


class SlowBackend(TorchBackend):
    """PyTorch's stages, which pretend that sentences of more than 8 tokens take long."""

    state: Preparation | None = Preparation(0.42)

    def preparation(self, tokens: int, size: tuple[int, int] | None) -> Preparation | None:
        return self.state if tokens > 8 else None


def status_of(session: rd.Session) -> DiagnosticStatus:
    camera = CameraHealth(view=view_of(session), topic="/image_raw")
    health = NodeHealth("active", "", 10.0, None, "", "", 0.0, 0, None, 1.0, (camera,))
    return diagnostic_array("referdino", Time(), health).status[0]


def test_a_command_that_a_pretended_runtime_gets_ready_for_is_reported_until_it_joins() -> None:
    session = rd.Session(small_model(), runtime="torch")
    backend = SlowBackend(session.model, "fp32")
    session.backend = backend
    session.commands = {"a": "the red ball", "b": "the small blue box on the left of the ball"}
    first, second = session.step(IMAGE)
    assert first.score > 0 and len(session.running["a"].memory.window) == 1
    assert (second.score, second.state) == (0.0, rd.TargetState.SEARCHING)

    status = status_of(session)
    assert (status.level, status.message) == (DiagnosticStatus.WARN, "Running; 'b' preparing 42%.")
    values = {one.key: one.value for one in status.values}
    assert values["commands"].endswith("the ball' (preparing 42%)")

    backend.state = Preparation(0.42, "ExportError: The disk is full.")
    assert "'b' cannot join: ExportError: The disk is full." in status_of(session).message

    backend.state = None
    assert session.step(IMAGE)[1].score > 0
    assert (status_of(session).level, status_of(session).message) == (
        DiagnosticStatus.OK,
        "Running.",
    )
