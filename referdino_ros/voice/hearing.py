# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the node `voice` hears with: talk button, source, recogniser and listener."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from referdino_core.voice import Gate, Listener, model_words
from referdino_core.voice.pocketsphinx_engine import (
    GrammarRecogniser,
    KeyPhraseSpotter,
    VoiceActivityDetector,
)
from referdino_core.voice.sources import FilePlayer, Microphone, TakeBlock
from referdino_core.voice.whisper_engine import WhisperRecogniser
from referdino_ros.voice.audio_topics import AudioTopics
from referdino_ros.voice.ears import Recogniser
from referdino_ros.voice.voice_parameters import VoiceParameters, audio_layout

_SAME_PRESS = 1.0
"""Seconds within which a repeated true is the same press; a later one is another."""


class TalkButton:
    """A button that messages say to be held or not.

    A true that repeats another within a second is the same press. A later one is a new press, whose
    predecessor's end got lost.

    Args:
        changed: called with True at every press, with False at every release.
        number: of the button on a joystick; -1 for none.
    """

    def __init__(self, changed: Callable[[bool], None], number: int) -> None:
        self._changed = changed
        self._number = number
        self._joystick = False
        self._held_at: float | None = None

    def set(self, held: bool) -> None:
        """A message says that it is held, or that it is not."""
        now, last = time.monotonic(), self._held_at
        self._held_at = now if held else None
        if not (held and last is not None and now - last < _SAME_PRESS):
            self._changed(held)

    def set_joystick(self, buttons: Sequence[int]) -> None:
        """The state of a joystick's buttons, which comes all the time."""
        pressed = self._number < len(buttons) and bool(buttons[self._number])
        if pressed != self._joystick:
            self._joystick = pressed
            self._changed(pressed)


class Source(Protocol):
    """Where sound comes from. name: for people."""

    name: str

    def close(self) -> None:
        """Let it go."""
        ...


def make_recogniser(values: VoiceParameters, log: Callable[[str], object]) -> Recogniser | None:
    """The recogniser; None where texts come from outside.

    Raises:
        ReferDINOError: something it needs is missing, or it cannot hear for the model.
    """
    if values["recogniser"] == "outside":
        return None
    if values["recogniser"] == "whisper":
        return WhisperRecogniser(Path(values["whisper_model"]).expanduser())
    wake = values["wake_phrase"] if values.gate is Gate.WAKE_PHRASE else ""
    recogniser = GrammarRecogniser(model_words(values["model"]), wake)
    if recogniser.grammar.silent:
        left_out = ", ".join(recogniser.grammar.silent)
        log(f"Words that the recogniser cannot pronounce are left out: {left_out}.")
    return recogniser


def make_listener(values: VoiceParameters) -> Listener:
    """The listener with the spotter of the stop word, and of the wake phrase where it is the gate.

    Raises:
        ReferDINOError: PocketSphinx is missing, or cannot pronounce a phrase.
    """
    thresholds = {values["stop_phrase"]: values["stop_threshold"]}
    if values.gate is Gate.WAKE_PHRASE:
        thresholds[values["wake_phrase"]] = values["wake_threshold"]
    return Listener(KeyPhraseSpotter(thresholds), VoiceActivityDetector(), values.listener_settings)


def make_source(
    node: Any, values: VoiceParameters, take: TakeBlock, complain: Callable[[str], None]
) -> Source:
    """The source of sound.

    Raises:
        VoiceUnavailable: a package or the device is missing.
    """
    if values["audio"] == "microphone":
        return Microphone(take, values["device"])
    if values["audio"] == "topic":
        return AudioTopics(node, take, complain, audio_layout(values["audio_format"]))
    return FilePlayer(take)
