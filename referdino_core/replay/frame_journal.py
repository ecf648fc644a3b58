# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Lines of `frames.jsonl`, the journal of a run's frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from referdino_core.evaluation.stream_scores import FrameScore
from referdino_core.media.frame_records import target_record
from referdino_core.messages.results import Verdict
from referdino_core.replay.answers import Targets
from referdino_core.replay.clocks import Scheduled
from referdino_core.replay.commands import CommandLog
from referdino_core.replay.recording import RecordedFrame


def frame_record(
    scheduled: Scheduled[RecordedFrame],
    delay: float | None,
    error: str | None,
    verdict: Verdict,
    targets: Targets,
    log: CommandLog,
    scores: Mapping[int, FrameScore | None],
) -> dict[str, Any]:
    """A line of `frames.jsonl`; a command's score stands by each of its targets."""
    truths = {place: None if one is None else asdict(one) for place, one in scores.items()}
    places = [log.place_of(one.command_id, one.command) for one in targets]
    return {
        "index": scheduled.frame.index,
        "stamp": scheduled.frame.stamp,
        "dropped": scheduled.taken is None,
        "delay": delay,
        "error": error,
        "judgement": verdict.judgement.value,
        "reason": verdict.reason,
        "dropped_before": verdict.dropped,
        "targets": [
            {
                "given": place,
                "command": target.command,
                **target_record(target),
                "truth": truths[place],
            }
            for target, place in zip(targets, places, strict=True)
        ],
        "without_target": [
            {"given": place, "command": log.given[place].text, "truth": truth}
            for place, truth in truths.items()
            if place not in places
        ],
    }
