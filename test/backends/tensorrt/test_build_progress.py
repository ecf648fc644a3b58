# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One percentage out of the phases that TensorRT reports."""

from __future__ import annotations

import pytest

from referdino_core.backends.tensorrt.build_progress import PhaseTree


def test_one_phase_counts_its_steps() -> None:
    tree = PhaseTree()
    tree.start("all", None, 4)
    seen = []
    for step in range(4):
        tree.complete_step("all", step)
        seen.append(tree.fraction)
    assert seen == pytest.approx([0.2375, 0.475, 0.7125, 0.95])


def test_it_never_falls_whatever_is_reported() -> None:
    tree = PhaseTree()
    seen = [tree.fraction]
    for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "nobody")):
        tree.start(name, parent, 3)
        seen.append(tree.fraction)
    for name in ("c", "c", "b", "d", "a", "unknown"):
        tree.complete_step(name, 1)
        tree.complete_step(name, 0)
        seen.append(tree.fraction)
    for name in ("b", "c", "a", "d", "unknown"):
        tree.finish(name)
        seen.append(tree.fraction)
    assert seen == sorted(seen)
    assert 0.95 < seen[-1] <= 1.0


def test_more_steps_than_announced_stay_within_the_phase() -> None:
    tree = PhaseTree()
    tree.start("a", None, 0)
    tree.complete_step("a", 9)
    assert tree.fraction == pytest.approx(0.95)
