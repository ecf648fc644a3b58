# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings one after the other in this process, with a model that is loaded once."""

from __future__ import annotations

from collections.abc import Iterator

from referdino_core.batch.batch import Batch, BatchProgress, BatchWatch
from referdino_core.batch.one_run import run_recording
from referdino_core.batch.outcomes import Attempts, RunOutcome
from referdino_core.batch.ray_worker import RunCounter
from referdino_core.replay.progress import RunInterrupted, RunWatch
from referdino_core.session.model_choice import LoadedModel, load


def replay_in_process(
    batch: Batch, attempts: Attempts, watch: BatchWatch, loaded: LoadedModel | None = None
) -> Iterator[RunOutcome]:
    """Yield the final outcomes as they come; ends early when the watch asks to stop.

    Args:
        loaded: the model of the batch, where it is loaded already.

    Raises:
        ReferDINOError: the model cannot be loaded.
    """
    loaded = loaded or load(batch.model)
    counter = RunCounter()
    finished = 0

    def tell() -> None:
        total = len(batch.recordings)
        share = (finished + counter.share) / total
        watch.on_progress(BatchProgress(total, finished, share, counter.frames))

    def count(done: int) -> None:
        counter.count(done)
        tell()

    run_watch = RunWatch(counter.begin, count, watch.stop_requested)
    while not watch.stop_requested() and (recording := attempts.take()) is not None:
        try:
            outcome = run_recording(batch.job(recording), loaded, run_watch, batch.with_report)
        except RunInterrupted:
            return
        counter.end()
        final = attempts.settle(recording, outcome)
        if final is not None:
            finished += 1
            yield final
        tell()
