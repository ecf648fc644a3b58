# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Comparison of two runs, or two folders of runs: pairing, differences, frame-wise results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from referdino_core.errors import SourceError
from referdino_core.replay.run_folder import FRAMES_NAME, SUMMARY_NAME, RunFolder
from referdino_core.report.bootstrap import Difference, Pair, Value, paired_difference
from referdino_core.report.metrics import METRICS, Metric, Scores
from referdino_core.report.run_tracks import NANOSECONDS, CommandFrame, command_frames
from referdino_core.report.timeline import Timeline
from referdino_core.target import mask_overlap

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
        """The keys of the commands that both runs have in common.

        Commands of the same key but different text count if they mean the same objects, or if
        there is no ground truth.
        """
        first, second = _commands_by_key(self.first), _commands_by_key(self.second)
        unscored = self.first.summary["truth"] is None and self.second.summary["truth"] is None
        return [
            key
            for key in first
            if key in second and (unscored or _is_comparable(first[key], second[key]))
        ]

    @property
    def other_meanings(self) -> list[tuple[str, list[int], list[int]]]:
        """Common sentences that mean different objects in the two runs, with these objects."""
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
        """The sentences that only the first run has, and those that only the second has."""
        first, second = (
            list(dict.fromkeys(str(command["text"]) for command in run.summary["commands"]))
            for run in (self.first, self.second)
        )
        return (
            [text for text in first if text not in second],
            [text for text in second if text not in first],
        )

    def sentence(self, key: str) -> str:
        """The text of a command; "first → second" if it differs between the runs."""
        first, second = (
            run.summary["commands"][run.command_keys.index(key)]["text"]
            for run in (self.first, self.second)
        )
        return str(first) if first == second else f"{first} → {second}"


@dataclass(frozen=True)
class PairedRuns:
    """The runs to compare.

    Attributes:
        clips: pairs of runs, at least one.
        unpaired: names of runs that only one of the two folders contains.
    """

    clips: list[ClipPair]
    unpaired: list[str] = field(default_factory=list)


@dataclass
class HeadToHead:
    """One command in two runs, frame by frame.

    Attributes:
        timeline: series `won`: by how much the second run is better, -1…1; or, without ground
            truth, `disagreement`: 1 - overlap of the two masks.
    """

    key: str
    sentence: str
    timeline: Timeline = field(default_factory=Timeline)


def pair_runs(first: Path, second: Path) -> PairedRuns:
    """Pair two runs, or the runs of the same names in two folders.

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


def differences(runs: PairedRuns) -> list[tuple[Metric, Difference | None]]:
    """Every metric, over the commands with a value in both runs."""
    clips = [_scores_of(clip) for clip in runs.clips]
    if len(clips) == 1:
        # One clip: its commands are all there is to draw from.
        clips = [[pair] for pair in clips[0]]
    return [
        (metric, paired_difference(_values(clips, metric), metric.aggregation))
        for metric in METRICS
    ]


def head_to_heads(clip: ClipPair) -> list[HeadToHead]:
    """Compare both runs frame by frame, in constant memory.

    Raises:
        SourceError: the frames of the two runs are not the same.
    """
    found = {key: HeadToHead(key, clip.sentence(key)) for key in clip.commands}
    keys, other_keys = clip.first.command_keys, clip.second.command_keys
    start: int | None = None
    for position, (one, other) in enumerate(_frame_pairs(clip)):
        start = one["stamp"] if start is None else start
        seconds = (one["stamp"] - start) / NANOSECONDS
        others = {other_keys[entry.given]: entry for entry in command_frames(other)}
        for entry in command_frames(one):
            key = keys[entry.given]
            head_to_head, rival = found.get(key), others.get(key)
            if head_to_head is None or rival is None:
                continue
            values, failure, note = _compare_frames(entry, rival)
            head_to_head.timeline.add(position, one["index"], seconds, values, {}, failure, note)
    return list(found.values())


def _compare_frames(
    first: CommandFrame, second: CommandFrame
) -> tuple[dict[str, float | None], str, str]:
    """The series of a head-to-head, the failures of both runs, and both values of J as text."""
    if first.truth is None or second.truth is None:
        disagreement = 1.0 - _overlap(first, second)
        return {"disagreement": disagreement}, "", f"overlap {1.0 - disagreement:.2f}"
    if first.truth["present"] != second.truth["present"]:
        return {}, "", ""  # evaluated against different objects
    failures = first.failure, second.failure
    values = first.quality, second.quality
    both = " → ".join(failure or "right" for failure in failures) if any(failures) else ""
    # If the target is absent, an empty prediction is right.
    before, after = (1.0 if value is None else value for value in values)
    present = first.truth["present"]
    return {"won": after - before}, both, f"J {before:.2f} → {after:.2f}" if present else "absent"


def _commands_by_key(run: RunFolder) -> dict[str, Mapping[str, Any]]:
    return dict(zip(run.command_keys, run.summary["commands"], strict=True))


def _is_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two commands have the same text, or are known to mean the same objects."""
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
    return mask_overlap(one, other)


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


def _values(clips: Any, metric: Metric) -> list[list[Pair]]:
    read: Callable[[Scores], Value | None]
    read = metric.parts if metric.aggregation == "ratio" else metric.of
    units: list[list[Pair]] = []
    for clip in clips:
        unit: list[Pair] = []
        for one, other in clip:
            before, after = read(one), read(other)
            if before is not None and after is not None:
                unit.append((before, after))
        units.append(unit)
    return units
