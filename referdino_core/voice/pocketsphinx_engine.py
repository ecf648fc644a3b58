# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""PocketSphinx: the recogniser that runs offline as installed, with its spotter and detector.

Its acoustic model (US English) and its dictionary of 134,000 words are part of the package.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.voice.audio import RATE
from referdino_core.voice.grammar import TOP_RULE, Transcript, speech_grammar
from referdino_core.voice.listening import FRAME, Spotted

_PIECE = RATE // 10
"""Samples decoded at a time: Python's lock is held meanwhile, and "stop" has to get through."""
_HOP = RATE // 100
"""Samples of a step of the decoder."""
_FRESH = 30 * RATE
"""Samples after which a spotter starts anew in the next pause: it keeps no endless record."""
_QUIET = 10
"""Frames without speech that make a pause."""


class VoiceUnavailable(ReferDINOError):
    """A package or device for voice is missing on this machine."""


def pocketsphinx() -> Any:
    """The package.

    Raises:
        VoiceUnavailable: it is not installed.
    """
    try:
        return importlib.import_module("pocketsphinx")
    except ImportError as error:
        raise VoiceUnavailable(
            f"pocketsphinx is not installed ({error}): pip install 'pocketsphinx>=5.0.4,<6'. "
            "It hears the stop word whichever recogniser is set; audio=none goes without."
        ) from error


def _decoder() -> Any:
    return pocketsphinx().Decoder(
        lm=None, samprate=float(RATE), loglevel="FATAL", dither=True, seed=1
    )


class GrammarRecogniser:
    """Recognises instructions in the words of a small model, and takes everything for one of them.

    What it hears may be unfinished. There is no confidence: PocketSphinx has none for grammars.

    Args:
        words: the model's vocabulary; None for one that reads any word.
        wake_phrase: may be spoken before an instruction; "" for none.

    Attributes:
        grammar: what it listens for.

    Raises:
        VoiceUnavailable: PocketSphinx is not installed.
        ReferDINOError: as `speech_grammar` says.
    """

    def __init__(self, words: Collection[str] | None, wake_phrase: str = "") -> None:
        self._decoder = _decoder()
        self.grammar = speech_grammar(words, self._decoder.lookup_word, wake_phrase)
        for word, phones in self.grammar.pronunciations.items():
            self._decoder.add_word(word, phones, False)
        self._decoder.add_fsg("grammar", self._decoder.parse_jsgf(self.grammar.text, TOP_RULE))
        self._decoder.activate_search("grammar")

    def transcribe(self, samples: np.ndarray) -> Transcript:
        """What (N,) int16 samples at 16 kHz say."""
        self._decoder.start_utt()
        for start in range(0, len(samples), _PIECE):
            piece = samples[start : start + _PIECE]
            self._decoder.process_raw(piece.tobytes(), False, False)
        beginning = self._decoder.hyp()
        self._decoder.end_utt()
        whole = self._decoder.hyp()
        if whole is not None:
            return Transcript(whole.hypstr)
        return Transcript(beginning.hypstr if beginning is not None else "", is_whole=False)


class KeyPhraseSpotter:
    """Finds key phrases in a stream, each with a threshold of its own.

    Args:
        thresholds: by phrase; the smaller, the more hits and the more false alarms (1e-50 to 1).

    Raises:
        VoiceUnavailable: PocketSphinx is not installed.
        ReferDINOError: a word of a phrase is not in its dictionary.
    """

    def __init__(self, thresholds: Mapping[str, float]) -> None:
        self._decoder = _decoder()
        for phrase in thresholds:
            unknown = [word for word in phrase.split() if self._decoder.lookup_word(word) is None]
            if unknown:
                raise ReferDINOError(
                    f"PocketSphinx cannot spot {phrase!r}: its dictionary lacks "
                    f"{', '.join(unknown)}. Choose other words."
                )
        with tempfile.NamedTemporaryFile("w", suffix=".list") as file:
            file.writelines(f"{phrase} /{limit:g}/\n" for phrase, limit in thresholds.items())
            file.flush()
            self._decoder.add_kws("phrases", file.name)
        self._decoder.activate_search("phrases")
        self._decoder.start_utt()
        self._begun = self._heard = 0  # positions in samples
        self._detector = VoiceActivityDetector()
        self._quiet = 0

    def take(self, samples: np.ndarray) -> list[Spotted]:
        """The phrases that become certain with the next (N,) int16 samples."""
        if not len(samples):
            return []
        self._decoder.process_raw(samples.tobytes(), False, False)
        self._heard += len(samples)
        found = []
        if self._decoder.hyp() is not None:
            for segment in self._decoder.seg():
                start = self._begun + segment.start_frame * _HOP
                end = self._begun + (segment.end_frame + 1) * _HOP
                found.append(Spotted(segment.word.strip(), start, min(end, self._heard)))
        age = self._heard - self._begun
        if found or age > 2 * _FRESH or (age > _FRESH and self._in_a_pause(samples)):
            self._decoder.end_utt()
            self._decoder.start_utt()
            self._begun, self._quiet = self._heard, 0
        return found

    def _in_a_pause(self, samples: np.ndarray) -> bool:
        for start in range(0, len(samples) - FRAME + 1, FRAME):
            speech = self._detector.is_speech(samples[start : start + FRAME])
            self._quiet = 0 if speech else self._quiet + 1
        return self._quiet >= _QUIET


class VoiceActivityDetector:
    """Tells speech from other sounds (WebRTC's detector, as PocketSphinx brings it).

    Raises:
        VoiceUnavailable: PocketSphinx is not installed.
    """

    def __init__(self) -> None:
        package = pocketsphinx()
        self._vad = package.Vad(package.Vad.STRICT, RATE, FRAME / RATE)

    def is_speech(self, frame: np.ndarray) -> bool:
        """Whether (FRAME,) int16 samples are speech."""
        return bool(self._vad.is_speech(frame.tobytes()))
