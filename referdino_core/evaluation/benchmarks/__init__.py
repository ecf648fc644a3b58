# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Validation protocols of published benchmarks, on their original folder layouts.

Readers (`ref_youtube_vos` …) handle files, `segmenters` inference, `protocols` scores; `running`
combines them as `catalogue` says.
"""

OWN_CLIPS = "own-clips"
BENCHMARK_NAMES = (
    "ref-youtube-vos",
    "ref-davis17",
    "mevis",
    "a2d-sentences",
    "jhmdb-sentences",
    "refcoco",
    "refcoco+",
    "refcocog",
    OWN_CLIPS,
)
WHOLE_CLIP, STREAM = "whole-clip", "stream"
"""Names of the two inference modes."""
