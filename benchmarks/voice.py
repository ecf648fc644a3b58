# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How well the node `voice` hears: sentences, the stop word, and how long it takes; prints tables.

    python benchmarks/voice.py                # the recordings in test/data/speech
    python benchmarks/voice.py --synthesise   # many sentences in many voices, where espeak-ng is

All voices are synthetic: the figures compare settings and releases, not people. Each recording is
taken as it is and with white noise 20 and 10 dB below its speech. Everything runs on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from referdino_core.following import Instruction, parse
from referdino_core.voice import RATE, description_rules, model_words, read_wav, understand
from referdino_core.voice.pocketsphinx_engine import GrammarRecogniser, KeyPhraseSpotter

RECORDINGS = Path(__file__).resolve().parents[1] / "test" / "data" / "speech"
NOISES: dict[str, float | None] = {"clean": None, "20 dB": 20.0, "10 dB": 10.0}
STOP_THRESHOLD, WAKE_THRESHOLD, WAKE = 1e-16, 1e-40, "hey robot"
WORDS = model_words("nano")
RULES = description_rules(WORDS)

INSTRUCTIONS = (
    "follow the red ball",
    "go to the blue box",
    "find the small yellow cube",
    "look at the leftmost ball",
    "approach the green cylinder behind the white box",
    "follow the large black sphere",
    "go to the purple capsule on the right",
    "find the orange object next to the blue cube",
    "look at the closest box",
    "follow the ball moving to the left",
    "drive to the rightmost cylinder",
    "search for the little green thing",
    "wait here",
    "resume",
    "forget it",
    "continue",
)
EVERYDAY = (
    "what time is the meeting",
    "can you pass me the salt please",
    "I will be back in ten minutes",
    "the weather is lovely today",
    "have you seen my keys",
    "we should paint the kitchen next year",
    "she bought a new bicycle yesterday",
    "the train was late again",
    "turn down the music a little",
    "I think dinner is ready",
    "where did you put the newspaper",
    "my sister lives in another city",
    "that was a good film",
    "the dog wants to go outside",
    "please close the door behind you",
    "we are running out of coffee",
    "he works at the hospital",
    "it is cold in this room",
    "let us talk about it tomorrow",
    "the printer is broken",
    "I forgot my umbrella",
    "the children are at school",
)


@dataclass(frozen=True)
class Sample:
    """A recording: what is said, of which kind, and the samples."""

    text: str
    kind: str
    samples: np.ndarray


def recorded() -> Iterator[Sample]:
    """The recordings of the tests, those without noise of their own."""
    for entry in json.loads((RECORDINGS / "recordings.json").read_text(encoding="utf-8")):
        if not entry["noise"]:
            samples = read_wav(RECORDINGS / f"{entry['name']}.wav")
            yield Sample(entry["text"], entry["kind"], samples)


def synthesised(voices: Iterable[str]) -> Iterator[Sample]:
    """Every sentence in every voice of espeak-ng, and "stop" at three speeds."""
    kinds = {"instruction": INSTRUCTIONS, "everyday": EVERYDAY}
    for voice in voices:
        for kind, sentences in kinds.items():
            for text in sentences:
                yield Sample(text, kind, spoken(text, voice))
            for speed in (130, 150, 170) if kind == "instruction" else ():
                yield Sample("stop", "stop", spoken("stop", voice, speed))
                yield Sample(WAKE, "wake", spoken(WAKE, voice, speed))


