# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A node that takes its time from `/clock` says so when the clock is silent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ros_harness import RELIABLE, Client, Collector, NodeProcess, running_node, wait_until
from rosgraph_msgs.msg import Clock

pytestmark = pytest.mark.ros

NODE = "clock_node"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


@pytest.fixture(scope="module")
def process() -> Iterator[NodeProcess]:
    parameters = {"use_sim_time": True, "no_image_warning": 1.0}
    with running_node(name=NODE, parameters=parameters) as made:
        yield made


@pytest.fixture(scope="module")
def diagnostics(process: NodeProcess, client: Client) -> Collector:
    return client.collect(DiagnosticArray, "/diagnostics")


def message_of(status: DiagnosticArray) -> str:
    return status.status[0].message


def test_a_silent_clock_is_one_line_and_health_is_watched_all_the_same(
    process: NodeProcess, client: Client, diagnostics: Collector
) -> None:
    line = process.wait_for_log("[WARN]", "/clock is silent")
    assert "use_sim_time is true" in line
    assert "it has no publisher" in line
    assert "stands still at 0.000 s" in line
    assert "ros2 bag play --clock" in line
    process.wait_for_log("Active: processing images")  # the node started by itself

    warned = diagnostics.wait_for(
        lambda one: "/clock is silent" in message_of(one), start=len(diagnostics.messages)
    )
    assert warned is not None
    assert warned.status[0].level == DiagnosticStatus.WARN
    assert {one.key: one.value for one in warned.status[0].values}["clock"] == message_of(warned)
    process.wait_for_log("[WARN]", f"No image on /{NODE}/image_raw")
    start = len(diagnostics.messages)
    wait_until(lambda: len(diagnostics.messages) >= start + 4, "four more diagnostics")
    assert len(process.lines_with("/clock is silent")) == 1


def test_a_clock_that_starts_and_stops_is_reported_again(
    process: NodeProcess, client: Client, diagnostics: Collector
) -> None:
    process.wait_for_log("/clock is silent")
    start = len(process.log)
    clock = client.publisher(Clock, "/clock", RELIABLE)
    told = len(diagnostics.messages)

    def running() -> bool:
        clock.publish(Clock(clock=client.next_stamp()))
        return any("/clock is silent" not in message_of(one) for one in diagnostics.messages[told:])

    wait_until(running, "diagnostics without the silent clock")

    line = process.wait_for_log("[WARN]", "/clock is silent (publishers: 1)", start=start)
    assert "stands still at 0.000 s" not in line
    client.node.destroy_publisher(clock)
