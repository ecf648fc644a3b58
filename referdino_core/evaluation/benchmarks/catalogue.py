# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Catalogue of benchmarks: reader, protocol and submission format by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from referdino_core.evaluation.benchmarks import OWN_CLIPS
from referdino_core.evaluation.benchmarks.a2d_sentences import A2DSentences
from referdino_core.evaluation.benchmarks.clips import (
    Benchmark,
    ContextWindow,
    window_around,
)
from referdino_core.evaluation.benchmarks.jhmdb_sentences import JHMDBSentences
from referdino_core.evaluation.benchmarks.mevis import MeViS
from referdino_core.evaluation.benchmarks.own_clips import BagReader, OwnClips
from referdino_core.evaluation.benchmarks.protocols import (
    CompetingObjectsProtocol,
    ExpressionProtocol,
    FrameProtocol,
    Protocol,
)
from referdino_core.evaluation.benchmarks.records import ANNOTATIONS
from referdino_core.evaluation.benchmarks.ref_davis17 import RefDAVIS17
from referdino_core.evaluation.benchmarks.ref_youtube_vos import RefYouTubeVOS
from referdino_core.evaluation.benchmarks.refcoco import TITLES, RefCOCO
from referdino_core.evaluation.benchmarks.soc_segmenter import SOCProtocol
from referdino_core.evaluation.whole_clip import NO_MERGING
from referdino_core.peers.soc.reading import EVALUATED_FRAMES

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
        soc: protocol of SOC's published evaluation; None if there is none.
    """

    open: Callable[..., Benchmark]
    protocol: Protocol
    merge_above: float = NO_MERGING
    submission: str | None = None
    soc: SOCProtocol | None = None


SOC_FRAMES = SOCProtocol(frame_size=EVALUATED_FRAMES, context=window_around)

BENCHMARKS = {
    "ref-youtube-vos": Entry(
        RefYouTubeVOS, ExpressionProtocol(), submission=ANNOTATIONS, soc=SOCProtocol()
    ),
    "ref-davis17": Entry(
        RefDAVIS17, CompetingObjectsProtocol(), soc=SOCProtocol(frames_at_once=36)
    ),
    "mevis": Entry(MeViS, ExpressionProtocol(), MEVIS_THRESHOLD, submission=""),
    "a2d-sentences": Entry(A2DSentences, FrameProtocol(), soc=SOC_FRAMES),
    "jhmdb-sentences": Entry(JHMDBSentences, FrameProtocol(), soc=SOC_FRAMES),
    **{name: Entry(partial(RefCOCO, name=name), FrameProtocol()) for name in TITLES},
    OWN_CLIPS: Entry(OwnClips, ExpressionProtocol()),
}


def open_benchmark(
    name: str,
    folder: Path,
    split: str | None = None,
    context: ContextWindow | None = None,
    bags: BagReader | None = None,
) -> Benchmark:
    """Open a benchmark's reader, by default for the split of its published results.

    Args:
        context: frames of a clip, for benchmarks that evaluate one frame of it; by default those up
            to that frame.
        bags: reads recordings among own clips.

    Raises:
        SourceError: the folder does not have the benchmark's structure.
    """
    given: dict[str, Any] = {} if split is None else {"split": split}
    if context is not None:
        given["context"] = context
    if name == OWN_CLIPS:
        given["bags"] = bags
    return BENCHMARKS[name].open(folder, **given)
