# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Replay of one recording into one run folder."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import Cancelled, ReferDINOError, SourceError
from referdino_core.evaluation.clip_readers import memory_in_use
from referdino_core.evaluation.ground_truth import FrameGroundTruth, GroundTruth
from referdino_core.files import OutputError
from referdino_core.messages.results import Verdict
from referdino_core.progress import ProgressMonitor
from referdino_core.replay.clocks import Scheduled, latency_percentiles
from referdino_core.replay.commands import CommandLog, check_sentences
from referdino_core.replay.directory_lock import DirectoryLock, check_apart
from referdino_core.replay.frame_results import (
    FrameResults,
    LatestResult,
    Targets,
    frame_record,
    unjudged,
)
from referdino_core.replay.message_types import header_message
from referdino_core.replay.opening import (
    ReplayJob,
    changes_of,
    check_inference,
    open_job_ground_truth,
    open_recording,
    with_frame_rate,
)
from referdino_core.replay.overlay_track import OverlayTrack
from referdino_core.replay.recording import (
    RecordedCommand,
    RecordedFrame,
    Recording,
)
from referdino_core.replay.result_bag import ResultBag
from referdino_core.replay.run_folder import FORMAT, OVERLAY_NAME, RESULTS_NAME, counted
from referdino_core.replay.run_summary import (
    commit,
    identity_of,
    model_summary,
    referdino_version,
    versions,
)
from referdino_core.replay.scoring import RunScorer
from referdino_core.replay.unfinished_run import FRAMES_BETWEEN_SNAPSHOTS, UnfinishedRun
from referdino_core.replay.whole_clip import WholeClip, load_for_replay
from referdino_core.session.model_choice import LoadedEngine


def replay(
    job: ReplayJob, loaded: LoadedEngine | None = None, monitor: ProgressMonitor | None = None
) -> Path:
    """Replay one recording; returns the folder of the complete run.

    A run that was interrupted or killed resumes from its last snapshot, with the same results.

    Args:
        loaded: the model of `job.model`, if it is already loaded; its session is reset.
        monitor: for progress, in frames, and cancellation, after which the run can be resumed.

    Raises:
        Cancelled: the run was cancelled; the same job resumes from there.
        ReferDINOError: source, commands, ground truth, model or folder cannot be used.
    """
    monitor = monitor or ProgressMonitor()
    check_apart(job.out, job.source)
    changes = changes_of(job)
    with ExitStack() as stack:
        stack.enter_context(DirectoryLock(job.out))
        recording = stack.enter_context(open_recording(job))
        if not changes and recording.command_topic is None:
            raise SourceError(
                f"There is nothing to find in {job.source}: give --command or --commands"
                + ("; no command topic was recorded." if recording.kind == "bag" else ".")
            )
        truth = None if job.truth is None else stack.enter_context(open_job_ground_truth(job))
        scorer = RunScorer(truth, job.clock.has_delays)
        scorer.check(changes)
        check_inference(job, changes)
        loaded = loaded or load_for_replay(job.model, job.inference)
        check_sentences(changes, loaded.session.tokenizer.encode)
        loaded.session.begin_stream()
        if isinstance(loaded.session, WholeClip):
            with open_recording(job) as whole:
                loaded.session.read(whole, [change.text for change in changes], monitor)
        unfinished = UnfinishedRun(job.out, identity_of(job, loaded, changes), job.restart)
        stack.callback(unfinished.close)
        log = CommandLog(changes, job.objects_by_sentence)
        run = _Run(job, recording, log, scorer, loaded, unfinished)
        try:
            run.process(monitor)
            if truth is not None:
                truth.close()
            run.complete(truth)
        except OutputError as error:
            run.discard()
            raise OutputError(f"{error} {unfinished.outlook}") from error
        except BaseException:
            run.discard()
            raise
    return job.out


