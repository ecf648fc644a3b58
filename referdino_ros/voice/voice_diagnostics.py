# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The health of the node `voice`: whether it can hear, and what it heard last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from referdino_ros.voice.audio_topics import AudioTopics
from referdino_ros.voice.ears import Ears
from referdino_ros.voice.voice_parameters import VoiceParameters

_SILENCE = 2.0
_DEAFNESS = 10.0


@dataclass(frozen=True)
class VoiceHealth:
    """Snapshot of the node.

    Attributes:
        lifecycle: label of the lifecycle state.
        problem: why it cannot hear, or "".
        values: further facts by name.
    """

    lifecycle: str
    problem: str
    values: dict[str, str]

    @classmethod
    def of(
        cls,
        lifecycle: str,
        settings: VoiceParameters,
        source: Any,
        ears: Ears | None,
        heard: str,
    ) -> VoiceHealth:
        """The health of a node with these parts."""
        values = {
            "state": lifecycle,
            "recogniser": str(settings["recogniser"]),
            "gate": settings.gate.value,
            "audio": source.name if source is not None else "none",
            "heard last": heard or "nothing",
        }
        if ears is not None:
            values |= {
                "loudness (dB)": f"{ears.loudness:.0f}",
                "silence (s)": f"{ears.silence:.1f}",
                "dropped (s)": f"{ears.dropped:.1f}",
            }
        return cls(lifecycle, "" if ears is None else _problem(source, ears), values)


def _problem(source: Any, ears: Ears) -> str:
    if ears.silence > _SILENCE:
        publishers = f"; publishers: {source.publishers}" if isinstance(source, AudioTopics) else ""
        return f'No sound comes from {source.name}{publishers}: "stop" cannot be heard.'
    if ears.deafness > _DEAFNESS:
        return f'{source.name} sends zeros only (is it muted?): "stop" cannot be heard.'
    return ""


def diagnostics(node_name: str, health: VoiceHealth) -> DiagnosticArray:
    """The message for /diagnostics, without its stamp."""
    status = DiagnosticStatus(
        level=DiagnosticStatus.OK,
        name=f"{node_name.lstrip('/')}: hearing",
        message="Listening.",
        hardware_id=health.values["audio"],
        values=[KeyValue(key=key, value=value) for key, value in health.values.items()],
    )
    if health.problem:
        status.level, status.message = DiagnosticStatus.ERROR, health.problem
    elif health.lifecycle != "active":
        status.level = DiagnosticStatus.WARN
        status.message = f"The node is {health.lifecycle}; it hears nothing."
    return DiagnosticArray(status=[status])
