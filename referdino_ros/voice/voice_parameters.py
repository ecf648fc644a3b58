# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node `voice`; the table in docs/voice.md is written from their declarations.

python -m referdino_ros.voice.voice_parameters
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from referdino_core.configuration import CONFIGURATIONS
from referdino_core.errors import ReferDINOError
from referdino_core.voice import AudioFormat, Gate, ListenerSettings
from referdino_ros.parameter_declarations import Change, Declaration, read_only_while_configured
from referdino_ros.parameter_file import CHANGES, REPOSITORY, meaning, written

AUDIO = ("microphone", "topic", "files", "none")
RECOGNISERS = ("pocketsphinx", "whisper", "outside")
_DEFAULTS = ListenerSettings()


def audio_layout(text: str) -> AudioFormat | None:
    """The format that a text such as "S16LE 16000 1" declares; None for "".

    Raises:
        ReferDINOError: it declares none that can be read.
    """
    if not text:
        return None
    known = re.fullmatch(r"(\w+) (\d+) (\d+)", text)
    if known is None:
        raise ReferDINOError(
            f"audio_format is {text!r}; give sample format, rate and channels: S16LE 16000 1."
        )
    return AudioFormat(known[1], int(known[2]), int(known[3]))


DECLARATIONS = (
    Declaration(
        "autostart",
        True,
        "Whether the node configures and activates itself on start.",
        Change.NEVER,
    ),
    Declaration(
        "audio",
        "microphone",
        "Where sound comes from: microphone; topic (audio_common_msgs); files (WAV, played in real "
        "time as ~/play names them); none (texts only: then nothing hears the stop word).",
        Change.UNCONFIGURED,
        choices=AUDIO,
    ),
    Declaration(
        "device",
        "",
        "A part of the microphone's name (python -m sounddevice lists them); empty for the "
        "default one.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "audio_format",
        "",
        "Format of audio_stamped where no audio_info says it, such as S16LE 16000 1: sample "
        "format, rate, channels.",
        Change.UNCONFIGURED,
        parse=audio_layout,
    ),
    Declaration(
        "recogniser",
        "pocketsphinx",
        "What turns speech into text: pocketsphinx (offline, the words of a small model only), "
        "whisper (faster-whisper with a local model), or outside (another program publishes on "
        "~/speech or ~/live_speech).",
        Change.UNCONFIGURED,
        choices=RECOGNISERS,
    ),
    Declaration(
        "model",
        "nano",
        "The referdino model whose words can be said; pocketsphinx needs one with a small "
        "vocabulary.",
        Change.UNCONFIGURED,
        choices=tuple(sorted(CONFIGURATIONS)),
    ),
    Declaration(
        "whisper_model",
        "",
        "Folder of a Whisper model in CTranslate2's format; nothing is downloaded.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "gate",
        Gate.PUSH_TO_TALK.value,
        "What makes speech an instruction: push_to_talk (~/talk, ~/listen or a joystick's button), "
        "wake_phrase, or outside (every text from outside counts, since the program that sends it "
        "has a gate of its own).",
        Change.UNCONFIGURED,
        choices=tuple(one.value for one in Gate),
    ),
    Declaration(
        "talk_button",
        -1,
        "Number of the button on the topic joy that is held to talk; -1 for none.",
        Change.UNCONFIGURED,
        range=(-1, 63),
    ),
    Declaration(
        "wake_phrase",
        _DEFAULTS.wake_phrase,
        "Two or more words that open the gate wake_phrase.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "wake_threshold",
        1e-40,
        "Threshold of the wake phrase: smaller hears it more often, and wrongly more often.",
        Change.UNCONFIGURED,
        range=(1e-50, 1.0),
    ),
    Declaration(
        "stop_phrase",
        _DEFAULTS.stop_phrases[0],
        "What stops the robot, always.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "stop_threshold",
        1e-16,
        "Threshold of the stop phrase: smaller hears it more often, and wrongly more often.",
        Change.UNCONFIGURED,
        range=(1e-50, 1.0),
    ),
    Declaration(
        "confirm_delay",
        1.0,
        "Time between ~/heard and an instruction that moves the robot; stop cancels it.",
        Change.UNCONFIGURED,
        range=(0.0, 60.0),
        unit="s",
    ),
    Declaration(
        "patience",
        _DEFAULTS.patience,
        "Time after the wake phrase or ~/listen in which speech must begin.",
        Change.UNCONFIGURED,
        range=(0.5, 60.0),
        unit="s",
    ),
    Declaration(
        "pause",
        _DEFAULTS.pause,
        "Silence that ends an utterance after the wake phrase or ~/listen.",
        Change.UNCONFIGURED,
        range=(0.2, 5.0),
        unit="s",
    ),
    Declaration(
        "longest",
        _DEFAULTS.longest,
        "Length of an utterance beyond which it is refused; it bounds a talk button that is never "
        "let go.",
        Change.UNCONFIGURED,
        range=(1.0, 15.0),
        unit="s",
    ),
    Declaration(
        "speaking_timeout",
        30.0,
        "Time after which true on ~/speaking runs out, if the robot's speech never says false.",
        Change.UNCONFIGURED,
        range=(1.0, 600.0),
        unit="s",
    ),
    Declaration(
        "instruction_topic",
        "follower/instruction",
        "Topic of the instructions (std_msgs/String).",
        Change.UNCONFIGURED,
        pattern="[~/]?[A-Za-z_][A-Za-z0-9_/]*|~/[A-Za-z_][A-Za-z0-9_/]*",
    ),
)
_BY_NAME = {entry.name: entry for entry in DECLARATIONS}


