# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Voice: from sound to instructions that may be carried out. Knows no ROS."""

from referdino_core.voice.audio import (
    RATE,
    AudioError,
    AudioFormat,
    Resampler,
    decode,
    pcm16,
    read_wav,
)
from referdino_core.voice.gating import Confirmation, Reaction
from referdino_core.voice.grammar import (
    Transcript,
    description_rules,
    model_words,
    said,
    speech_grammar,
    understand,
)
from referdino_core.voice.listening import (
    Gate,
    Listener,
    ListenerSettings,
    Refused,
    StopHeard,
    Utterance,
    WakeHeard,
)
from referdino_core.voice.pocketsphinx_engine import VoiceUnavailable

__all__ = [
    "RATE",
    "AudioError",
    "AudioFormat",
    "Confirmation",
    "Gate",
    "Listener",
    "ListenerSettings",
    "Reaction",
    "Refused",
    "Resampler",
    "StopHeard",
    "Transcript",
    "Utterance",
    "VoiceUnavailable",
    "WakeHeard",
    "decode",
    "description_rules",
    "model_words",
    "pcm16",
    "read_wav",
    "said",
    "speech_grammar",
    "understand",
]
