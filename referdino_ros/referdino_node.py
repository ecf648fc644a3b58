# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The life cycle node `referdino`: images and commands in, referred objects out."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
import rclpy.exceptions
import rclpy.logging
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn

from referdino_core.errors import ReferDINOError
from referdino_core.media.compressed_image_messages import compressed_image_to_rgb
from referdino_core.media.image_messages import image_to_rgb
from referdino_core.messages.results import Verdict
from referdino_ros.clock_watch import ClockWatch
from referdino_ros.command_input import CommandInput
from referdino_ros.diagnostics import NodeHealth, SessionView, diagnostic_array, view_of
from referdino_ros.error_log import ErrorLog, one_line
from referdino_ros.image_input import ImageInput
from referdino_ros.logging_bridge import forward_core_log, stop_forwarding
from referdino_ros.model_loading import load_session, wait_until_loaded
from referdino_ros.model_worker import ModelWorker
from referdino_ros.parameters import NodeParameters, TakesIntegersForDoubles
from referdino_ros.received_image import ReceivedImage, hand_over_skipped, image_age
from referdino_ros.result_publishers import ResultPublishers
from referdino_ros.spinning import spin_until_shutdown
from referdino_ros.stream_statistics import StreamStatistics
from referdino_ros.transitions import refuse_impossible_transitions, with_faults_told

if TYPE_CHECKING:
    from referdino_core import Session, SessionSettings


