# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Two runs, or two folders of runs, put side by side: what belongs together, who won where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import SourceError
from referdino_core.replay.run_folder import FRAMES_NAME, SUMMARY_NAME, RunFolder
from referdino_core.report.bootstrap import Difference, Pair, Value, paired_difference
from referdino_core.report.command_frames import CommandFrame, command_frames
from referdino_core.report.metrics_of_runs import MEASURES, Measure, Scores
from referdino_core.report.run_tracks import NANOSECONDS
from referdino_core.report.timeline import Timeline

_SAME_SOURCE = ("kind", "topic", "width", "height")


@dataclass(frozen=True)
class ClipPair:
    """Two runs over the same source.

    Attributes:
        name: of the clip. first, second: the runs.
    """

    name: str
    first: RunFolder
    second: RunFolder

    @property
    def commands(self) -> list[str]:
        """The keys of the commands that both runs were given.

        Of two commands of the same key that say different things, those that mean the same
        objects, or any where no ground truth could tell.
        """
        first, second = _commands_by_key(self.first), _commands_by_key(self.second)
        unjudged = self.first.summary["truth"] is None and self.second.summary["truth"] is None
        return [
            key
            for key in first
            if key in second and (unjudged or _is_comparable(first[key], second[key]))
        ]

    @property
    def other_meanings(self) -> list[tuple[str, list[int], list[int]]]:
        """Sentences of both runs whose objects were named differently, with both runs' objects."""
        first, second = _commands_by_key(self.first), _commands_by_key(self.second)
        both = [(first[key], second[key]) for key in self.commands]
        return [
            (str(one["text"]), one["objects"], other["objects"])
            for one, other in both
            if one["text"] == other["text"]
            and None not in (one["objects"], other["objects"])
            and one["objects"] != other["objects"]
        ]

    @property
    def unshared_sentences(self) -> tuple[list[str], list[str]]:
        """What only the first run was told, and what only the second."""
        first, second = (
            list(dict.fromkeys(str(command["text"]) for command in run.summary["commands"]))
            for run in (self.first, self.second)
        )
        return (
            [text for text in first if text not in second],
            [text for text in second if text not in first],
        )

    def sentence(self, key: str) -> str:
        """What a command said: in both runs, or in the first and the second where it changed."""
        first, second = (
            run.summary["commands"][run.command_keys.index(key)]["text"]
            for run in (self.first, self.second)
        )
        return str(first) if first == second else f"{first} → {second}"


@dataclass(frozen=True)
class PairedRuns:
    """What is compared.

    Attributes:
        clips: pairs of runs, at least one.
        unpaired: names of runs that only one of the two folders holds.
    """

    clips: list[ClipPair]
    unpaired: list[str] = field(default_factory=list)


@dataclass
class Contest:
    """One command in two runs, frame by frame.

    Attributes:
        timeline: series `won`: by how much the second run's answer is better, -1…1, or
            `disagreement`, 1 - overlap of the two masks, where there is no ground truth.
    """

    key: str
    sentence: str
    timeline: Timeline = field(default_factory=Timeline)


def pair_runs(first: Path, second: Path) -> PairedRuns:
    """Find what belongs together: two runs, or the runs of the same names in two folders.

    Raises:
        SourceError: a folder holds no run, or the runs are of different sources.
    """
    many = [not (path / FRAMES_NAME).is_file() and _has_runs(path) for path in (first, second)]
    if many[0] != many[1]:
        single, folder = (second, first) if many[0] else (first, second)
        raise SourceError(f"{single} is one run and {folder} holds many; give two of a kind.")
    if not many[0]:
        return PairedRuns([_pair(first.name, RunFolder(first), RunFolder(second))])
    names = [_run_names(path) for path in (first, second)]
    both = sorted(names[0] & names[1])
    if not both:
        raise SourceError(f"{first} and {second} hold no two runs of the same name.")
    clips = [_pair(name, RunFolder(first / name), RunFolder(second / name)) for name in both]
    return PairedRuns(clips, sorted(names[0] ^ names[1]))


def differences(runs: PairedRuns) -> list[tuple[Measure, Difference | None]]:
    """Every measure over the commands that both runs have a value of."""
    clips = [_scores_of(clip) for clip in runs.clips]
    if len(clips) == 1:
        # One clip: its commands are all there is to draw from.
        clips = [[pair] for pair in clips[0]]
    return [
        (measure, paired_difference(_values(clips, measure), measure.summing))
        for measure in MEASURES
    ]


