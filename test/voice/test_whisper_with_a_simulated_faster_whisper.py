# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whisper's recogniser. Its models are downloads, so faster-whisper itself is simulated here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from referdino_core.voice import Transcript, VoiceUnavailable
from referdino_core.voice.whisper_engine import WhisperRecogniser


class SimulatedModel:
    """Takes what WhisperModel of faster-whisper 1.x takes, and says three segments."""

    def __init__(self, model_size_or_path: str, **options: Any) -> None:
        self.options = options
        if "damaged" in model_size_or_path:
            raise RuntimeError("Unsupported model binary version")

    def transcribe(self, audio: np.ndarray, **options: Any) -> tuple[list[SimpleNamespace], None]:
        assert audio.dtype == np.float32 and np.abs(audio).max() <= 1.0
        assert options["language"] == "en" and not options["condition_on_previous_text"]
        said = [
            (" follow the red ball", 0.1, -0.2),
            (" Thank you.", 0.9, -0.2),
            (" mumbling", 0.1, -1.5),
        ]
        return [
            SimpleNamespace(text=text, no_speech_prob=silent, avg_logprob=likely)
            for text, silent, likely in said
        ], None


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"weights")
    return tmp_path


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("faster_whisper")
    package.WhisperModel = SimulatedModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", package)


@pytest.mark.usefixtures("_installed")
def test_unlikely_segments_and_silence_are_dropped(model: Path) -> None:
    recogniser = WhisperRecogniser(model)
    assert recogniser.transcribe(np.full(16_000, 100, np.int16)) == Transcript(
        "follow the red ball"
    )
    assert recogniser.transcribe(np.zeros(10, np.int16)) == Transcript("")


@pytest.mark.usefixtures("_installed")
def test_nothing_is_downloaded(model: Path) -> None:
    assert WhisperRecogniser(model)._model.options["local_files_only"] is True
    with pytest.raises(VoiceUnavailable, match=r"lacks\s+model\.bin\. Nothing is downloaded"):
        WhisperRecogniser(Path("base.en"))


@pytest.mark.usefixtures("_installed")
def test_a_damaged_model_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"")
    with pytest.raises(VoiceUnavailable, match="cannot be loaded: Unsupported model"):
        WhisperRecogniser(folder)


def test_a_missing_package_is_told_with_what_to_install(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(VoiceUnavailable, match="pip install 'faster-whisper"):
        WhisperRecogniser(model)