class ReferDINONode(LifecycleNodeMixin, TakesIntegersForDoubles):
    """Answers every image that it has time for with the objects that the commands refer to.

    Configuring loads the model in a thread that owns it from then on; activating subscribes to
    the camera; deactivating unsubscribes and keeps commands and model; cleaning up frees them.

    Raises:
        ReferDINOError: a parameter has a value that is not allowed.
    """

    def __init__(self, **node_options: Any) -> None:
        TakesIntegersForDoubles.__init__(self, "referdino", **node_options)
        # Apart from everything else, so that its state can be asked for while the model loads.
        self._life_cycle_group = ReentrantCallbackGroup()
        LifecycleNodeMixin.__init__(self, callback_group=self._life_cycle_group)
        self._command_group = MutuallyExclusiveCallbackGroup()
        self._settings = NodeParameters(self, self._is_unconfigured, self._change_settings)
        self._errors = ErrorLog(
            lambda line: self.get_logger().error(line), lambda: self._settings["error_log_period"]
        )
        self._statistics = StreamStatistics()
        self._worker: ModelWorker[Session, ReceivedImage] | None = None
        self._images: ImageInput | None = None
        self._results: ResultPublishers | None = None
        self._held = contextlib.ExitStack()
        self._view = SessionView()
        self._loading_since: float | None = None
        self._preparing = ""
        self._cancelled = threading.Event()
        self._transition_error = ""
        self._configured_since: float | None = None
        self._convert: Callable[[Any], np.ndarray] = image_to_rgb
        self._service_change_state.callback = refuse_impossible_transitions(
            self._service_change_state.callback, self._life_cycle_label, self.get_logger()
        )
        self._core_log = forward_core_log(self.get_logger())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Health is watched also while the node's own time stands still, as without a /clock.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._clock_watch = ClockWatch(self)
        self.create_timer(1.0, self._every_second, clock=steady)
        if self._settings["autostart"]:
            self._start_timer = self.create_timer(
                0.0, self._start, callback_group=self._life_cycle_group, clock=steady
            )

    # ---- Life cycle ------------------------------------------------------------------------

    @with_faults_told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, then take commands. Stays unconfigured when that fails."""
        try:
            self._results = ResultPublishers(self)
            self._held.callback(self._results.destroy)
            commands = CommandInput(
                self,
                self._load(),
                self._command_group,
                limit=lambda: self._settings["max_commands"],
                on_change=self._show,
                errors=self._errors,
            )
            self._held.callback(commands.close)
        except Exception as error:
            self._release()
            if not self.context.ok():
                return TransitionCallbackReturn.FAILURE  # the process is ending
            if not isinstance(error, ReferDINOError):
                self.get_logger().debug(traceback.format_exc())
            self._transition_error = (
                f"Cannot configure: {one_line(error)} Set the parameters right, then run: "
                f"ros2 lifecycle set {self.get_fully_qualified_name()} configure"
            )
            self._errors.report("configure", self._transition_error)
            return TransitionCallbackReturn.FAILURE
        self._transition_error = ""
        self._configured_since = time.monotonic()
        return super().on_configure(state)

    @with_faults_told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        outcome = super().on_activate(state)
        transport = self._settings["image_transport"]
        self._convert = compressed_image_to_rgb if transport == "compressed" else image_to_rgb
        self._images = ImageInput(self, transport, self._settings["image_qos"], self._receive)
        self.get_logger().info(f"Active: answering images of {self._images.topic}.")
        return outcome

    @with_faults_told
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, and return once nothing more will be published."""
        self._stop_images()
        # What a runtime that is still getting ready comes to then is not published.
        if self._worker is not None and not self._preparing:
            self._worker.slot.clear()
            concurrent.futures.wait([self._worker.call(lambda session: None)])
        return super().on_deactivate(state)

    @with_faults_told
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and forget the commands."""
        self._release()
        return super().on_cleanup(state)

    @with_faults_told
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whichever state; a fault in that does not hinder the end."""
        try:
            self._release()
        except Exception as error:
            self.tell_fault("shutdown", error)
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything after a transition that raised; the node is then unconfigured."""
        try:
            self._release()
        except Exception as error:
            self.tell_fault("error processing", error)
        if self.context.ok():
            self.get_logger().warning(
                "Model, commands and topics were released. To start again, run: ros2 lifecycle set "
                f"{self.get_fully_qualified_name()} configure"
            )
        return super().on_error(state)

    def tell_fault(self, transition: str, error: Exception) -> None:
        """Log what a transition raised, and keep it for diagnostics."""
        if not self.context.ok():
            return  # the process is ending
        self.get_logger().debug("".join(traceback.format_exception(error)))
        self._transition_error = f"The transition {transition} failed: {one_line(error)}"
        self._errors.report("transition", self._transition_error)

    def close(self) -> None:
        """Free everything at the end of the process; ROS may already be shut down."""
        try:
            self._release()
        except Exception as error:
            self.tell_fault("shutdown", error)
        finally:
            stop_forwarding(self._core_log)

    def _start(self) -> None:
        self._start_timer.cancel()
        if not self._is_unconfigured():
            return  # a life cycle manager was faster
        try:
            if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                self.trigger_activate()
        except Exception:
            if self.context.ok():  # at the end of the process a transition cannot be announced
                raise

    def _is_unconfigured(self) -> bool:
        return self._life_cycle_label() == "unconfigured"

    def _life_cycle_label(self) -> str:
        return self._state_machine.current_state[1]

    # ---- Model -----------------------------------------------------------------------------

    def _load(self) -> ModelWorker[Session, ReceivedImage]:
        """Start the worker, and return it once it has its model."""
        model, device = self._settings.model, self._settings["device"]
        self.get_logger().info(f"Loading PyTorch and the model {model} on {device}.")
        began = self._loading_since = time.monotonic()
        self._statistics = StreamStatistics()
        self._cancelled = threading.Event()
        self._worker = ModelWorker(
            load=self._session,
            handle_frame=self._answer,
            on_error=self._report_failure,
            on_replace=hand_over_skipped,
        )
        self._held.callback(self._worker.stop)
        self._worker.start()
        try:
            wait_until_loaded(self._worker.loaded, self, lambda: self._preparing or "loading")
        finally:
            self._loading_since = None
        self.get_logger().info(f"The model is ready after {time.monotonic() - began:.1f} s.")
        return self._worker

    def _session(self) -> Session:
        """Runs in the worker's thread."""
        watch = (self._note_progress, self._cancelled)
        session = load_session(self._settings, *watch, self.get_logger(), self._errors)
        self._show(session)
        return session

    def _note_progress(self, fraction: float, phase: str) -> None:
        """Hear how far a runtime is with getting ready; from any thread."""
        self._preparing = "" if fraction >= 1.0 else f"{phase}, {fraction:.0%}"

    def _show(self, session: Session) -> None:
        """Runs in the worker's thread."""
        self._view = view_of(session)

    def _change_settings(self, settings: SessionSettings) -> None:
        def change(session: Session) -> None:
            session.settings = settings

        if self._worker is not None:
            self._worker.call(change)

    def _stop_images(self) -> None:
        images, self._images = self._images, None
        if images is not None:
            images.close()

    def _release(self) -> None:
        """Let go of everything that transitions made, last first, even if a part of it raises."""
        held, self._held = self._held, contextlib.ExitStack()
        self._cancelled.set()
        try:
            with held:
                self._stop_images()
        finally:
            self._results = self._worker = None
            self._view = SessionView()
            self._preparing = ""
            self._configured_since = None

    # ---- Images ----------------------------------------------------------------------------

    def _receive(self, message: Any) -> None:
        worker = self._worker
        if worker is not None:
            worker.slot.put(ReceivedImage(message, time.monotonic()))

    def _answer(self, session: Session, image: ReceivedImage) -> None:
        """Runs in the worker's thread."""
        header = image.message.header
        for stamp in image.skipped:
            if stamp is not None:
                session.skip(stamp)
        try:
            pixels = self._convert(image.message)
            began = time.monotonic()
            targets = session.step(pixels, stamp=image.stamp)
        except Exception as error:
            self._publish_failure(session, image, error)
            raise
        inference = time.monotonic() - began
        results = self._results
        if results is None or self._images is None:
            return
        verdict = Verdict(session.judgement, session.reason, len(image.skipped))
        results.publish_objects(header, targets, verdict)
        quality = self._settings["overlay_jpeg_quality"]
        results.publish_pictures(header, pixels, targets, quality)
        age = image_age(self.get_clock().now(), header.stamp)
        self._statistics.record(time.monotonic() - image.received, inference, age)
        self._show(session)

    def _publish_failure(self, session: Session, image: ReceivedImage, error: Exception) -> None:
        """Tell consumers that an image was not judged; runs in the worker's thread."""
        from referdino_core.session import Judgement

        if image.stamp is not None:
            session.skip(image.stamp)
        self._show(session)
        results = self._results
        if results is None or self._images is None or self._cancelled.is_set():
            return
        verdict = Verdict(Judgement.FAILED, one_line(error), len(image.skipped))
        targets = session.unjudged(session.image_size or (0, 0), Judgement.FAILED)
        results.publish_objects(image.message.header, targets, verdict)

    def _report_failure(self, error: Exception) -> None:
        """Runs in the worker's thread."""
        if not self.context.ok() or self._cancelled.is_set():
            return  # the process is ending, or the model is being freed: nobody waits any more
        self._preparing = ""
        if isinstance(error, ReferDINOError):
            self._errors.report("image", str(error))
            return
        self.get_logger().debug("".join(traceback.format_exception(error)))
        self._errors.report("internal", f"An image could not be answered: {one_line(error)}")

    # ---- Health ----------------------------------------------------------------------------

    def _every_second(self) -> None:
        self._clock_watch.look()
        images = self._images
        if images is not None:
            images.report_incompatible_publishers()
            images.warn_about_silence(self._settings["no_image_warning"])
        self._diagnostics.publish(
            diagnostic_array(
                self.get_fully_qualified_name(), self.get_clock().now().to_msg(), self._health()
            )
        )

    def _health(self) -> NodeHealth:
        now = time.monotonic()
        images, worker, view, last = self._images, self._worker, self._view, self._errors.last
        return NodeHealth(
            life_cycle=self._life_cycle_label(),
            transition_error=self._transition_error,
            loading=None if self._loading_since is None else now - self._loading_since,
            model=view.model,
            device=view.device,
            runtime=view.runtime,
            preparing=self._preparing,
            commands=view.commands,
            topic=images.topic if images else "",
            publishers=len(images.publishers()) if images else 0,
            clock=self._clock_watch.complaint,
            silence=images.silence if images else None,
            silence_limit=self._settings["no_image_warning"],
            received=worker.slot.received if worker else 0,
            dropped=worker.slot.replaced if worker else 0,
            stream=self._statistics.report(),
            errors=self._errors.count,
            last_error=last.message if last else "",
            last_error_age=None if last is None else now - last.time,
            configured=None if self._configured_since is None else now - self._configured_since,
            last_reset=view.last_reset,
            resets=view.resets,
            late=view.late,
            failed=view.failed,
        )


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or a ROS shutdown; returns the exit status."""
    # PyTorch's threads otherwise spin while they wait, and take the cores that DDS needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    rclpy.init(args=args)
    try:
        node = ReferDINONode()
    except (ReferDINOError, rclpy.exceptions.ParameterException) as error:
        rclpy.logging.get_logger("referdino").fatal(f"Cannot start: {one_line(error)}")
        rclpy.try_shutdown()
        return 1
    try:
        spin_until_shutdown(node)
    finally:
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
