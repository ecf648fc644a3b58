# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `voice`: sound or recognised texts in, instructions for the follower out."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool, Empty, String
from std_srvs.srv import Trigger

from referdino_core.errors import ReferDINOError, one_line
from referdino_core.following import Instruction, Intent
from referdino_core.voice import (
    Confirmation,
    Gate,
    StopHeard,
    Transcript,
    description_rules,
    model_words,
    said,
    understand,
)
from referdino_core.voice.gating import TextGate
from referdino_core.voice.sources import FilePlayer
from referdino_ros.managed_node import ManagedNode, reporting_faults
from referdino_ros.messages import message_class
from referdino_ros.process import run_node
from referdino_ros.voice.ears import EarHandlers, Ears
from referdino_ros.voice.hearing import (
    Source,
    TalkButton,
    make_listener,
    make_recogniser,
    make_source,
)
from referdino_ros.voice.voice_diagnostics import VoiceHealth, diagnostics
from referdino_ros.voice.voice_parameters import VoiceParameters

_PERIOD = 0.05
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class VoiceNode(ManagedNode):
    """Lifecycle node that hears instructions.

    What moves the robot must pass the gate, parse completely, and wait for `confirm_delay`. "stop"
    has a path of its own, which needs neither and is always open while the node is active.

    Raises:
        ReferDINOError: a parameter has an invalid value.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("voice", **node_options)
        self._settings = VoiceParameters(self, lambda: self.lifecycle_label == "unconfigured")
        self._lock = threading.RLock()
        self._ears: Ears | None = None
        self._source: Source | None = None
        self._active = False
        self._confirmation = Confirmation(0.0)
        self._speaking_since: float | None = None
        self._told = ""
        self._heard_last = ""
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._every_second, clock=self.steady_clock)
        self.create_timer(_PERIOD, self._tick, clock=self.steady_clock)
        if self._settings["autostart"]:
            self.start_soon()

    # ---- Lifecycle ------------------------------------------------------------------------

    @reporting_faults
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the recogniser, and open topics and services."""
        try:
            self._configure()
        except ReferDINOError as error:
            self.release()
            self.get_logger().error(f"Cannot be configured: {error}")
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def _configure(self) -> None:
        values = self._settings
        self._descriptions = description_rules(model_words(values["model"]))
        self._confirmation = Confirmation(values["confirm_delay"])
        self._text_gate = TextGate(values.listener_settings)
        self._instruction = self.held_publisher(String, values["instruction_topic"], 10)
        self._stop_topic = self.held_publisher(Empty, "~/stop", 10)
        self._heard = self.held_publisher(String, "~/heard", 10)
        self._state = self.held_publisher(String, "~/state", _LATCHED)
        if values["audio"] == "none":
            self.get_logger().warning(
                'audio is none: nobody hears "stop"; it comes as a text or not at all.'
            )
        else:
            self._open_ears()
        button = TalkButton(self._talk, values["talk_button"])
        self._subscribe(Bool, "~/talk", lambda message: button.set(message.data))
        self._subscribe(Bool, "~/speaking", lambda message: self._speak(message.data))
        self._subscribe(String, "~/speech", lambda message: self._take_text(message.data))
        with contextlib.suppress(ImportError, AttributeError):
            kind = message_class("hri_msgs/msg/LiveSpeech")
            self._subscribe(kind, "~/live_speech", self._take_live_speech)
        if values["talk_button"] >= 0:
            self._subscribe(Joy, "joy", lambda message: button.set_joystick(message.buttons))
        if isinstance(self._source, FilePlayer):
            self._subscribe(String, "~/play", self._play)
        service = self.create_service(Trigger, "~/listen", self._listen_once)
        self.held.callback(self.destroy_service, service)

    def _open_ears(self) -> None:
        recogniser = make_recogniser(self._settings, self.get_logger().warning)
        handlers = EarHandlers(
            stop=self._stop_spotted,
            wake=self._woken,
            text=self._take_recognised,
            refused=self._refuse,
            fault=lambda error: self.errors.report("ears", f"Listening failed: {one_line(error)}"),
        )
        self._ears = ears = Ears(make_listener(self._settings), recogniser, handlers)
        self.held.callback(ears.close)
        self._source = make_source(
            self, self._settings, ears.take, lambda line: self.errors.report("audio", line)
        )
        self.held.callback(self._source.close)

    @reporting_faults
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From now on what is heard counts."""
        outcome = super().on_activate(state)
        self._active = True
        return outcome

    @reporting_faults
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """What is heard counts no more; an instruction held back is dropped."""
        self._fall_silent()
        return super().on_deactivate(state)

    def _fall_silent(self) -> None:
        self._active = False
        with self._lock:
            self._confirmation.cancel()
        if self._ears is not None:
            self._ears.forget()

    def release(self) -> None:
        """Close topics and services, end the threads and let the microphone go."""
        self._fall_silent()
        try:
            super().release()
        finally:
            self._ears = self._source = None
            self._speaking_since = None

    def _subscribe(self, kind: Any, topic: str, callback: Callable[[Any], None]) -> None:
        self.held_subscription(kind, topic, callback, 10)

    # ---- The gate -------------------------------------------------------------------------

    def _talk(self, held: bool) -> None:
        """The talk button was pressed, which drops the instruction held back, or let go."""
        if not self._active:
            return
        if held:
            if self._speaking_since is not None:
                self._ignore("The talk button was pressed while the robot speaks.")
            self._drop_pending("The talk button was pressed again.")
            self._text_gate.press()
        else:
            self._text_gate.release(time.monotonic())
        if self._ears is not None:
            self._ears.press() if held else self._ears.release()

    def _listen_once(self, request: Any, response: Any) -> Any:
        """The service ~/listen: the next thing said is an instruction."""
        if not self._active:
            response.message = f"The node is {self.lifecycle_label}."
            return response
        self._drop_pending("Another instruction is awaited.")
        self._text_gate.open(time.monotonic())
        if self._ears is not None:
            self._ears.listen_once()
        response.success = True
        return response

    def _woken(self) -> None:
        if self._active:
            self._drop_pending("The wake phrase was said.")
            self._text_gate.open(time.monotonic())

    def _speak(self, speaking: bool) -> None:
        """Whether the robot itself speaks; then only "stop" counts."""
        self._speaking_since = time.monotonic() if speaking else None
        self._text_gate.mute(speaking)
        if self._ears is not None:
            self._ears.mute(speaking)

    # ---- Texts ----------------------------------------------------------------------------

    def _take_text(self, text: str) -> None:
        """What a recogniser outside understood."""
        if not self._active or not text.strip():
            return
        if self._means_stop(text):
            self._stop(f"stop ({text!r})")
            return
        refusal = self._text_gate.refusal(text, time.monotonic())
        if refusal:
            self._ignore(f"Ignored {text!r}. {refusal}")
        else:
            self._react(Transcript(text))

    def _take_live_speech(self, message: Any) -> None:
        """hri_msgs/LiveSpeech: `final` counts; in what is not final, only "stop" does."""
        if message.final:
            self._take_text(message.final)
        elif message.incremental and self._active and self._means_stop(message.incremental):
            self._stop(f"stop ({message.incremental!r})")

    def _means_stop(self, text: str) -> bool:
        heard = Transcript(text)
        understood = understand(heard, self._descriptions, self._settings["wake_phrase"])
        return isinstance(understood, Instruction) and understood.intent is Intent.STOP

    def _take_recognised(self, heard: Transcript, still_counts: Callable[[], bool]) -> None:
        """What the recogniser here understood."""
        with self._lock:
            if self._active and still_counts():
                self._react(heard)

    def _react(self, heard: Transcript) -> None:
        with self._lock:
            understood = understand(heard, self._descriptions, self._settings["wake_phrase"])
            reaction = self._confirmation.react(understood, time.monotonic())
            if reaction.stop:
                self._stop(reaction.heard)
                return
            self._say(reaction.heard)
            if reaction.now is not None:
                self._instruction.publish(String(data=said(reaction.now)))

    def _refuse(self, reason: str) -> None:
        if self._active:
            self._say(f"Not understood: {reason}")

    def _stop_spotted(self, event: StopHeard) -> None:
        if self._active:
            self._stop(f"{event.phrase} (spotted {event.lag:.2f} s after it)")

    def _stop(self, heard: str) -> None:
        """Stop at once, whatever else is going on."""
        with self._lock:
            self._stop_topic.publish(Empty())
            self._instruction.publish(String(data="stop"))
            self._confirmation.cancel()
        self._say(heard)

    def _ignore(self, reason: str) -> None:
        """Tell of something that was not meant for the robot, or came at the wrong time."""
        self._tell(reason)
        self.errors.report("gate", reason)

    def _drop_pending(self, reason: str) -> None:
        with self._lock:
            dropped = self._confirmation.cancel()
        if dropped is not None:
            self._say(f"Dropped: {said(dropped)!r}. {reason}")

    def _say(self, text: str) -> None:
        self._heard_last = text
        self._heard.publish(String(data=text))
        self.get_logger().info(text)

    def _play(self, message: String) -> None:
        try:
            assert isinstance(self._source, FilePlayer)
            self._source.play(Path(message.data).expanduser())
        except ReferDINOError as error:
            self.errors.report("files", str(error))

    # ---- Timers ---------------------------------------------------------------------------

    def _tick(self) -> None:
        if not self._active:
            return
        with self._lock:
            instruction = self._confirmation.due(time.monotonic())
            if instruction is not None:
                self._instruction.publish(String(data=said(instruction)))
        self._tell(self._situation())

    def _situation(self) -> str:
        pending = self._confirmation.pending
        if pending is not None:
            return f"about to: {said(pending)}"
        if self._speaking_since is not None:
            return "the robot speaks: only stop counts"
        if self._ears is not None and self._ears.is_open:
            return "listening for an instruction"
        if self._settings.gate is Gate.WAKE_PHRASE:
            return f"waiting for {self._settings['wake_phrase']!r}"
        return "waiting for the talk button" if self._settings.gate is Gate.PUSH_TO_TALK else "open"

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._state.publish(String(data=text))

    def _every_second(self) -> None:
        since = self._speaking_since
        if since is not None and time.monotonic() - since > self._settings["speaking_timeout"]:
            self.errors.report("speaking", "~/speaking was true for too long; it counts as false.")
            self._speak(False)
        health = VoiceHealth.of(
            self.lifecycle_label, self._settings, self._source, self._ears, self._heard_last
        )
        if health.problem:
            self.errors.report("health", health.problem)
        message = diagnostics(self.get_fully_qualified_name(), health)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or a ROS shutdown; returns the exit status."""
    return run_node("voice", VoiceNode, args, close=VoiceNode.close)


if __name__ == "__main__":
    raise SystemExit(main())
