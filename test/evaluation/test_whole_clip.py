# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whole-clip inference in pieces, and the table that puts it beside streaming."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import referdino_core as rd
from referdino_core.errors import CommandError, ImageError
from referdino_core.evaluation.whole_clip import read_clip
from referdino_core.network.pixels import mask_probabilities, to_pixels
from referdino_core.world import Clip, WorldRenderer

SIZE = (120, 160)


@pytest.fixture(scope="module")
def session() -> rd.Session:
    return rd.Session("nano")


@pytest.fixture(scope="module")
def clip(renderer: WorldRenderer) -> Clip:
    return renderer.clip("test", 0)


@pytest.mark.usefixtures("one_thread")  # threads split batches of other sizes elsewhere
def test_a_clip_in_pieces_is_the_clip_of_the_paper(session: rd.Session, clip: Clip) -> None:
    model, sentence = session.model, clip.expressions[0].text
    pixels = torch.cat([to_pixels(frame, min(SIZE)) for frame in clip.frames])
    with torch.inference_mode():
        whole = model.segment(pixels, session.tokenizer.encode(sentence), clip.stamps.tolist())
    scores = whole.scores.sigmoid()
    best = int(scores.mean(0).argmax())
    expected = mask_probabilities(whole.masks[:, [best]], SIZE, SIZE)[:, 0].numpy()
    reading = read_clip(
        model, session.tokenizer, sentence, clip.frames, clip.stamps.tolist(), frames_at_once=5
    )
    assert reading.best_slots() == [best]
    np.testing.assert_allclose(reading.scores, scores.numpy(), atol=1e-5)
    found = np.stack([masks[0] for masks in reading.probabilities([best])])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    reading = read_clip(model, session.tokenizer, sentence, clip.frames, clip.stamps.tolist())
    masks = reading.answer()
    assert masks.shape == (len(clip.frames), *SIZE) and masks.dtype == bool
    assert np.mean(masks != (expected > 0.5)) < 1e-4 and masks.any()


def test_slots_above_the_threshold_are_merged(session: rd.Session, clip: Clip) -> None:
    sentence = clip.expressions[0].text
    reading = read_clip(session.model, session.tokenizer, sentence, clip.frames[:3])
    means = np.sort(reading.scores.mean(axis=0))
    slots = reading.best_slots(merge_above=float(means[-3:-1].mean()))
    assert len(slots) == 2
    assert reading.best_slots(merge_above=1.0) == [int(reading.scores.mean(axis=0).argmax())]
    merged = reading.answer(merge_above=float(means[-3:-1].mean()))
    assert (merged == [masks.any(axis=0) for masks in reading.masks(slots)]).all()


def test_what_is_kept_of_a_frame_is_small(session: rd.Session, clip: Clip) -> None:
    reading = read_clip(session.model, session.tokenizer, "the red ball", clip.frames[:2])
    kept = sum(narrow.numel() for narrow in reading._kept)
    width = session.model.configuration.width
    assert kept <= 2 * (width // 16) * (SIZE[0] // 4) * (SIZE[1] // 4)


def test_clips_that_cannot_be_read_are_refused(session: rd.Session, clip: Clip) -> None:
    model, tokenizer, frames = session.model, session.tokenizer, list(clip.frames[:2])
    with pytest.raises(ImageError, match="no frames"):
        read_clip(model, tokenizer, "the red ball", [])
    with pytest.raises(ImageError, match="80x60"):
        read_clip(model, tokenizer, "the red ball", [*frames, frames[0][::2, ::2]])
    with pytest.raises(ImageError, match="stamps"):
        read_clip(model, tokenizer, "the red ball", frames, [0.0])
    with pytest.raises(CommandError):
        read_clip(model, tokenizer, " ", frames)


@pytest.mark.slow
def test_one_command_puts_both_ways_of_inference_side_by_side(
    renderer: WorldRenderer, tmp_path: Path
) -> None:
    out = tmp_path / "table.md"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "referdino_core.evaluation", "--clips", "2"),
            *("--measures", "sentences", "cost", "--out", str(out)),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = out.read_text().splitlines()
    head = next(line for line in lines if line.startswith("| sentences"))
    for inference in ("streaming", "whole-clip"):
        assert all(f"{inference}: {name}" in head for name in ("J", "F", "J&F", "right object"))
    (row,) = (line for line in lines if line.startswith("| static, all"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == 10 and int(cells[1]) == 4
    for region, boundary, both in (cells[2:5], cells[6:9]):
        assert 0.3 < float(region) <= 1
        assert float(both) == pytest.approx((float(region) + float(boundary)) / 2, abs=2e-3)
    assert any("whole-clip: answered with a mask" in line for line in lines)
    assert any(line.startswith("| median time per image") for line in lines)
    assert out.read_text().strip() == run.stdout.strip()
