# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The life cycle node `referdino`: images and commands in, referred objects out."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
import rclpy.exceptions
import rclpy.logging
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.time import Time

from referdino_core.errors import ReferDINOError
from referdino_core.media.compressed_image_messages import compressed_image_to_rgb
from referdino_core.media.image_messages import image_to_rgb
from referdino_core.messages.results import Verdict
from referdino_ros.command_input import CommandInput
from referdino_ros.commands import received_text
from referdino_ros.diagnostics import NodeHealth, diagnostic_array
from referdino_ros.error_log import ErrorLog, one_line
from referdino_ros.image_input import ImageInput
from referdino_ros.logging_bridge import forward_core_log, stop_forwarding
from referdino_ros.model_worker import ModelWorker, WorkerStopped
from referdino_ros.parameters import NodeParameters
from referdino_ros.result_publishers import ResultPublishers
from referdino_ros.spinning import spin_until_shutdown
from referdino_ros.stream_statistics import StreamStatistics
from referdino_ros.transitions import refuse_impossible_transitions

if TYPE_CHECKING:
    from referdino_core import Session, SessionSettings

LOADING_LOG_PERIOD = 5.0
LONGEST_AGE = 86_400.0
"""Seconds; an image that seems older was stamped by another clock."""
_LOADING_POLL = 0.2


@dataclass(frozen=True)
class ReceivedImage:
    """A camera message.

    Attributes:
        received: when it came, in seconds of the monotonic clock.
        skipped: stamps in seconds of the images before it that the model did not come to.
    """

    message: Any
    received: float
    skipped: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class SessionView:
    """What the worker lets other threads see of its session."""

    model: str = ""
    device: str = ""
    runtime: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    last_reset: str = ""
    resets: int = 0
    late: int = 0
    failed: int = 0


