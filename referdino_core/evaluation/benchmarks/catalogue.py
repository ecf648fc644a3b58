# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Catalogue of benchmarks: reader, protocol and submission format by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from referdino_core.evaluation.benchmarks.a2d_sentences import A2DSentences
from referdino_core.evaluation.benchmarks.clips import Benchmark
from referdino_core.evaluation.benchmarks.jhmdb_sentences import JHMDBSentences
from referdino_core.evaluation.benchmarks.mevis import MeViS
from referdino_core.evaluation.benchmarks.protocols import (
    CompetingObjectsProtocol,
    ExpressionProtocol,
    FrameProtocol,
    Protocol,
)
from referdino_core.evaluation.benchmarks.records import ANNOTATIONS
from referdino_core.evaluation.benchmarks.ref_davis17 import RefDAVIS17
from referdino_core.evaluation.benchmarks.ref_youtube_vos import RefYouTubeVOS
from referdino_core.evaluation.whole_clip import NO_MERGING

MEVIS_THRESHOLD = 0.2
"""Mean score above which slots are merged for MeViS, whose sentences may mean several objects."""


@dataclass(frozen=True)
class Entry:
    """A benchmark.

    Attributes:
        open: its reader, called with the folder and, as "split", the split to read.
        protocol: predictions and scores.
        merge_above: slots whose mean score exceeds this are merged; in a stream, objects.
        submission: folder within the zip file for its server; None if there is no server.
    """

    open: Callable[..., Benchmark]
    protocol: Protocol
    merge_above: float = NO_MERGING
    submission: str | None = None


BENCHMARKS = {
    "ref-youtube-vos": Entry(RefYouTubeVOS, ExpressionProtocol(), submission=ANNOTATIONS),
    "ref-davis17": Entry(RefDAVIS17, CompetingObjectsProtocol()),
    "mevis": Entry(MeViS, ExpressionProtocol(), MEVIS_THRESHOLD, submission=""),
    "a2d-sentences": Entry(A2DSentences, FrameProtocol()),
    "jhmdb-sentences": Entry(JHMDBSentences, FrameProtocol()),
}


def open_benchmark(name: str, folder: Path, split: str | None = None) -> Benchmark:
    """Open a benchmark's reader, by default for the split of its published results.

    Raises:
        SourceError: the folder is not laid out as the benchmark's is.
    """
    given = {} if split is None else {"split": split}
    return BENCHMARKS[name].open(folder, **given)
