# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Faults in the middle of every transition: the node holds nothing twice and starts anew."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_in_process import holdings, node_in_process
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn
from ros_harness import PATIENCE

from referdino_core.errors import RuntimeUnavailable
from referdino_core.progress import ProgressMonitor
from referdino_ros import image_input, referdino_node
from referdino_ros.command_input import CommandInput
from referdino_ros.diagnostics import diagnostic_array
from referdino_ros.image_input import ImageInput
from referdino_ros.model_worker import ModelWorker
from referdino_ros.referdino_node import ReferDINONode
from referdino_ros.result_publishers import ResultPublishers
from referdino_ros.subscription_thread import SubscriptionThread

pytestmark = pytest.mark.ros

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


@pytest.fixture
def node() -> Iterator[ReferDINONode]:
    with node_in_process() as made:
        yield made


def state(node: ReferDINONode) -> str:
    return node._state_machine.current_state[1]


def status(node: ReferDINONode) -> DiagnosticStatus:
    now = node.get_clock().now().to_msg()
    return diagnostic_array("referdino", now, node._health()).status[0]


def fail(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("injected fault")


def failing_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def run_and_fail(*arguments: Any, **options: Any) -> Any:
        function(*arguments, **options)
        fail()

    return run_and_fail


def failing_at_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[int] = []

    def run_or_fail(*arguments: Any, **options: Any) -> Any:
        calls.append(len(calls))
        return fail() if len(calls) == number else function(*arguments, **options)

    return run_or_fail


def assert_as_new(node: ReferDINONode, before: Counter[str]) -> None:
    """The node holds what it held at first, and can be started as if nothing had been."""
    assert state(node) == "unconfigured"
    assert holdings(node) == before
    assert (status(node).level, "injected fault" in status(node).message) == (
        DiagnosticStatus.ERROR,
        True,
    )
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        assert status(node).level == DiagnosticStatus.OK
        held = holdings(node) - before
        assert held["thread referdino model"] == 1
        assert held["thread referdino images"] == 1
        assert held["thread referdino commands"] == 1
        assert held["publisher /referdino/objects"] == 1
        assert held["service ~/set_commands"] == 1
        assert held["subscription /image_raw"] == 1
        assert held["subscription /referdino/command"] == 2  # transient-local and volatile
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        assert holdings(node) == before


@pytest.mark.parametrize("where", ["publisher", "service", "command thread", "model", "afterwards"])
def test_a_fault_while_configuring_leaves_nothing_behind(
    node: ReferDINONode, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = holdings(node)
    with monkeypatch.context() as patched:
        if where == "publisher":
            create = failing_at_call(3, node.create_lifecycle_publisher)
            patched.setattr(node, "create_lifecycle_publisher", create)
        elif where == "service":
            patched.setattr(node, "create_service", fail)
        elif where == "command thread":
            patched.setattr(SubscriptionThread, "__init__", fail)
        elif where == "model":
            patched.setattr(referdino_node, "load_cameras", fail)
        else:
            patched.setattr(LifecycleNodeMixin, "on_configure", fail)
        assert node.trigger_configure() == (ERROR if where == "afterwards" else FAILURE)

    assert_as_new(node, before)


@pytest.mark.parametrize("where", ["publishers", "subscription", "image thread"])
def test_a_fault_while_activating_leaves_nothing_behind(
    node: ReferDINONode, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = holdings(node)
    assert node.trigger_configure() == SUCCESS
    with monkeypatch.context() as patched:
        if where == "publishers":
            patched.setattr(LifecycleNodeMixin, "on_activate", fail)
        elif where == "subscription":
            patched.setattr(node, "create_subscription", fail)
        else:
            patched.setattr(image_input, "SubscriptionThread", fail)
        assert node.trigger_activate() == ERROR

    assert_as_new(node, before)


@pytest.mark.parametrize("where", ["images", "image thread", "publishers"])
def test_a_fault_while_deactivating_leaves_nothing_behind(
    node: ReferDINONode, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = holdings(node)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    with monkeypatch.context() as patched:
        if where == "images":
            patched.setattr(ImageInput, "close", failing_after(ImageInput.close))
        elif where == "image thread":
            close = failing_after(SubscriptionThread.close)
            patched.setattr(SubscriptionThread, "close", close)
        else:
            patched.setattr(LifecycleNodeMixin, "on_deactivate", fail)
        assert node.trigger_deactivate() == ERROR

    assert_as_new(node, before)


RELEASES = {
    "commands": (CommandInput, "close"),
    "command thread": (SubscriptionThread, "close"),
    "model": (ModelWorker, "stop"),
    "results": (ResultPublishers, "destroy"),
}


@pytest.mark.parametrize("where", [*RELEASES, "afterwards"])
def test_a_fault_while_cleaning_up_leaves_nothing_behind(
    node: ReferDINONode, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = holdings(node)
    with monkeypatch.context() as patched:
        owner, name = RELEASES.get(where, (LifecycleNodeMixin, "on_cleanup"))
        patched.setattr(owner, name, failing_after(getattr(owner, name)))
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_cleanup() == ERROR

    assert_as_new(node, before)


@pytest.mark.parametrize("where", RELEASES)
def test_a_fault_while_shutting_down_does_not_hinder_the_end(
    node: ReferDINONode, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = holdings(node)
    owner, name = RELEASES[where]
    monkeypatch.setattr(owner, name, failing_after(getattr(owner, name)))
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS

    assert node.trigger_shutdown() == SUCCESS

    assert state(node) == "finalized"
    assert holdings(node) == before
    assert "injected fault" in status(node).message


def test_a_fault_in_error_processing_leaves_nothing_behind(
    node: ReferDINONode, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = holdings(node)
    with monkeypatch.context() as patched:
        patched.setattr(ResultPublishers, "destroy", failing_after(ResultPublishers.destroy))
        assert node.trigger_configure() == SUCCESS
        patched.setattr(image_input, "SubscriptionThread", fail)
        assert node.trigger_activate() == ERROR

    assert_as_new(node, before)


def test_a_node_that_is_closed_while_it_configures_reports_no_error(
    node: ReferDINONode, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = threading.Event()

    def load_until_cancelled(parameters: Any, monitor: ProgressMonitor, *others: Any) -> Any:
        loading.set()
        assert monitor.cancelled.wait(PATIENCE)
        raise RuntimeUnavailable("The preparation was cancelled.")

    monkeypatch.setattr(referdino_node, "load_cameras", load_until_cancelled)
    with ThreadPoolExecutor() as pool:
        configured = pool.submit(node.trigger_configure)
        assert loading.wait(PATIENCE)
        node.close()  # as on a signal, before rclpy has shut the context down
        assert configured.result(PATIENCE) == FAILURE

    assert node.context.ok()
    assert node.errors.count == 0