class ReferDINONode(LifecycleNodeMixin, Node):
    """Answers every image that it has time for with the objects that the commands refer to.

    Configuring loads the model in a thread that owns it from then on; activating subscribes to
    the camera; deactivating unsubscribes and keeps commands and model; cleaning up frees them.

    Raises:
        ReferDINOError: a parameter has a value that is not allowed.
    """

    def __init__(self, **node_options: Any) -> None:
        Node.__init__(self, "referdino", **node_options)
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
        self._commands: CommandInput | None = None
        self._view = SessionView()
        self._loading_since: float | None = None
        self._preparing = ""
        self._cancelled = threading.Event()
        self._configure_error = ""
        self._configured_since: float | None = None
        self._convert: Callable[[Any], np.ndarray] = image_to_rgb
        self._service_change_state.callback = refuse_impossible_transitions(
            self._service_change_state.callback, self._life_cycle_label, self.get_logger()
        )
        self._core_log = forward_core_log(self.get_logger())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._every_second)
        if self._settings["autostart"]:
            self._start_timer = self.create_timer(
                0.0, self._start, callback_group=self._life_cycle_group
            )

    # ---- Life cycle ------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, then take commands. Stays unconfigured when that fails."""
        try:
            self._results = ResultPublishers(self)
            self._commands = CommandInput(
                self,
                self._load(),
                self._command_group,
                limit=lambda: self._settings["max_commands"],
                on_change=self._show,
                errors=self._errors,
            )
        except Exception as error:
            self._release()
            if not self.context.ok():
                return TransitionCallbackReturn.FAILURE  # the process is ending
            if not isinstance(error, ReferDINOError):
                self.get_logger().debug(traceback.format_exc())
            self._configure_error = (
                f"Cannot configure: {one_line(error)} Set the parameters right, then run: "
                f"ros2 lifecycle set {self.get_fully_qualified_name()} configure"
            )
            self._errors.report("configure", self._configure_error)
            return TransitionCallbackReturn.FAILURE
        self._configure_error = ""
        self._configured_since = time.monotonic()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        outcome = super().on_activate(state)
        transport = self._settings["image_transport"]
        self._convert = compressed_image_to_rgb if transport == "compressed" else image_to_rgb
        self._images = ImageInput(self, transport, self._settings["image_qos"], self._receive)
        self.get_logger().info(f"Active: answering images of {self._images.topic}.")
        return outcome

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, and return once nothing more will be published."""
        self._stop_images()
        # What a runtime that is still getting ready comes to then is not published.
        if self._worker is not None and not self._preparing:
            self._worker.slot.clear()
            concurrent.futures.wait([self._worker.call(lambda session: None)])
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and forget the commands."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whichever state."""
        self._release()
        return super().on_shutdown(state)

    def close(self) -> None:
        """Free everything at the end of the process; ROS may already be shut down."""
        self._release()
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
        model = self._settings["checkpoint"] or self._settings["model"]
        device = self._settings["device"]
        self.get_logger().info(f"Loading PyTorch and the model {model} on {device}.")
        began = self._loading_since = time.monotonic()
        self._statistics = StreamStatistics()
        self._cancelled = threading.Event()
        self._worker = ModelWorker(
            load=lambda: self._session(model, device, self._settings.session_settings),
            handle_frame=self._answer,
            on_error=self._report_failure,
            on_replace=_hand_over_skipped,
        )
        self._worker.start()
        try:
            self._wait_for_model(self._worker.loaded, began)
        finally:
            self._loading_since = None
        self.get_logger().info(f"The model is ready after {time.monotonic() - began:.1f} s.")
        return self._worker

    def _wait_for_model(self, loaded: concurrent.futures.Future[None], began: float) -> None:
        said = began
        while not concurrent.futures.wait([loaded], timeout=_LOADING_POLL).done:
            if not self.context.ok():
                raise WorkerStopped("ROS was shut down while the model was loading.")
            if time.monotonic() - said >= LOADING_LOG_PERIOD:
                said = time.monotonic()
                doing = self._preparing or "loading"
                self.get_logger().info(f"Still {doing} ({said - began:.0f} s).")
        loaded.result()

    def _session(self, model: str, device: str, settings: SessionSettings) -> Session:
        """Runs in the worker's thread."""
        # PyTorch is first imported here: the node is on the graph while that takes its seconds.
        from referdino_core import Session
        from referdino_core.installation import choose_threads
        from referdino_core.runtime.stages import Watch

        session = Session(
            model,
            settings=settings,
            device=device,
            runtime=self._settings["runtime"],
            precision=self._settings["precision"],
            exports=self._settings["exports"] or None,
            watch=Watch(self._note_progress, self._cancelled),
        )
        threads = choose_threads(session.model)
        self.get_logger().info(f"CPU threads of the model: {threads}.")
        size = self._settings.image_size
        if size is not None:
            width, height = size
            session.prepare(height, width)
        text = self._settings["initial_command"]
        try:
            session.command(received_text(text))
        except ReferDINOError as error:
            self._errors.report("command", f"initial_command: {error}")
        self._show(session)
        return session

    def _note_progress(self, fraction: float, phase: str) -> None:
        """Hear how far a runtime is with getting ready; from any thread."""
        self._preparing = "" if fraction >= 1.0 else f"{phase}, {fraction:.0%}"

    def _show(self, session: Session) -> None:
        """Runs in the worker's thread."""
        self._view = SessionView(
            model=session.model_name,
            device=session.device,
            runtime=session.runtime,
            commands=dict(session.commands),
            last_reset=session.last_reset or "",
            resets=session.reset_count,
            late=session.late_count,
            failed=session.failure_count,
        )

    def _change_settings(self, settings: SessionSettings) -> None:
        def change(session: Session) -> None:
            session.settings = settings

        if self._worker is not None:
            self._worker.call(change)

    def _stop_images(self) -> None:
        if self._images is not None:
            self._images.close()
            self._images = None

    def _release(self) -> None:
        self._stop_images()
        if self._commands is not None:
            self._commands.close()
            self._commands = None
        if self._worker is not None:
            self._cancelled.set()
            self._worker.stop()
            self._worker = None
        if self._results is not None:
            self._results.destroy()
            self._results = None
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
            session.skip(stamp)
        try:
            pixels = self._convert(image.message)
            began = time.monotonic()
            targets = session.step(pixels, stamp=_seconds(header.stamp))
        except Exception as error:
            self._publish_failure(session, image, error)
            raise
        inference = time.monotonic() - began
        if self._results is None or self._images is None:
            return
        verdict = Verdict(session.judgement, session.reason, len(image.skipped))
        self._results.publish_objects(header, targets, verdict)
        quality = self._settings["overlay_jpeg_quality"]
        self._results.publish_pictures(header, pixels, targets, quality)
        age = image_age(self.get_clock().now(), header.stamp)
        self._statistics.record(time.monotonic() - image.received, inference, age)
        self._show(session)

    def _publish_failure(self, session: Session, image: ReceivedImage, error: Exception) -> None:
        """Tell consumers that an image was not judged; runs in the worker's thread."""
        from referdino_core.session import Judgement

        stamp = _seconds(image.message.header.stamp)
        if stamp is not None:
            session.skip(stamp)
        self._show(session)
        if self._results is None or self._images is None or self._cancelled.is_set():
            return
        verdict = Verdict(Judgement.FAILED, one_line(error), len(image.skipped))
        targets = session.unjudged(session.image_size or (0, 0), Judgement.FAILED)
        self._results.publish_objects(image.message.header, targets, verdict)

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
            configure_error=self._configure_error,
            loading=None if self._loading_since is None else now - self._loading_since,
            model=view.model,
            device=view.device,
            runtime=view.runtime,
            preparing=self._preparing,
            commands=view.commands,
            topic=images.topic if images else "",
            publishers=len(images.publishers()) if images else 0,
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


def _seconds(stamp: Any) -> float | None:
    """Seconds of a header's stamp; None for the zero of a camera that sets none."""
    seconds = stamp.sec + stamp.nanosec * 1e-9
    return seconds or None


def _hand_over_skipped(replaced: ReceivedImage, newer: ReceivedImage) -> None:
    """Let an image know which ones were dropped in its favour."""
    stamp = _seconds(replaced.message.header.stamp)
    newer.skipped.extend(replaced.skipped if stamp is None else [*replaced.skipped, stamp])


def image_age(now: Time, stamp: Any) -> float | None:
    """Seconds since an image was stamped; None for a stamp that is no time of this clock."""
    if stamp.sec < 0 or (stamp.sec, stamp.nanosec) == (0, 0):
        return None
    age = (now - Time.from_msg(stamp)).nanoseconds * 1e-9
    return age if abs(age) < LONGEST_AGE else None


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