class _Run:
    """State of a replay in progress: recording, session, result files and counters."""

    def __init__(
        self,
        job: ReplayJob,
        recording: Recording,
        log: CommandLog,
        scorer: RunScorer,
        loaded: LoadedEngine,
        unfinished: UnfinishedRun,
    ) -> None:
        self._job = job
        self._recording = recording
        self._log = log
        self._scorer = scorer
        self._loaded = loaded
        self._unfinished = unfinished
        self._results = FrameResults(loaded.session, unfinished)
        self._latest_result = LatestResult()
        self._bag = ResultBag(job.out / RESULTS_NAME, recording.inputs)
        self._frame_rate, self._events = with_frame_rate(recording)
        self._overlay = OverlayTrack(job.out / OVERLAY_NAME, self._frame_rate)
        self._read = self._processed = self._dropped = self._late = self._failed = 0
        self._first_failure = ""
        self._size: tuple[int, int] | None = None
        self._latest_size: tuple[int, int] | None = None
        self._first: RecordedFrame | None = None
        self._latest: RecordedFrame | None = None
        self._delays = array("d")

    def process(self, monitor: ProgressMonitor) -> None:
        """Process every frame.

        Raises:
            Cancelled: the run was cancelled; a snapshot was saved.
            SourceError: not a single image can be read.
        """
        total = self._recording.frame_count
        monitor.report(0, total)
        can_resume = self._loaded.session.capabilities.snapshots
        ended = time.perf_counter()
        for scheduled in self._job.clock.schedule(self._frames()):
            self._results.begin_frame()
            self._take(scheduled, ended)
            self._results.end_frame()
            self._read += 1
            monitor.report(self._read, total)
            stopping = monitor.cancelled.is_set()
            is_due = stopping or self._read % FRAMES_BETWEEN_SNAPSHOTS == 0
            if can_resume and is_due and not self._results.is_recorded:
                self._unfinished.save(self._read, self._loaded.session.snapshot())
            if stopping:
                how = "resumes from there" if can_resume else "starts again"
                raise Cancelled(
                    f"Stopped after {counted(self._read, 'frame')}; the same command {how}."
                )
            ended = time.perf_counter()
        if self._size is None:
            raise SourceError(
                f"Not a single image of {self._job.source} can be read; {self._first_failure}"
            )

    def discard(self) -> None:
        """Remove the result files that are written anew when the run resumes."""
        self._bag.discard()
        self._overlay.discard()

    def complete(self, truth: GroundTruth | None) -> None:
        """Finish all result files and rename them to their final names."""
        self._bag.finish()
        self._overlay.finish()
        self._unfinished.complete([self._overlay.commit, self._bag.commit], self._summary(truth))

    def _frames(self) -> Iterator[RecordedFrame]:
        """The frames of the recording; commands are logged and inputs copied on the way."""
        for event in self._events:
            if isinstance(event, RecordedFrame):
                if self._first is None:
                    self._first = event
                    self._log.begin(event.arrival)
                self._latest = event
                yield event
            elif isinstance(event, RecordedCommand):
                self._log.add(event.time, event.text)
            else:
                self._bag.copy(event)

    def _take(self, scheduled: Scheduled[RecordedFrame], since: float) -> None:
        """Process or drop one frame and write its result; `since`: when work on it began."""
        frame = scheduled.frame
        # A command is active from when it was given, even if the next images are dropped.
        when = frame.arrival if scheduled.taken is None else scheduled.taken
        self._scorer.begin(self._log.apply(self._loaded.session, when))
        try:
            pixels = frame.pixels()
            self._size = self._size or pixels.shape[:2]
            self._latest_size = pixels.shape[:2]
            read = time.perf_counter()
            targets = self._targets(scheduled, pixels)
        except ReferDINOError as error:
            self._fail(scheduled, " ".join(str(error).split()))
            return
        inferred = time.perf_counter()
        drawn = self._overlay.write(pixels, targets)
        if scheduled.finished is not None:
            header = frame.header or header_message(frame.stamp)
            verdict = self._results.verdict
            published = targets if verdict.is_judged else unjudged(targets, verdict.judgement)
            self._bag.write(scheduled.finished, header, drawn, published, verdict)
        truth = self._scorer.truth_of(frame, self._latest_size)
        # A result counts from when it is available, not from when its image was taken.
        there = frame.arrival if scheduled.finished is None else scheduled.finished
        self._write(scheduled, there, self._delay(scheduled), None, targets, truth)
        self._count(scheduled)
        if scheduled.taken is not None and not self._results.is_recorded:
            took = {"read": read - since, "infer": inferred - read}
            took["write"] = time.perf_counter() - inferred
            used = memory_in_use(self._loaded.device, self._loaded.session.state_bytes)
            self._unfinished.write_timing({"index": frame.index, "seconds": took, "memory": used})

    def _targets(self, scheduled: Scheduled[RecordedFrame], pixels: np.ndarray) -> Targets:
        frame = scheduled.frame
        height, width = pixels.shape[:2]
        if scheduled.finished is None:
            self._results.skip(frame.seconds)
            return self._latest_result.at(frame.arrival, self._log.running(), (height, width))
        targets = self._results.step(pixels, frame.seconds)
        if not self._results.verdict.is_judged:
            return self._latest_result.at(frame.arrival, self._log.running(), (height, width))
        self._latest_result.add(scheduled.finished, targets)
        return targets

    def _fail(self, scheduled: Scheduled[RecordedFrame], reason: str) -> None:
        """Record that a frame failed; the latest earlier result is scored in its place."""
        frame = scheduled.frame
        self._failed += 1
        self._first_failure = self._first_failure or f"frame {frame.index}: {reason}"
        self._overlay.repeat()
        truth = self._scorer.truth_of(frame, self._latest_size)
        size = self._latest_size or (None if truth is None else truth.size)
        latest: Targets = ()
        if size is not None:
            latest = self._latest_result.at(frame.arrival, self._log.running(), size)
        if scheduled.finished is None:
            self._results.skip(frame.seconds)
        else:
            verdict = self._results.fail(frame.seconds, reason)
            header = frame.header or header_message(frame.stamp)
            published = unjudged(latest, verdict.judgement)
            self._bag.write_objects(scheduled.finished, header, published, verdict)
        self._write(scheduled, frame.arrival, None, reason, latest, truth)

    def _write(
        self,
        scheduled: Scheduled[RecordedFrame],
        there: int,
        delay: float | None,
        error: str | None,
        targets: Targets,
        truth: FrameGroundTruth | None,
    ) -> None:
        """Score targets that are available at a time (nanoseconds) and append to the journal."""
        seconds, dropped = self._log.seconds(there), scheduled.taken is None
        running = list(self._log.running())
        stale = dropped or error is not None or not self._results.verdict.is_judged
        scores = self._scorer.results.add(truth, seconds, dropped, targets, running, stale)
        self._score_streaming(scheduled.frame, dropped, truth)
        if not self._results.is_recorded:
            verdict = Verdict() if dropped else self._results.verdict
            record = frame_record(scheduled, delay, error, verdict, targets, self._log, scores)
            self._unfinished.write_frame(record)

    def _score_streaming(
        self, frame: RecordedFrame, dropped: bool, truth: FrameGroundTruth | None
    ) -> None:
        """Score the latest result available when a frame arrives, whatever happens to it later."""
        if self._scorer.streaming is None:
            return
        seconds = self._log.seconds(frame.arrival)
        running = list(self._log.running_at(seconds))
        latest: Targets = ()
        if truth is not None:
            latest = self._latest_result.at(frame.arrival, running, truth.size)
        self._scorer.streaming.add(truth, seconds, dropped, latest, running, stale=True)

    def _count(self, scheduled: Scheduled[RecordedFrame]) -> None:
        delay = self._delay(scheduled)
        if scheduled.taken is None:
            self._dropped += 1
        elif self._results.verdict.is_judged:
            self._processed += 1
        else:
            self._late += 1
        if delay is not None:
            self._delays.append(delay)

    def _delay(self, scheduled: Scheduled[RecordedFrame]) -> float | None:
        """Seconds from arrival to result; None if the clock does not simulate latency."""
        return scheduled.delay if self._job.clock.has_delays else None

    def _problems(self, truth: GroundTruth | None) -> list[str]:
        problems = [*self._recording.problems, *self._log.problems]
        problems += self._loaded.session.notes
        if self._failed:
            problems.append(
                f"{counted(self._failed, 'frame')} could not be processed; "
                f"the first: {self._first_failure}"
            )
        if self._late:
            problems.append(
                f"{counted(self._late, 'frame')} came after a newer one and were not processed: "
                "their stamps lie before their predecessors'."
            )
        resets, reason = self._loaded.session.reset_count, self._loaded.session.first_reset
        if resets:
            problems.append(f"Memories were reset {counted(resets, 'time')}; the first: {reason}.")
        if self._overlay.problem:
            problems.append(self._overlay.problem)
        return [*problems, *self._scorer.problems, *(truth.problems if truth else [])]

    def _summary(self, truth: GroundTruth | None) -> dict[str, Any]:
        assert self._first is not None and self._latest is not None and self._size is not None
        seconds = self._log.seconds(self._latest.arrival)
        height, width = self._size
        delay = latency_percentiles(self._delays)
        return {
            "format": FORMAT,
            "referdino": referdino_version(),
            "source": {
                "path": str(self._job.source),
                "kind": self._recording.kind,
                "topic": self._recording.topic,
                "frames": self._read,
                "seconds": seconds,
                "width": width,
                "height": height,
                "frame_rate": self._frame_rate,
            },
            **model_summary(self._loaded),
            "clock": self._job.clock.summary(),
            "commit": commit(),
            "versions": versions(),
            "commands": [
                {
                    "id": given.command_id,
                    "text": given.text,
                    "select": given.select,
                    "at": given.at,
                    "until": seconds if given.until is None else given.until,
                    "objects": None if given.objects is None else list(given.objects),
                }
                for given in self._log.given
            ],
            "frames": {
                "read": self._read,
                "answered": self._processed,
                "dropped": self._dropped,
                "late": self._late,
                "failed": self._failed,
            },
            "overlay": None if self._overlay.problem else OVERLAY_NAME,
            "problems": self._problems(truth),
            "truth": None if truth is None else truth.description,
            "scores": self._scorer.summary(),
            "delay": None if delay is None else asdict(delay),
        }
