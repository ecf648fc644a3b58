# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's timing cache: only TensorRT itself, which needs a GPU, measures while it builds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from simulated_export import write_exported_set
from simulated_tensorrt import simulate

from referdino_core.backends.tensorrt.builder import BuilderOptions, build_engine
from referdino_core.backends.tensorrt.library import forwarding_logger
from referdino_core.backends.tensorrt.networks import AxisRange
from referdino_core.export.stage_io import STAGES

RANGES = {"N": AxisRange(1, 1, 2), "T": AxisRange(1, 3, 3)}


def test_timing_cache_is_used_added_to_and_replaced_where_it_is_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    simulate(monkeypatch)
    onnx = write_exported_set(tmp_path / "swint") / "grounder.onnx"
    path = tmp_path / "timing.cache"

    def build() -> None:
        build_engine(
            onnx, STAGES["grounder"], RANGES, BuilderOptions(), forwarding_logger(),
            low_precision=torch.float16, timing_cache=path,
        )  # fmt: skip

    build()
    build()
    assert path.read_bytes() == b"++"
    path.write_bytes(b"other GPU")
    build()
    assert path.read_bytes() == b"+"
    assert [record.getMessage() for record in caplog.records] == [
        "timing.cache is not used: TensorRT does not accept it; starting it afresh"
    ]
