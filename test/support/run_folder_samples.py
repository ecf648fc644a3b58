# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Run folders for the tests of reports: two moving discs, predictions with known faults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from referdino_core.evaluation.tracking_measures import TrackingScores, combined
from referdino_core.media.overlay import draw, enlarge
from referdino_core.media.writers import VideoWriter
from referdino_core.messages import run_lengths
from referdino_core.replay.run_folder import FORMAT
from referdino_core.target import Target, TargetState

HEIGHT, WIDTH = 96, 128
RATE = 10
FIRST_STAMP = 1_700_000_000_000_000_000
HOSTILE_SENTENCE = 'the <script>alert(1)</script> ball & "more"'
SENTENCES = {"1": "the red ball", "2": HOSTILE_SENTENCE}
SECOND_COMMAND_FROM = 20  # frame


@dataclass(frozen=True)
class Faults:
    """Frames in which the first command's prediction is wrong, and frames that fail entirely."""

    wrong: range = range(20, 28)
    missed: range = range(30, 34)
    absent: range = range(44, 52)  # the red disc is out of sight
    alarms: range = range(46, 48)
    poor: range = range(36, 39)
    dropped: tuple[int, ...] = (10, 11, 40)
    failed: tuple[int, ...] = ()


def write_run(
    folder: Path,
    faults: Faults | None = None,
    frames: int = 60,
    sentences: Mapping[str, str] | None = None,
    truth: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a complete run folder; `changes` replace parts of its summary.

    The first sentence means the red disc, all others the blue one.
    """
    faults = faults or Faults()
    sentences = SENTENCES if sentences is None else sentences
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    enlarged = enlarge(np.zeros((HEIGHT, WIDTH, 3), np.uint8), ())[0]
    with VideoWriter(folder / "overlay.mp4", RATE, enlarged.shape[1::-1]) as video:
        for index in range(frames):
            discs = _discs(index, faults)
            targets = _targets(index, discs, faults, sentences)
            image = _image(index, discs)
            video.write(draw(*enlarge(image, targets)))
            lines.append(_line(index, targets, discs, faults, truth))
    write_lines(folder / "frames.jsonl", lines)
    write_lines(
        folder / "timing.jsonl",
        [
            {
                "index": line["index"],
                "seconds": {"read": 0.002, "infer": 0.03 + 0.001 * (place % 7), "write": 0.004},
            }
            for place, line in enumerate(lines)
            if not line["dropped"]
        ],
    )
    (folder / "results.mcap").write_bytes(b"")
    summary = _summary(lines, sentences, truth) | dict(changes or {})
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def read_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _disc(x: float, y: float, radius: int) -> np.ndarray:
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(canvas, (round(x), round(y)), radius, 1, -1)
    return canvas.astype(np.bool_)


def _discs(index: int, faults: Faults) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth of the red and the blue disc."""
    red = _disc(20 + 1.4 * index, 70, 14)
    if index in faults.absent:
        red = np.zeros_like(red)
    return red, _disc(108 - 1.2 * index, 34, 13)


def _image(index: int, discs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[...] = (150, 140, 120)
    image[HEIGHT // 2 :] = (110, 100, 90)
    image[discs[1]] = (40, 80, 210)
    image[discs[0]] = (210, 40, 40)
    # Every frame says which it is, so that a test can read it back from the screen.
    for bit in range(8):
        level = 255 if index >> bit & 1 else 0
        image[:5, 16 * bit : 16 * (bit + 1)] = level
    return image


def frame_in_image(image: np.ndarray) -> int:
    """The frame that an image of an overlay, (H, W, 3) at any scale, says it is."""
    height, width = image.shape[:2]
    row = image[round(height * 2 / HEIGHT)].mean(axis=-1)
    bits = [row[round(width * (bit + 0.5) / 8)] > 127 for bit in range(8)]
    return sum(1 << bit for bit, is_set in enumerate(bits) if is_set)


def _targets(
    index: int,
    discs: tuple[np.ndarray, np.ndarray],
    faults: Faults,
    sentences: Mapping[str, str],
) -> list[Target]:
    red, blue = discs
    mask, state = _shrunk(red, 3), TargetState.TRACKING
    if index in faults.wrong:
        mask = blue
    elif index in faults.missed:
        mask, state = np.zeros_like(red), TargetState.OCCLUDED
    elif index in faults.poor:
        mask = _shrunk(red, 11)
    elif index in faults.absent:
        seen = index in faults.alarms
        mask, state = (blue, TargetState.TRACKING) if seen else (red, TargetState.LOST)
    targets = []
    for place, (command_id, sentence) in enumerate(sentences.items()):
        if place == 0:
            targets.append(_target(command_id, sentence, mask, state, index))
        elif index >= SECOND_COMMAND_FROM:
            targets.append(
                _target(command_id, sentence, _shrunk(blue, 3), TargetState.TRACKING, index)
            )
    return targets


def _shrunk(mask: np.ndarray, side: int) -> np.ndarray:
    return cv2.erode(mask.view(np.uint8), np.ones((side, side), np.uint8)).astype(np.bool_)


def _target(
    command_id: str, sentence: str, mask: np.ndarray, state: TargetState, index: int
) -> Target:
    box = None
    if mask.any():
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        box = (float(left), float(top), float(left + width), float(top + height))
    score = 0.9 - 0.02 * (index % 5) if box else 0.15
    return Target(command_id, sentence, 1, state, score, score - 0.1, box, mask)


def _line(
    index: int,
    targets: Sequence[Target],
    discs: tuple[np.ndarray, np.ndarray],
    faults: Faults,
    truth: bool,
) -> dict[str, Any]:
    dropped = index in faults.dropped
    return {
        "index": index,
        "stamp": FIRST_STAMP + index * 1_000_000_000 // RATE,
        "dropped": dropped,
        "delay": None if dropped else 0.04 + 0.001 * (index % 9),
        "error": "the JPEG image is cut off" if index in faults.failed else None,
        "targets": [
            {"given": place, **_target_record(target, *discs[:: -1 if place else 1], truth)}
            for place, target in enumerate(targets)
        ],
    }


def _target_record(
    target: Target, own: np.ndarray, other: np.ndarray, truth: bool
) -> dict[str, Any]:
    present = bool(own.any())
    region = float((target.mask & own).sum() / (target.mask | own).sum()) if present else None
    covers_other = (target.mask & other).sum() > target.mask.sum() / 2
    return {
        "command_id": target.command_id,
        "command": target.command,
        "state": target.state.value,
        "track_id": target.track_id,
        "score": target.score,
        "frame_score": target.frame_score,
        "box": target.box and list(target.box),
        "mask": {"size": [HEIGHT, WIDTH], "counts": run_lengths.encode(target.mask)},
        "truth": {
            "present": present,
            "region": region,
            "boundary": region,
            "centre_error": None if region is None else 10.0 * (1 - region),
            "overlap_with_other": 2 if covers_other else None,
        }
        if truth
        else None,
    }


def _summary(
    lines: Sequence[Mapping[str, Any]], sentences: Mapping[str, str], truth: bool
) -> dict[str, Any]:
    dropped = sum(line["dropped"] for line in lines)
    failed = sum(line["error"] is not None for line in lines)
    starts = [0.0] + [SECOND_COMMAND_FROM / RATE] * len(sentences)
    scores = [
        {"given": place, **_command_scores(lines, command_id, text)}
        for place, (command_id, text) in enumerate(sentences.items())
    ]
    return {
        "format": FORMAT,
        "referdino": "0.1.0",
        "source": {
            "path": "/data/hall.mcap", "kind": "bag", "topic": "/camera/image",
            "frames": len(lines), "seconds": len(lines) / RATE,
            "width": WIDTH, "height": HEIGHT, "frame_rate": float(RATE),
        },
        "model": {"name": "nano", "checkpoint": None, "sha256": "5c" * 32},
        "runtime": "torch fp32",
        "device": "cpu",
        "window": 8,
        "settings": {"accept": 0.45, "keep": 0.2, "hold_frames": 30},
        "clock": {"kind": "as live", "latency": {"seconds": 0.04}},
        "commit": "3a5c940f00",
        "versions": {"python": "3.11", "torch": "2.13", "numpy": "2.3", "opencv": "5.0"},
        "commands": [
            {"id": command_id, "text": text, "at": at, "until": None, "objects": [min(place, 2)]}
            for place, ((command_id, text), at) in enumerate(
                zip(sentences.items(), starts, strict=False), 1
            )
        ],
        "frames": {
            "read": len(lines), "answered": len(lines) - dropped - failed,
            "dropped": dropped, "failed": failed,
        },
        "problems": [],
        "truth": "topic /truth/labels" if truth else None,
        "scores": _scores(scores) if truth else None,
        "delay": None,
    }  # fmt: skip


def _scores(commands: list[dict[str, Any]]) -> dict[str, Any]:
    """Streaming loses a tenth of J&F."""
    entire = _all_scores(commands)
    streaming = {"commands": [_late(one) for one in commands], "all": _late(entire)}
    return {"commands": commands, "all": entire, "streaming": streaming}


def _late(scores: Mapping[str, Any]) -> dict[str, Any]:
    both = scores["region_and_boundary"]
    return {**scores, "region_and_boundary": None if both is None else 0.9 * both}


def _command_scores(
    lines: Sequence[Mapping[str, Any]], command_id: str, sentence: str
) -> dict[str, Any]:
    targets = [t for line in lines for t in line["targets"] if t["command_id"] == command_id]
    truths = [target["truth"] for target in targets if target["truth"]]
    regions = [truth["region"] for truth in truths if truth["region"] is not None]
    mean = float(np.mean(regions)) if regions else None
    statistics = None if mean is None else {"mean": mean, "recall": 1.0, "decay": 0.0}
    return {
        "command_id": command_id,
        "sentence": sentence,
        "frames": len(targets),
        "frames_dropped": 0,
        "frames_with_truth": len(truths),
        "region": statistics,
        "boundary": statistics,
        "region_and_boundary": mean,
        "right": None if mean is None else mean > 0.5,
        "time_to_acquire": 0.1,
        "frames_lost": sum(region == 0 for region in regions),
        "frames_absent": len(truths) - len(regions),
        "false_alarms": 2,
        "centre_error": 1.5,
        "frames_located": sum(region > 0 for region in regions),
        "tracking": _tracking(regions),
    }


def _tracking(regions: Sequence[float]) -> dict[str, Any]:
    """Two switches and as many lent frames where a prediction is elsewhere."""
    matches = sum(region >= 0.5 for region in regions)
    masks = sum(region > 0 for region in regions)
    switches = 2 if any(region < 0.1 for region in regions) else 0
    wrong = masks - matches + switches
    return {
        "ground_truths": len(regions),
        "matches": matches,
        "false_positives": masks - matches,
        "misses": len(regions) - matches,
        "identity_switches": switches,
        "identity_matches": matches,
        "lent_id_frames": switches,
        "mota": (matches - wrong) / len(regions) if regions else None,
        "idf1": 2 * matches / (len(regions) + masks) if regions else None,
    }


def _all_scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    means = [entry["region"]["mean"] for entry in scores if entry["region"]]
    mean = float(np.mean(means)) if means else None
    return {
        "region": mean,
        "boundary": mean,
        "region_and_boundary": mean,
        "right": 1.0,
        "commands_shown": len(means),
        "time_to_acquire": 0.1,
        "commands_acquired": len(means),
        "centre_error": 1.5,
        "commands_located": len(means),
        "frames_lost": sum(entry["frames_lost"] for entry in scores),
        "false_alarms": sum(entry["false_alarms"] for entry in scores),
        "tracking": asdict(combined(TrackingScores(**entry["tracking"]) for entry in scores)),
    }
