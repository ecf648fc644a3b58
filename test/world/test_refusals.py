# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the MuJoCo world refuses, and what it says where it cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from referdino_core.errors import ReferDINOError
from referdino_core.world import WorldRenderer, WorldSettings, WorldUnavailable


@pytest.mark.parametrize(
    "values", [{"width": 0}, {"height": 5000}, {"frames": 0}, {"frame_rate": float("nan")}]
)
def test_settings_out_of_range_are_refused_by_name(values: dict[str, float]) -> None:
    with pytest.raises(ReferDINOError, match=next(iter(values))):
        WorldSettings(**values)  # type: ignore[arg-type]


def test_bad_requests_are_refused_and_the_next_good_one_works(renderer: WorldRenderer) -> None:
    with pytest.raises(ReferDINOError, match="use one of train, validation, test"):
        renderer.clip("exam", 0)  # type: ignore[arg-type]
    with pytest.raises(ReferDINOError, match="whole number from 0"):
        renderer.clip("train", -1)
    assert renderer.clip("train", 0).index == 0


def test_a_closed_renderer_says_so() -> None:
    try:
        renderer = WorldRenderer()
    except WorldUnavailable as error:
        pytest.skip(str(error))
    renderer.close()
    with pytest.raises(ReferDINOError, match="closed"):
        renderer.clip("train", 0)


REPORT_ERROR = """
from referdino_core.world import WorldRenderer, WorldUnavailable
try:
    WorldRenderer()
except WorldUnavailable as error:
    print(error)
"""


def error_without(environment: dict[str, str], preparation: str = "") -> str:
    result = subprocess.run(
        [sys.executable, "-c", preparation + REPORT_ERROR],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_missing_mujoco_is_one_line_that_says_what_to_install() -> None:
    message = error_without({}, "import sys; sys.modules['mujoco'] = None\n")
    assert "pip install mujoco" in message


@pytest.mark.usefixtures("mujoco")
@pytest.mark.skipif(sys.platform != "linux", reason="EGL is chosen on Linux only")
def test_missing_opengl_is_one_line_that_says_what_to_install() -> None:
    message = error_without(
        {"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent.json"}
    )
    assert "libegl1" in message


@pytest.mark.usefixtures("mujoco")
@pytest.mark.skipif(sys.platform != "linux", reason="EGL is chosen on Linux only")
def test_mujoco_that_was_imported_for_a_window_system_is_one_line_without_a_display() -> None:
    without_display = {"MUJOCO_GL": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    message = error_without(without_display, "import mujoco\n")
    assert "MUJOCO_GL=egl before MuJoCo is imported" in message
