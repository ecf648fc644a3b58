# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Audio from topics, of both packages that are called audio_common_msgs.

Their types are looked up when the node is configured: AudioDataStamped with AudioInfo (ros-drivers,
`audio_capture`), or AudioStamped (mgonzs13, `audio_capturer_node`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from referdino_core.voice import AudioError, AudioFormat, Resampler, VoiceUnavailable, decode, pcm16
from referdino_core.voice.sources import TakeBlock
from referdino_ros.messages import message_class

_AUDIO = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Hears every publisher: audio_capturer_node publishes best effort, audio_capture reliably."""
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_RAW_CODINGS = frozenset({"", "wave", "wav", "raw", "pcm"})
_ARRAYS = {
    1: ("float32_data", "F32LE", "<f4"),
    2: ("int32_data", "S32LE", "<i4"),
    8: ("int16_data", "S16LE", "<i2"),
    16: ("int8_data", "S8", "i1"),
    32: ("uint8_data", "U8", "u1"),
}
"""PortAudio's numbers of sample formats: the array that holds them, and what it holds."""


class AudioTopics:
    """Subscriptions to audio, whichever package is installed.

    Args:
        node: which subscribes.
        take: gets every block.
        complain: gets one line on what cannot be read.
        layout: of AudioDataStamped where no AudioInfo comes; None to wait for one.

    Attributes:
        name: of the topic with its type.

    Raises:
        VoiceUnavailable: neither package is installed.
    """

    def __init__(
        self,
        node: Node,
        take: TakeBlock,
        complain: Callable[[str], None],
        layout: AudioFormat | None,
    ) -> None:
        self._node, self._take, self._complain = node, take, complain
        self._layout = layout
        self._refused = ""
        self._resampler: Resampler | None = None
        self._rate = 0
        stamped = _installed("AudioStamped")
        with_info = _installed("AudioDataStamped"), _installed("AudioInfo")
        if stamped is not None:
            subscriptions = [(stamped, "audio", self._take_stamped, _AUDIO)]
        elif all(with_info):
            subscriptions = [
                (with_info[0], "audio_stamped", self._take_data, _AUDIO),
                (with_info[1], "audio_info", self._take_info, _LATCHED),
            ]
        else:
            raise VoiceUnavailable(
                "audio is topic, but audio_common_msgs is not installed: apt install "
                "ros-$ROS_DISTRO-audio-common-msgs, or set audio to microphone."
            )
        self._held = [
            node.create_subscription(kind, topic, callback, qos)
            for kind, topic, callback, qos in subscriptions
        ]
        self.name = f"{self._held[0].topic_name} ({subscriptions[0][0].__name__})"

    @property
    def publishers(self) -> int:
        """Number of known publishers of audio."""
        return self._node.count_publishers(self._held[0].topic_name)

    def close(self) -> None:
        """End the subscriptions."""
        for subscription in self._held:
            self._node.destroy_subscription(subscription)

    def _take_info(self, message: Any) -> None:
        """AudioInfo of ros-drivers: how the bytes of AudioDataStamped are to be read."""
        coding = message.coding_format
        self._refused = ""
        if coding.lower() not in _RAW_CODINGS:
            self._refuse(
                f"{self.name} carries {coding}, which is not decoded here; start audio_capture "
                "with format:=wave."
            )
            return
        try:
            self._layout = AudioFormat(message.sample_format, message.sample_rate, message.channels)
        except AudioError as error:
            self._refuse(f"{self.name}: {error}")

    def _take_data(self, message: Any) -> None:
        if self._refused:
            self._complain(self._refused)
        elif self._layout is None:
            self._complain(
                f"{self.name} comes without audio_info, so its format is not known; publish that, "
                "or set audio_format, such as 'S16LE 16000 1'."
            )
        else:
            self._pass_on(memoryview(message.audio.data), self._layout)

    def _take_stamped(self, message: Any) -> None:
        """AudioStamped of mgonzs13: every message says how it is to be read."""
        info = message.audio.info
        known = _ARRAYS.get(info.format)
        if known is None:
            self._complain(
                f"{self.name} has samples of PortAudio's format {info.format}, not known."
            )
            return
        field, sample_format, kind = known
        values = np.asarray(getattr(message.audio.audio_data, field), kind)
        try:
            layout = AudioFormat(sample_format, info.rate, info.channels)
        except AudioError as error:
            self._complain(f"{self.name}: {error}")
            return
        self._pass_on(values, layout)

    def _refuse(self, reason: str) -> None:
        self._refused, self._layout = reason, None
        self._complain(reason)

    def _pass_on(self, data: memoryview | np.ndarray, layout: AudioFormat) -> None:
        if self._resampler is None or layout.rate != self._rate:
            self._resampler, self._rate = Resampler(layout.rate), layout.rate
        try:
            samples = decode(data, layout)
        except AudioError as error:
            self._complain(f"{self.name}: {error}")
            return
        self._take(pcm16(self._resampler.take(samples)))


def _installed(kind: str) -> Any:
    try:
        return message_class(f"audio_common_msgs/msg/{kind}")
    except (ImportError, AttributeError):
        return None