def spoken(text: str, voice: str, speed: int = 150) -> np.ndarray:
    """A sentence in a voice of espeak-ng, (N,) int16 at 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spoken.wav")
        subprocess.run(
            ["espeak-ng", "-v", voice, "-s", str(speed), "-w", str(path), text], check=True
        )
        return read_wav(path)


def in_a_room(samples: np.ndarray, decibels: float | None, seed: int) -> np.ndarray:
    """The recording between two quiet parts, with noise all over it."""
    generator = np.random.default_rng(seed)
    quiet = np.zeros(RATE // 2)
    speech = np.concatenate([quiet, samples.astype(np.float64), quiet])
    power = np.mean(np.square(speech[np.abs(speech) > 300]))
    deviation = 5.0 if decibels is None else np.sqrt(power / 10 ** (decibels / 10))
    noisy = speech + generator.normal(0.0, deviation, len(speech))
    return np.clip(np.rint(noisy), -32768, 32767).astype(np.int16)


def spotted(samples: np.ndarray, phrases: dict[str, float]) -> list[tuple[str, float]]:
    """Phrases with the seconds from their end to when they were certain."""
    spotter = KeyPhraseSpotter(phrases)
    found, step = [], RATE * 30 // 1000
    for at in range(0, len(samples), step):
        for one in spotter.take(samples[at : at + step]):
            found.append((one.phrase, (min(at + step, len(samples)) - one.end) / RATE))
    return found


def measure_sentences(samples: list[Sample], noises: dict[str, float | None]) -> list[list[str]]:
    """Rows by noise: sentences understood, misunderstood, refused; others taken for one."""
    recogniser = GrammarRecogniser(WORDS, WAKE)
    rows = []
    for name, decibels in noises.items():
        exact = other = refused = taken = 0
        seconds = work = 0.0
        said = [one for one in samples if one.kind == "instruction"]
        everyday = [one for one in samples if one.kind in ("everyday", "unfinished")]
        for number, one in enumerate([*said, *everyday]):
            noisy = in_a_room(one.samples, decibels, number)
            began = time.process_time()
            heard = understand(recogniser.transcribe(noisy), RULES, WAKE)
            work += time.process_time() - began
            seconds += len(noisy) / RATE
            understood = isinstance(heard, Instruction)
            if one.kind != "instruction":
                taken += understood
            elif heard == parse(one.text.removeprefix(WAKE), RULES):
                exact += 1
            else:
                other += understood
                refused += not understood
        rows.append(
            [
                name,
                f"{exact}/{len(said)}",
                f"{other}/{len(said)}",
                f"{refused}/{len(said)}",
                f"{taken}/{len(everyday)}",
                f"{work / seconds:.3f}",
            ]
        )
    return rows


def measure_spotting(samples: list[Sample], noises: dict[str, float | None]) -> list[list[str]]:
    """Rows by noise: hits and false alarms of both phrases, delay of stop, real-time factor."""
    rows = []
    for name, decibels in noises.items():
        hits = {"stop": 0, WAKE: 0}
        false = {"stop": 0, WAKE: 0}
        counts = {"stop": 0, WAKE: 0, "others": 0}
        delays: list[float] = []
        seconds = work = 0.0
        for number, one in enumerate(samples):
            noisy = in_a_room(one.samples, decibels, number)
            began = time.process_time()
            found = spotted(noisy, {"stop": STOP_THRESHOLD, WAKE: WAKE_THRESHOLD})
            work += time.process_time() - began
            seconds += len(noisy) / RATE
            phrases = {phrase for phrase, _ in found}
            delays += [delay for phrase, delay in found if phrase == "stop" and "stop" in one.text]
            for phrase in hits:
                said = phrase in one.text
                counts[phrase] += said
                hits[phrase] += said and phrase in phrases
                false[phrase] += not said and phrase in phrases
        rows.append(
            [
                name,
                f"{hits['stop']}/{counts['stop']}",
                f"{false['stop']}/{len(samples) - counts['stop']}",
                f"{max(delays, default=0.0):.2f} s",
                f"{hits[WAKE]}/{counts[WAKE]}",
                f"{false[WAKE]}/{len(samples) - counts[WAKE]}",
                f"{work / seconds:.3f}",
            ]
        )
    return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--synthesise", action="store_true", help="speak with espeak-ng")
    parser.add_argument(
        "--voices", nargs="+", default=["en-us", "en-us+f2", "en-gb", "en-gb-x-rp+f4"]
    )
    arguments = parser.parse_args()
    os.sched_setaffinity(0, list(itertools.islice(os.sched_getaffinity(0), 1)))
    samples = list(synthesised(arguments.voices) if arguments.synthesise else recorded())
    length = sum(len(one.samples) for one in samples) / RATE
    print(f"{len(samples)} recordings of synthetic voices, {length:.0f} s\n")
    sentences = [
        "noise",
        "exact",
        "another instead",
        "refused",
        "everyday taken",
        "real-time factor",
    ]
    print(table(sentences, measure_sentences(samples, NOISES)), end="\n\n")
    spotting = [
        "noise",
        "stop heard",
        "false stops",
        "latest stop",
        "wake heard",
        "false wakes",
        "real-time factor",
    ]
    print(table(spotting, measure_spotting(samples, NOISES)))


if __name__ == "__main__":
    main()
