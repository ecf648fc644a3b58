# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m referdino_core.evaluation` with other published models, on small random networks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import peer_samples

from referdino_core.evaluation.__main__ import main

Program = Callable[..., None]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program as it is called with some arguments."""

    def called(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["evaluation", *map(str, arguments)])
        main()

    return called


@pytest.mark.slow
def test_a_peer_is_scored_on_the_same_clips_in_the_stream(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders, out = peer_samples.save_folders(tmp_path / "weights"), tmp_path / "table.md"
    given = ("--model", "grounded-sam2", "--checkpoint", folders, "--clips", 1, "--out", out)
    program(*given, "--measures", "sentences", "cost")
    page = out.read_text()
    assert page.strip() == capsys.readouterr().out.strip()
    assert page.startswith("grounded-sam2, split test") and "box_threshold=0.25" in page
    assert "streaming: J&F" in page and "whole-clip" not in page
    size = sum(path.stat().st_size for path in folders.glob("*/*.safetensors")) / 1e6
    assert f"| files of weights | {size:.1f} MB |" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "grounded-sam2", "--inference", "whole-clip"), "streams only"),
        (("--model", "grounding-dino", "--accept", 0.4), "thresholds of its own"),
        (("--model", "sam3"), "huggingface.co/facebook/sam3"),
        (("--model", "grounding-dino"), "referdino download grounding-dino-tiny"),
        (("--model", "soc_swint"), "not causal"),
        (("--model", "another"), "There is no model 'another'"),
        (("--checkpoint", "weights"), "with --model"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    program: Program,
    arguments: tuple[object, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        program(*arguments)
    lines = f"{capsys.readouterr().err}{stopped.value}".splitlines()
    (error,) = (line for line in lines if "error:" in line)
    assert said in error
