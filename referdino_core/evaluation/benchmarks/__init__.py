# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The published benchmarks' validation protocols, from their original folder layouts.

Readers (`ref_youtube_vos` …) know files, `answers` knows inference, `protocols` knows scores;
`running` brings them together and `catalogue` says what belongs together.
"""

BENCHMARK_NAMES = ("ref-youtube-vos", "ref-davis17", "mevis", "a2d-sentences", "jhmdb-sentences")
WHOLE_CLIP, STREAM = "whole-clip", "stream"
"""Names of the two ways of inference."""
