# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whisper through faster-whisper: a recogniser of any words, where it and a model are installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.voice.audio import RATE
from referdino_core.voice.grammar import Transcript
from referdino_core.voice.pocketsphinx_engine import VoiceUnavailable

_MODEL_FILE = "model.bin"
_NO_SPEECH = 0.6
"""Probability of no speech above which a segment is dropped: Whisper invents words for silence."""
_LEAST_LIKELY = -1.0
"""Mean log probability below which a segment is dropped."""
_SHORTEST = RATE // 10


class WhisperRecogniser:
    """Recognises any words with a local model; it downloads nothing.

    Args:
        folder: of a model in CTranslate2's format, such as faster-whisper-base.en.
        language: code of the language, such as "en".

    Raises:
        VoiceUnavailable: faster-whisper or the model is missing, or the model cannot be loaded.
    """

    def __init__(self, folder: Path, language: str = "en") -> None:
        try:
            package = importlib.import_module("faster_whisper")
        except ImportError as error:
            raise VoiceUnavailable(
                f"faster-whisper is not installed ({error}): pip install 'faster-whisper>=1.1,<2', "
                "or set recogniser to pocketsphinx."
            ) from error
        if not (folder / _MODEL_FILE).is_file():
            raise VoiceUnavailable(
                f"{folder or 'whisper_model'} is no folder with a Whisper model: it lacks "
                f"{_MODEL_FILE}. Nothing is downloaded; set whisper_model to a model's folder."
            )
        try:
            self._model: Any = package.WhisperModel(
                str(folder), device="auto", compute_type="default", local_files_only=True
            )
        except Exception as error:
            raise VoiceUnavailable(
                f"The Whisper model in {folder} cannot be loaded: {error}"
            ) from error
        self._language = language

    def transcribe(self, samples: np.ndarray) -> Transcript:
        """What (N,) int16 samples at 16 kHz say."""
        if len(samples) < _SHORTEST:
            return Transcript("")
        segments, _ = self._model.transcribe(
            samples.astype(np.float32) / 32768.0,
            language=self._language,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        likely = [
            segment.text.strip()
            for segment in segments
            if segment.no_speech_prob <= _NO_SPEECH and segment.avg_logprob >= _LEAST_LIKELY
        ]
        return Transcript(" ".join(likely))
