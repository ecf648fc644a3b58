# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""WAV files in real time, and the microphone where there is none."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from speech_samples import write_wav

from referdino_core.voice import RATE, AudioError, VoiceUnavailable
from referdino_core.voice.sources import FilePlayer, Microphone


def test_files_are_played_in_order_in_real_time_with_quiet_around_them(tmp_path: Path) -> None:
    blocks: list[np.ndarray] = []
    player = FilePlayer(blocks.append)
    began = time.monotonic()
    try:
        for number in (1000, 2000):
            samples = np.full(RATE // 2, number, np.int16)
            assert player.play(write_wav(tmp_path / f"{number}.wav", samples)) == 0.5
        while time.monotonic() - began < 20.0:
            heard = np.concatenate([np.zeros(0, np.int16), *list(blocks)])
            if np.count_nonzero(heard == 2000) == RATE // 2 and abs(int(heard[-1])) < 10:
                break
            time.sleep(0.05)
    finally:
        player.close()
    assert time.monotonic() - began >= 0.9
    loud = heard[np.abs(heard) > 10]
    np.testing.assert_array_equal(loud, np.repeat([1000, 2000], RATE // 2))
    assert len(heard) > len(loud)


def test_a_file_that_is_missing_is_told() -> None:
    player = FilePlayer(lambda block: None)
    try:
        with pytest.raises(AudioError, match=r"no file .*none\.wav"):
            player.play(Path("none.wav"))
    finally:
        player.close()


@pytest.mark.parametrize("reason", ["no module", "no library"])
def test_a_missing_microphone_library_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    if reason == "no module":
        monkeypatch.setitem(sys.modules, "sounddevice", None)
    else:
        (tmp_path / "sounddevice.py").write_text('raise OSError("PortAudio library not found")\n')
        monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(VoiceUnavailable) as caught:
        Microphone(lambda block: None)
    assert "libportaudio2" in str(caught.value) and "\n" not in str(caught.value)
    sys.modules.pop("sounddevice", None)


class _PortAudioError(Exception):
    pass


def simulated(monkeypatch: pytest.MonkeyPatch, *rates: int) -> list[Any]:
    """A simulated sounddevice whose device has these rates; returns the streams that are opened."""
    opened: list[Any] = []
    package = ModuleType("sounddevice")

    class Stream:
        def __init__(self, **options: Any) -> None:
            self.options = options
            opened.append(self)

        def start(self) -> None: ...
        def close(self) -> None: ...

    def query_devices(device: str | None, kind: str) -> dict[str, Any]:
        if device not in (None, "USB"):
            raise ValueError(f"No input device matching {device!r}")
        return {"index": 3, "name": "USB microphone", "default_samplerate": 44100.0}

    def check_input_settings(samplerate: int, **_: Any) -> None:
        if samplerate not in rates:
            raise _PortAudioError("Invalid sample rate")

    for name, part in {
        "PortAudioError": _PortAudioError,
        "InputStream": Stream,
        "query_devices": query_devices,
        "check_input_settings": check_input_settings,
    }.items():
        setattr(package, name, part)
    monkeypatch.setitem(sys.modules, "sounddevice", package)
    return opened


@pytest.mark.parametrize("rates", [(16000, 44100), (44100,)])
def test_a_simulated_microphone_is_opened_at_16_khz_or_at_its_own_rate(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[int, ...]
) -> None:
    opened, blocks = simulated(monkeypatch, *rates), []
    microphone = Microphone(blocks.append, "USB")
    rate = opened[0].options["samplerate"]
    assert rate == rates[0] and str(rate) in microphone.name
    block = np.full((rate, 1), 8000, np.int16)
    opened[0].options["callback"](block, rate, None, None)
    assert blocks[0].dtype == np.int16
    assert len(blocks[0]) == pytest.approx(RATE, abs=2)
    assert blocks[0][2000:-2000].min() >= 7990 and blocks[0][2000:-2000].max() <= 8010
    microphone.close()


def test_a_simulated_microphone_of_another_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated(monkeypatch, 16000)
    with pytest.raises(VoiceUnavailable, match="No input device matching 'none'"):
        Microphone(lambda block: None, "none")
