# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino export` writes, compares and examines, and says what it cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx_exports import nano, recorded_once

from referdino_core.checkpoint import save_weights
from referdino_core.cli import main
from referdino_core.evaluation import export_parity
from referdino_core.evaluation.export_parity import CheckReport
from referdino_core.export.exported_set import read_exported_set
from referdino_core.export.exporting import checkpoint_sum

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def recordings() -> Iterator[None]:
    """Exports are written and compared as ever, but every stage is recorded once."""
    with recorded_once():
        yield


def arguments(folder: Path, *more: str) -> list[str]:
    return ["export", "--size", "64x96", "--tokens", "16", "--out", str(folder), *more]


def test_an_export_is_written_compared_and_examined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "nano"
    assert main(arguments(folder, "--window", "4")) == 0
    told = capsys.readouterr().out
    assert "| grounder | queries |" in told
    assert "Same queries kept: 100.0%. Check passed." in told
    assert "Everything is supported by TensorRT 10 and 11." in told
    assert f"{folder / 'readout.onnx'}: " in told
    exported = read_exported_set(folder)
    assert (exported.height, exported.width, exported.tokens, exported.window) == (64, 96, 16, 4)
    assert (exported.precision, exported.deformable_attention) == ("fp32", "gather")
    assert exported.checkpoint == checkpoint_sum(nano())


def test_a_checkpoint_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "weights.safetensors"
    save_weights(nano(), weights)
    folder = tmp_path / "export"
    options = ("--checkpoint", str(weights), "--precision", "fp16", "--no-check")
    assert main(arguments(folder, *options, "--deformable-attention", "plugin")) == 0
    assert "Check" not in capsys.readouterr().out
    exported = read_exported_set(folder)
    assert (exported.model, exported.precision) == ("nano", "fp16")
    assert exported.deformable_attention == "plugin"


def test_weights_that_mean_nothing_are_always_the_same(tmp_path: Path) -> None:
    sums = []
    for name in ("one", "two"):
        options = ("--model", "nano", "--random-weights", "--no-check")
        assert main(arguments(tmp_path / name, *options)) == 0
        sums.append(read_exported_set(tmp_path / name).checkpoint)
    assert sums[0] == sums[1] != checkpoint_sum(nano())


def test_an_export_that_differs_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    differs = CheckReport("fp32", (export_parity.OutputDifference("all", "masks", 1.0, 0.5),), 0.9)
    monkeypatch.setattr(export_parity, "check_export", lambda *_: differs)
    assert main(arguments(tmp_path / "nano", "--deformable-attention", "grid_sample")) == 1
    output = capsys.readouterr()
    assert "Check FAILED." in output.out
    assert "The outputs of the export differ from the network's" in output.err


@pytest.mark.parametrize("size", ("640", "64x", "axb", "64×64"))
def test_a_size_that_is_none(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", "--size", size, "--out", str(tmp_path / "nano")])
    assert stopped.value.code == 2
    assert "is not a height and a width, as 360x640" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    (
        (("--model", "swint"), "No weights of swint are bundled"),
        (("--random-weights", "--checkpoint", "x.pth"), "not both"),
        (("--checkpoint", "missing.pth"), "missing.pth"),
    ),
)
def test_what_cannot_be_done_is_one_line(
    options: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(tmp_path / "export", *options)) == 1
    error = capsys.readouterr().err.strip()
    assert complaint in error
    assert error.splitlines()[-1].startswith("referdino: error: ")
    assert not (tmp_path / "export").exists()
