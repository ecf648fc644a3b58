# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `referdino`: images and commands in, referred objects out."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from referdino_core.errors import ReferDINOError, one_line
from referdino_core.progress import Progress, ProgressMonitor
from referdino_ros.camera import Camera, process_images
from referdino_ros.command_input import CommandInput
from referdino_ros.diagnostics import CameraHealth, ClockMonitor, NodeHealth, diagnostic_array
from referdino_ros.error_log import ErrorLog
from referdino_ros.managed_node import ManagedNode, reporting_faults
from referdino_ros.messages import ReceivedImage, pass_on_skipped
from referdino_ros.model_loading import load_cameras, wait_until_loaded
from referdino_ros.model_worker import ModelWorker
from referdino_ros.parameters import NodeParameters
from referdino_ros.process import forward_core_log, run_node, stop_forwarding

if TYPE_CHECKING:
    from referdino_core import SessionSettings
    from referdino_core.session.peer_cameras import AnyCameraGroup


class ReferDINONode(ManagedNode):
    """Lifecycle node that publishes, for the newest image, the objects that the commands refer to.

    It serves one or several cameras with one model. Configuring loads the model in a thread that
    owns it from then on; activating subscribes to the cameras; deactivating unsubscribes and keeps
    commands and model; cleaning up frees them.

    Raises:
        ReferDINOError: a parameter has an invalid value.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("referdino", **node_options)
        self._command_group = MutuallyExclusiveCallbackGroup()
        self._settings = NodeParameters(self, self._is_unconfigured, self._change_settings)
        self.errors = ErrorLog(
            lambda line: self.get_logger().error(line), lambda: self._settings["error_log_period"]
        )
        self._worker: ModelWorker[AnyCameraGroup, ReceivedImage] | None = None
        self._cameras: tuple[Camera, ...] = ()
        self._loading_since: float | None = None
        self._preparing = ""
        self._cancelled = threading.Event()
        self._transition_error = ""
        self._configured_since: float | None = None
        self._core_log = forward_core_log(self.get_logger())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._clock_monitor = ClockMonitor(self)
        self.create_timer(1.0, self._every_second, clock=self.steady_clock)
        if self._settings["autostart"]:
            self.start_soon()

    # ---- Lifecycle ------------------------------------------------------------------------

    @reporting_faults
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, then accept commands. The node stays unconfigured if that fails."""
        try:
            for topics in self._settings.cameras:
                camera = Camera(self, topics, self._settings)
                self.held.callback(camera.destroy)
                self._cameras += (camera,)
            commands = CommandInput(
                self,
                self._load(),
                self._settings.cameras,
                self._command_group,
                limit=lambda: self._settings["max_commands"],
                on_change=self._update_views,
                errors=self.errors,
            )
            self.held.callback(commands.close)
        except Exception as error:
            self.release()
            if self.ending:
                return TransitionCallbackReturn.FAILURE
            if not isinstance(error, ReferDINOError):
                self.get_logger().debug(traceback.format_exc())
            self._transition_error = (
                f"Cannot configure: {one_line(error)} Correct the parameters, then run: "
                f"ros2 lifecycle set {self.get_fully_qualified_name()} configure"
            )
            self.errors.report("configure", self._transition_error)
            return TransitionCallbackReturn.FAILURE
        self._transition_error = ""
        self._configured_since = time.monotonic()
        return super().on_configure(state)

    @reporting_faults
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras."""
        outcome = super().on_activate(state)
        worker = self._worker
        assert worker is not None, "configuring made it"
        topics = [
            camera.subscribe(functools.partial(worker.slots.put, number))
            for number, camera in enumerate(self._cameras)
        ]
        self.get_logger().info(f"Active: processing images of {', '.join(topics)}.")
        return outcome

    @reporting_faults
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, and return once nothing more will be published."""
        self._unsubscribe()
        # Results of a runtime that is still being prepared are not published.
        if self._worker is not None and not self._preparing:
            self._worker.slots.clear()
            concurrent.futures.wait([self._worker.call(lambda group: None)])
        return super().on_deactivate(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything after a transition that raised, and say how to start again."""
        outcome = super().on_error(state)
        if not self.ending:
            self.get_logger().warning(
                "Model, commands and topics were released. To start again, run: ros2 lifecycle set "
                f"{self.get_fully_qualified_name()} configure"
            )
        return outcome

    def report_fault(self, transition: str, error: Exception) -> None:
        """Log the exception of a transition, and keep it for diagnostics."""
        if self.ending:
            return
        self.get_logger().debug("".join(traceback.format_exception(error)))
        self._transition_error = f"The transition {transition} failed: {one_line(error)}"
        self.errors.report("transition", self._transition_error)

    def close(self) -> None:
        """Release everything at the end of the process; ROS may already be shut down."""
        super().close()
        stop_forwarding(self._core_log)

    def _is_unconfigured(self) -> bool:
        return self.lifecycle_label == "unconfigured"

    # ---- Model -----------------------------------------------------------------------------

    def _load(self) -> ModelWorker[AnyCameraGroup, ReceivedImage]:
        """Start the worker; returns it once its model is loaded."""
        model, device = self._settings.model, self._settings["device"]
        self.get_logger().info(f"Loading PyTorch and the model {model} on {device}.")
        began = self._loading_since = time.monotonic()
        self._cancelled = threading.Event()
        self._worker = ModelWorker(
            load=self._load_cameras,
            handle_frames=self._process,
            on_error=self._report_failure,
            cameras=len(self._cameras),
            on_replace=pass_on_skipped,
        )
        self.held.callback(self._worker.stop)
        self._worker.start()
        try:
            wait_until_loaded(self._worker.loaded, self, lambda: self._preparing or "loading")
        finally:
            self._loading_since = None
        self.get_logger().info(f"The model is ready after {time.monotonic() - began:.1f} s.")
        return self._worker

    def _load_cameras(self) -> AnyCameraGroup:
        """Runs in the worker's thread."""
        monitor = ProgressMonitor(self._note_progress, self._cancelled)
        group = load_cameras(self._settings, monitor, self.get_logger(), self.errors)
        self._update_views(group)
        return group

    def _note_progress(self, progress: Progress) -> None:
        """Note the progress of a runtime's preparation; called from any thread."""
        done = progress.fraction >= 1.0
        self._preparing = "" if done else f"{progress.phase}, {progress.fraction:.0%}"

    def _update_views(self, group: AnyCameraGroup) -> None:
        """Runs in the worker's thread."""
        for number, camera in enumerate(self._cameras):
            camera.update_view(group.sessions[number])

    def _change_settings(self, settings: SessionSettings) -> None:
        def change(group: AnyCameraGroup) -> None:
            group.settings = settings

        if self._worker is not None:
            self._worker.call(change)

    def _unsubscribe(self) -> None:
        for camera in self._cameras:
            camera.unsubscribe()

    def release(self) -> None:
        """Free the model and forget the commands, despite exceptions."""
        self._cancelled.set()
        # Unsubscribed first: what is held last is released first.
        self.held.callback(self._unsubscribe)
        try:
            super().release()
        finally:
            self._cameras, self._worker = (), None
            self._preparing = ""
            self._configured_since = None

    # ---- Images ----------------------------------------------------------------------------

    def _process(self, group: AnyCameraGroup, received: Mapping[int, ReceivedImage]) -> None:
        """Process the newest images of the cameras; runs in the worker's thread."""
        process_images(group, self._cameras, received, self._reports_failures)
        self._preparing = ""

    def _reports_failures(self) -> bool:
        """Whether to report failures: not while the process ends or the model is freed."""
        return not self.ending and not self._cancelled.is_set()

    def _report_failure(self, error: Exception) -> None:
        """Runs in the worker's thread."""
        if not self._reports_failures():
            return
        self._preparing = ""
        self.get_logger().debug("".join(traceback.format_exception(error)))
        self.errors.report("internal", f"Images could not be processed: {one_line(error)}")

    # ---- Health ----------------------------------------------------------------------------

    def _every_second(self) -> None:
        self._clock_monitor.check()
        for camera in self._cameras:
            camera.check_input()
        self._diagnostics.publish(
            diagnostic_array(
                self.get_fully_qualified_name(), self.get_clock().now().to_msg(), self._health()
            )
        )

    def _health(self) -> NodeHealth:
        worker = self._worker
        cameras = [
            camera.health(worker.slots.received(number), worker.slots.replaced(number))
            for number, camera in enumerate(self._cameras)
            if worker is not None
        ]
        return NodeHealth(
            lifecycle=self.lifecycle_label,
            transition_error=self._transition_error,
            now=time.monotonic(),
            loading_since=self._loading_since,
            preparing=self._preparing,
            clock=self._clock_monitor.problem,
            silence_limit=self._settings["no_image_warning"],
            errors=self.errors.count,
            last_error=self.errors.last,
            configured_since=self._configured_since,
            cameras=cameras or [CameraHealth()],
        )


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or a ROS shutdown; returns the exit status."""
    # Otherwise PyTorch's threads busy-wait and take the cores that DDS needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return run_node("referdino", ReferDINONode, args, close=ReferDINONode.close)


if __name__ == "__main__":
    sys.exit(main())
