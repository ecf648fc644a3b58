# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node `voice` on a real graph, and somebody who speaks to it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from follow_graph import wait_until
from node_in_process import context_of_tests
from rclpy.node import Node
from rclpy.parameter import Parameter
from speech_samples import SPEECH
from std_msgs.msg import Bool, Empty, String

from referdino_core.voice import RATE, read_wav
from referdino_ros.process import spin_until_shutdown
from referdino_ros.voice.voice_node import VoiceNode


class Speaker(Node):
    """Somebody with a talk button, who notes what the node publishes and when.

    Attributes:
        instructions, heard, states: texts with their times on the monotonic clock.
        stops: times of ~/stop.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("speaker", **options)
        self.instructions: list[tuple[float, str]] = []
        self.heard: list[tuple[float, str]] = []
        self.states: list[tuple[float, str]] = []
        self.stops: list[float] = []
        self._note("follower/instruction", self.instructions)
        self._note("/voice/heard", self.heard)
        self._note("/voice/state", self.states)
        self.create_subscription(
            Empty, "/voice/stop", lambda _: self.stops.append(time.monotonic()), 10
        )
        self.talk = self.create_publisher(Bool, "/voice/talk", 10)
        self.speaking = self.create_publisher(Bool, "/voice/speaking", 10)
        self.speech = self.create_publisher(String, "/voice/speech", 10)
        self.play = self.create_publisher(String, "/voice/play", 10)

    def _note(self, topic: str, notes: list[tuple[float, str]]) -> None:
        self.create_subscription(
            String, topic, lambda message: notes.append((time.monotonic(), message.data)), 10
        )

    def say(self, name: str, folder: Path = SPEECH) -> float:
        """Play a recording; returns when its last sample is played, on the monotonic clock."""
        path = folder / f"{name}.wav"
        began = time.monotonic()
        self.play.publish(String(data=str(path)))
        return began + len(read_wav(path)) / RATE

    def say_with_button(self, name: str, folder: Path = SPEECH) -> None:
        """Press, speak, let go."""
        self.talk.publish(Bool(data=True))
        time.sleep(0.3)
        end = self.say(name, folder)
        time.sleep(max(0.0, end - time.monotonic()) + 0.2)
        self.talk.publish(Bool(data=False))

    @property
    def texts(self) -> list[str]:
        """Instructions so far."""
        return [text for _, text in self.instructions]

    def has_heard(self, part: str) -> bool:
        """Whether ~/heard had this part."""
        return any(part in text for _, text in self.heard)


@contextlib.contextmanager
def voice_and_speaker(**parameters: Any) -> Iterator[tuple[VoiceNode, Speaker]]:
    """Both nodes, spinning, connected, the voice node active."""
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    with context_of_tests() as context, context_of_tests() as other:
        speaker = Speaker(context=other)
        node = VoiceNode(context=context, parameter_overrides=overrides)
        spinning = [
            threading.Thread(target=spin_until_shutdown, args=(one,), daemon=True)
            for one in (node, speaker)
        ]
        for thread in spinning:
            thread.start()
        try:
            assert wait_until(lambda: node.lifecycle_label == "active")
            for publisher in (speaker.talk, speaker.speaking, speaker.speech):
                assert wait_until(lambda: publisher.get_subscription_count() > 0)  # noqa: B023
            assert wait_until(lambda: node.count_subscribers("/follower/instruction") > 0)
            assert wait_until(lambda: speaker.count_publishers("/voice/heard") > 0)
            if parameters.get("audio") == "files":
                assert wait_until(lambda: speaker.play.get_subscription_count() > 0)
            time.sleep(0.5)  # for the rest of the discovery
            yield node, speaker
        finally:
            node.close()
            context.try_shutdown()
            other.try_shutdown()
            for thread in spinning:
                thread.join(10.0)
            speaker.destroy_node()
            node.destroy_node()
