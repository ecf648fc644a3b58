# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The ears of the node `voice`: threads that listen to a stream and recognise what was said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from referdino_core.voice import (
    RATE,
    Listener,
    Refused,
    StopHeard,
    Transcript,
    Utterance,
    WakeHeard,
)
from referdino_core.voice.audio import level
from referdino_core.voice.buffers import BlockQueue

_BACKLOG = 5 * RATE
_STEP = 0.1


class Recogniser(Protocol):
    """Turns speech into text."""

    def transcribe(self, samples: np.ndarray) -> Transcript:
        """What (N,) int16 samples at 16 kHz say."""
        ...


@dataclass(frozen=True)
class EarHandlers:
    """What is called, in threads of the ears.

    stop: the stop word was spotted. wake: the wake phrase was. text: what was recognised, and
    whether it still counts: "stop" may have come since. refused: why nothing was recognised.
    fault: an exception of a recogniser or of another handler.
    """

    stop: Callable[[StopHeard], None]
    wake: Callable[[], None]
    text: Callable[[Transcript, Callable[[], bool]], None]
    refused: Callable[[str], None]
    fault: Callable[[Exception], None]


class Ears:
    """One thread that listens, and one that recognises, so that "stop" never waits.

    Args:
        listener: finds utterances and the stop word.
        recogniser: of utterances; None if none are recognised here.
        handlers: see `EarHandlers`.

    Attributes:
        loudness: of the newest block, decibels below full scale.
    """

    def __init__(
        self, listener: Listener, recogniser: Recogniser | None, handlers: EarHandlers
    ) -> None:
        self._listener, self._recogniser, self._handlers = listener, recogniser, handlers
        self._blocks = BlockQueue(_BACKLOG)
        self._lock = threading.Lock()
        self._era = 0  # counts what ended everything said before
        self._last_block = time.monotonic()
        self._last_sound = time.monotonic()
        self.loudness = float("-inf")
        self._recognising = ThreadPoolExecutor(1, "referdino voice recogniser")
        self._thread = threading.Thread(target=self._run, name="referdino voice ears", daemon=True)
        self._thread.start()

    def take(self, samples: np.ndarray) -> None:
        """Hear (N,) int16 samples at 16 kHz; any thread may call it."""
        if len(samples):
            self._last_block = time.monotonic()
            self._blocks.put(samples)

    def press(self) -> None:
        """The talk button is held from now on."""
        with self._lock:
            self._listener.press()

    def release(self) -> None:
        """The talk button is let go."""
        with self._lock:
            self._listener.release()

    def listen_once(self) -> None:
        """Take the next thing said as an instruction."""
        with self._lock:
            self._listener.listen_once()

    def mute(self, speaking: bool) -> None:
        """While the robot itself speaks, nothing but the stop word counts."""
        with self._lock:
            self._listener.mute(speaking)
            self._era += speaking

    def forget(self) -> None:
        """Drop what is being said, and what is being recognised."""
        with self._lock:
            self._listener.forget()
            self._era += 1

    @property
    def is_open(self) -> bool:
        """Whether what is said now is meant for the robot."""
        return self._listener.is_open

    @property
    def silence(self) -> float:
        """Seconds since a block came."""
        return time.monotonic() - self._last_block

    @property
    def deafness(self) -> float:
        """Seconds since a block came that was not all zeros, as of a microphone switched off."""
        return time.monotonic() - self._last_sound

    @property
    def dropped(self) -> float:
        """Seconds of sound dropped since the start, because this machine was too slow."""
        return self._blocks.dropped / RATE

    def close(self) -> None:
        """End both threads."""
        self._blocks.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._recognising.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while (samples := self._blocks.take(_STEP)) is not None:
            if not len(samples):
                continue
            self.loudness = level(samples)
            if self.loudness > float("-inf"):
                self._last_sound = time.monotonic()
            try:
                with self._lock:
                    events, era = self._listener.take(samples), self._era
                for event in events:
                    self._handle(event, era)
            except Exception as error:
                self._handlers.fault(error)

    def _handle(self, event: object, era: int) -> None:
        if isinstance(event, StopHeard):
            with self._lock:
                self._era += 1
            self._handlers.stop(event)
        elif isinstance(event, WakeHeard):
            self._handlers.wake()
        elif isinstance(event, Refused):
            self._handlers.refused(event.reason)
        elif isinstance(event, Utterance) and self._recogniser is not None:
            self._recognising.submit(self._recognise, event, era)

    def _recognise(self, utterance: Utterance, era: int) -> None:
        assert self._recogniser is not None
        try:
            transcript = self._recogniser.transcribe(utterance.samples)
            self._handlers.text(transcript, lambda: era == self._era)
        except Exception as error:
            self._handlers.fault(error)