def contests(clip: ClipPair) -> list[Contest]:
    """Follow both runs frame by frame, in constant memory.

    Raises:
        SourceError: the frames of the two runs are not the same.
    """
    found = {key: Contest(key, clip.sentence(key)) for key in clip.commands}
    keys, other_keys = clip.first.command_keys, clip.second.command_keys
    start: int | None = None
    for position, (one, other) in enumerate(_frame_pairs(clip)):
        start = one["stamp"] if start is None else start
        seconds = (one["stamp"] - start) / NANOSECONDS
        others = {other_keys[answer.given]: answer for answer in command_frames(other)}
        for answer in command_frames(one):
            key = keys[answer.given]
            contest, rival = found.get(key), others.get(key)
            if contest is None or rival is None:
                continue
            values, failure, note = _judge(answer, rival)
            contest.timeline.add(position, one["index"], seconds, values, {}, failure, note)
    return list(found.values())


def _judge(first: CommandFrame, second: CommandFrame) -> tuple[dict[str, float | None], str, str]:
    """The series of a contest, what failed in either run, and both values of J in words."""
    if first.truth is None or second.truth is None:
        disagreement = 1.0 - _overlap(first, second)
        return {"disagreement": disagreement}, "", f"overlap {1.0 - disagreement:.2f}"
    if first.truth["present"] != second.truth["present"]:
        return {}, "", ""  # judged against different objects
    failures = first.failure, second.failure
    values = first.quality, second.quality
    told = " → ".join(failure or "right" for failure in failures) if any(failures) else ""
    # Where the target is absent, no answer is the right one.
    before, after = (1.0 if value is None else value for value in values)
    present = first.truth["present"]
    return {"won": after - before}, told, f"J {before:.2f} → {after:.2f}" if present else "absent"


def _commands_by_key(run: RunFolder) -> dict[str, Mapping[str, Any]]:
    return dict(zip(run.command_keys, run.summary["commands"], strict=True))


def _is_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two commands say the same, or are known to mean the same objects."""
    if first["text"] == second["text"]:
        return True
    return first["objects"] is not None and first["objects"] == second["objects"]


def _overlap(first: CommandFrame, second: CommandFrame) -> float:
    if first.is_masked_as(second):
        return 1.0
    one, other = first.mask(), second.mask()
    if one is None or other is None:
        seen = other if one is None else one
        return 1.0 if seen is None or not seen.any() else 0.0
    if one.shape != other.shape:
        return 1.0
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def _frame_pairs(clip: ClipPair) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for one, other in zip_longest(clip.first.frames(), clip.second.frames()):
        if one is None or other is None or one["stamp"] != other["stamp"]:
            raise SourceError(
                f"{clip.first.path} and {clip.second.path} are runs over different frames; "
                "replay the same source twice."
            )
        yield one, other


def _pair(name: str, first: RunFolder, second: RunFolder) -> ClipPair:
    one, other = first.summary["source"], second.summary["source"]
    same = Path(one["path"]).name == Path(other["path"]).name and all(
        one.get(key) == other.get(key) for key in _SAME_SOURCE
    )
    if not same:
        raise SourceError(
            f"{first.path} is a run over {_described(one)} and {second.path} over "
            f"{_described(other)}; only runs over the same source can be compared."
        )
    stamps = [next(((f["stamp"]) for f in run.frames()), None) for run in (first, second)]
    if stamps[0] != stamps[1] or one["frames"] != other["frames"]:
        raise SourceError(
            f"{first.path} and {second.path} are runs over different frames of "
            f"{_described(one)}; replay the same source twice."
        )
    return ClipPair(name, first, second)


def _described(source: Mapping[str, Any]) -> str:
    topic = f" {source['topic']}" if source.get("topic") else ""
    return f"{source['path']}{topic} ({source['width']} × {source['height']})"


def _has_runs(path: Path) -> bool:
    return path.is_dir() and bool(_run_names(path))


def _run_names(path: Path) -> set[str]:
    return {found.parent.name for found in path.glob(f"*/{SUMMARY_NAME}")}


def _scores_of(clip: ClipPair) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    first, second = clip.first.scores_by_key, clip.second.scores_by_key
    return [(first[key], second[key]) for key in clip.commands if key in first and key in second]


def _values(clips: Any, measure: Measure) -> list[list[Pair]]:
    read: Callable[[Scores], Value | None]
    read = measure.parts if measure.summing == "ratio" else measure.of
    units: list[list[Pair]] = []
    for clip in clips:
        unit: list[Pair] = []
        for one, other in clip:
            before, after = read(one), read(other)
            if before is not None and after is not None:
                unit.append((before, after))
        units.append(unit)
    return units
