# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from referdino_core.world import WorldRenderer, WorldUnavailable


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test.

    A shell starts background jobs with Ctrl-C ignored, which every process below would inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def renderer() -> Iterator[WorldRenderer]:
    """A renderer of the world, where there is OpenGL."""
    try:
        world = WorldRenderer()
    except WorldUnavailable as error:
        pytest.skip(str(error))
    with world:
        yield world