class VoiceParameters:
    """The parameters of a node, checked on construction and at every change.

    Raises:
        ReferDINOError: an initial value is not allowed.
    """

    def __init__(self, node: Node, is_unconfigured: Any) -> None:
        self._is_unconfigured = is_unconfigured
        self._values: dict[str, Any] = {}
        for entry in DECLARATIONS:
            descriptor = ParameterDescriptor(
                description=f"{meaning(entry)} It {entry.change.value}.",
                read_only=entry.change is Change.NEVER,
                dynamic_typing=True,  # an integer passes for a double
            )
            self._values[entry.name] = node.declare_parameter(
                entry.name, entry.default, descriptor
            ).value
        complaint = self._complaint(self._values)
        if complaint:
            raise ReferDINOError(f"Parameter {complaint}")
        node.add_on_set_parameters_callback(self._on_set)

    def __getitem__(self, name: str) -> Any:
        """Value of a parameter."""
        value = self._values[name]
        return float(value) if isinstance(_BY_NAME[name].default, float) else value

    @property
    def gate(self) -> Gate:
        """What makes speech an instruction."""
        return Gate(self["gate"])

    @property
    def listener_settings(self) -> ListenerSettings:
        """Settings of the listener."""
        return ListenerSettings(
            gate=self.gate,
            stop_phrases=(self["stop_phrase"],),
            wake_phrase=self["wake_phrase"],
            patience=self["patience"],
            pause=self["pause"],
            longest=self["longest"],
        )

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        known = {one.name: one.value for one in changes if one.name in _BY_NAME}
        changed = [name for name, value in known.items() if value != self._values[name]]
        if changed and not self._is_unconfigured():
            reason = read_only_while_configured(changed[0])
            return SetParametersResult(successful=False, reason=reason)
        complaint = self._complaint({**self._values, **known})
        if complaint:
            return SetParametersResult(successful=False, reason=complaint)
        self._values = {**self._values, **known}
        return SetParametersResult(successful=True)

    @staticmethod
    def _complaint(values: dict[str, Any]) -> str:
        """What is wrong with the values; "" where nothing is."""
        for name, value in values.items():
            entry = _BY_NAME[name]
            complaint = _type_complaint(entry, value) or entry.complaint(value)
            if complaint:
                return complaint
            if entry.range and not entry.range[0] <= value <= entry.range[1]:
                low, high = entry.range
                return f"{name} is {value}; give a number from {low:g} to {high:g}."
        return _contradiction(values)


def _type_complaint(entry: Declaration, value: Any) -> str:
    kind = type(entry.default)
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if numeric if kind is float else type(value) is kind:
        return ""
    wanted = {float: "a number", int: "a whole number", bool: "true or false"}.get(kind, "a text")
    return f"{entry.name} is {value!r}; give {wanted}."


def _contradiction(values: dict[str, Any]) -> str:
    """What two parameters say against each other; "" where nothing does."""
    if values["gate"] == Gate.OUTSIDE.value and values["recogniser"] != "outside":
        return (
            "gate is outside, which holds for texts alone; set recogniser to outside too, or gate "
            "to push_to_talk or wake_phrase."
        )
    if values["audio"] == "none" and values["recogniser"] != "outside":
        return (
            f"audio is none, so there is nothing for {values['recogniser']} to recognise; set "
            "recogniser to outside."
        )
    if values["recogniser"] == "whisper" and not values["whisper_model"]:
        return "recogniser is whisper, so whisper_model must be the folder of a model."
    if len(values["wake_phrase"].split()) < 2 and values["gate"] == Gate.WAKE_PHRASE.value:
        return (
            f"wake_phrase is {values['wake_phrase']!r}; give two or more words, or it wakes often."
        )
    return "" if values["stop_phrase"].strip() else "stop_phrase is empty; give a word."


BEGIN = "<!-- The table is written by `python -m referdino_ros.voice.voice_parameters`. -->"
END = "<!-- End of the table. -->"


def parameter_table() -> str:
    """The table of docs/voice.md."""
    rows = [
        f"| `{one.name}` | `{written(one)}` | {meaning(one)} | {CHANGES[one.change]} |"
        for one in DECLARATIONS
    ]
    return "\n".join(["| name | default | meaning | changes |", "|---|---|---|---|", *rows])


def page_with_table(page: str) -> str:
    """The page with its table as the declarations say."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{parameter_table()}\n\n{END}{after}"


def main() -> int:
    """Write the table into docs/voice.md; returns the exit status."""
    path = Path(REPOSITORY, "docs", "voice.md")
    path.write_text(page_with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
