# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from referdino_core.ops import BUILD_COMMAND
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.loading import OtherProcessorError, libraries
from referdino_core.world import WorldRenderer, WorldUnavailable
from referdino_core.world.renderer import import_mujoco


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test.

    A shell starts background jobs with Ctrl-C ignored, which every process below would inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end one process would work while the others wait."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Give PyTorch back the number of threads that it had: commands choose their own."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors gain little from threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Give the log back its level: programs choose their own."""
    logger = logging.getLogger("referdino")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture
def two_threads() -> None:
    """As many threads as it takes to get in each other's way; `threads` takes that back."""
    torch.set_num_threads(2)


@pytest.fixture
def without_gradients() -> Iterator[None]:
    """As the prepared stages run."""
    with torch.inference_mode():
        yield


@pytest.fixture(params=libraries() or [None], ids=lambda path: path.stem if path else "none")
def kernel(request: pytest.FixtureRequest) -> KernelLibrary:
    """The fused CPU kernels, once for every library that this processor can run."""
    assert request.param is not None, f"build it with: {BUILD_COMMAND}"
    try:
        return KernelLibrary(request.param)
    except OtherProcessorError as error:
        pytest.skip(str(error))


@pytest.fixture
def mujoco() -> ModuleType:
    """MuJoCo as the packages import it: imported first elsewhere, it would look for a display."""
    try:
        return import_mujoco()
    except WorldUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def renderer() -> Iterator[WorldRenderer]:
    """A renderer of the world, where there is OpenGL."""
    try:
        world = WorldRenderer()
    except WorldUnavailable as error:
        pytest.skip(str(error))
    with world:
        yield world
