# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Building engines with NVIDIA's own parser and builder, those of TensorRT for RTX."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx_exports import fresh_folder, nano_export
from real_tensorrt import (
    CAPABILITY,
    MAX_COMMANDS,
    PRECISION,
    load_library_with_plugin,
)

import referdino_core as rd
from referdino_core.backends.tensorrt import builder as builder_module
from referdino_core.backends.tensorrt.build_progress import Heartbeat
from referdino_core.backends.tensorrt.builder import (
    BuilderOptions,
    apply_options,
    build_engine,
    strong_typing_flags,
)
from referdino_core.backends.tensorrt.library import forwarding_logger, sizes_of, trt
from referdino_core.backends.tensorrt.networks import (
    AxisRange,
    check_network,
    make_profile,
    torch_type,
)
from referdino_core.errors import BuildError, Cancelled
from referdino_core.export.exporting import export
from referdino_core.export.stage_io import STAGES
from referdino_core.progress import Progress, ProgressMonitor

pytestmark = pytest.mark.slow

LOW = torch.float16
RANGES = {"N": AxisRange(1, 1, MAX_COMMANDS), "T": AxisRange(1, 3, 3)}


@pytest.fixture(scope="module")
def folder() -> Path:
    """The bundled model as exported, with the real library and our plugin in this process."""
    load_library_with_plugin()
    return nano_export(PRECISION, "plugin").folder


class Parsed:
    """A stage's network as the real parser reads it, with all that must outlive it."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.logger = forwarding_logger()
        self.builder = trt.Builder(self.logger)
        self.network = self.builder.create_network(flags=strong_typing_flags())
        self.parser = trt.OnnxParser(self.network, self.logger)
        assert self.parser.parse_from_file(str(folder / f"{stage}.onnx"))


def build(folder: Path, stage: str, **settings: Any) -> bytes:
    settings.setdefault("low_precision", LOW)
    return build_engine(
        folder / f"{stage}.onnx",
        STAGES[stage],
        RANGES,
        BuilderOptions(),
        forwarding_logger(),
        capability=CAPABILITY,
        **settings,
    )


def changed(folder: Path, stage: str, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A folder with a network that was changed."""
    model = onnx.load(folder / f"{stage}.onnx")
    change(model)
    target = fresh_folder()
    onnx.save(model, target / f"{stage}.onnx")
    return target


# ---- Inputs, outputs, types and ranges, as the parser finds them ---------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_parser_finds_the_tensors_of_the_stage(folder: Path, stage: str) -> None:
    network = Parsed(folder, stage).network
    check_network(network, STAGES[stage], LOW, RANGES)
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    for found, expected in ((inputs, STAGES[stage].inputs), (outputs, STAGES[stage].outputs)):
        assert {tensor.name: torch_type(tensor.dtype) for tensor in found} == {
            tensor.name: tensor.dtype(LOW) for tensor in expected
        }
        for tensor in found:
            axes = next(one.axes for one in expected if one.name == tensor.name)
            for axis, size in zip(axes, sizes_of(tensor.shape), strict=True):
                assert (size == -1) == (axis in RANGES), (tensor.name, axis)


def test_only_commands_and_frames_get_a_range(folder: Path) -> None:
    parsed = Parsed(folder, "readout")
    profile = make_profile(parsed.builder, parsed.network, STAGES["readout"], RANGES)
    shapes = [list(shape) for shape in profile.get_shape("text")]
    width = shapes[0][3]
    assert shapes == [[1, 1, 16, width], [1, 3, 16, width], [MAX_COMMANDS, 3, 16, width]]
    parsed = Parsed(folder, "image_encoder")
    assert make_profile(parsed.builder, parsed.network, STAGES["image_encoder"], RANGES) is None


def test_options_reach_the_library(folder: Path) -> None:
    parsed = Parsed(folder, "readout")
    usual, chosen = (parsed.builder.create_builder_config() for _ in range(2))
    apply_options(BuilderOptions(), usual)
    apply_options(BuilderOptions(workspace_gib=1.5, tf32=True), chosen)
    assert not usual.get_flag(trt.BuilderFlag.TF32), "float32 stays float32 unless asked for"
    assert chosen.get_flag(trt.BuilderFlag.TF32)
    assert chosen.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 3 << 29


# ---- What is refused, in one line ----------------------------------------------------------------


def assert_one_line(error: BaseException) -> None:
    assert "\n" not in str(error) and len(str(error)) < 600


def test_network_of_another_stage_is_refused(folder: Path) -> None:
    (target := fresh_folder()).joinpath("grounder.onnx").symlink_to(folder / "readout.onnx")
    with pytest.raises(BuildError, match="the grounder network takes ages, mask_features"):
        build(target, "grounder")


def test_network_of_another_precision_is_refused(folder: Path) -> None:
    with pytest.raises(BuildError, match=r"is torch\.float16, torch\.float32 was expected"):
        build(folder, "readout", low_precision=torch.float32)


def test_image_size_that_may_change_is_refused(folder: Path) -> None:
    def free(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"

    target = changed(folder, "image_encoder", free)
    with pytest.raises(BuildError, match="axis H of pixels has no fixed size"):
        build(target, "image_encoder")


def test_unknown_operator_is_refused_with_its_place(folder: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "Softmax")
        node.op_type, node.domain = "Softmaximum", "nobody"

    target = changed(folder, "readout", rename)
    with pytest.raises(
        BuildError, match=r"does not understand .*readout\.onnx: node \d+ "
    ) as caught:
        build(target, "readout")
    assert "Softmaximum" in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ([15, 20, 8], "not height, width for each of 1 to 16 levels"),
        ([0, 20], "a size that is not positive or too large"),
        ([3, 3], "number of tokens differs from that of spatial_shapes"),
    ],
)
def test_attention_over_levels_that_do_not_fit_is_refused(
    folder: Path, sizes: list[int], complaint: str
) -> None:
    def resize(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type.startswith("Referdino"))
        attribute = next(one for one in node.attribute if one.name == "spatial_shapes")
        attribute.ints[:] = sizes

    target = changed(folder, "readout", resize)
    with pytest.raises(BuildError) as caught:
        build(target, "readout")
    assert complaint in str(caught.value)
    assert_one_line(caught.value)


def test_number_of_commands_that_cannot_change_is_refused(folder: Path) -> None:
    def fix(model: onnx.ModelProto) -> None:
        for value in model.graph.input:
            first = value.type.tensor_type.shape.dim[0]
            if first.dim_param:
                first.dim_value = 3

    target = changed(folder, "grounder", fix)
    with pytest.raises(
        BuildError, match=r"text is 3x16x\d+, but axis N should be dynamic"
    ) as caught:
        build(target, "grounder")
    assert_one_line(caught.value)


# ---- Progress and cancelling ---------------------------------------------------------------------


def test_progress_rises_to_the_end_and_the_log_hears_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="referdino.tensorrt")
    monkeypatch.setattr(
        builder_module, "Heartbeat", lambda describe: Heartbeat(describe, seconds=0.05)
    )
    reports: list[Progress] = []
    payload = build(folder, "readout", monitor=ProgressMonitor(reports.append))
    assert len(payload) > 1 << 20
    fractions = [progress.fraction for progress in reports]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1 and 0.9 < fractions[-1] <= 1.0
    assert len(set(fractions)) > 20 and len({progress.phase for progress in reports}) > 2
    assert any(
        record.getMessage().startswith("building the readout engine: ") for record in caplog.records
    )


def test_cancelling_ends_the_build_at_its_next_step(folder: Path) -> None:
    monitor = ProgressMonitor(lambda progress: monitor.cancelled.set())
    started = time.monotonic()
    with pytest.raises(Cancelled, match="grounder engine was cancelled"):
        build(folder, "grounder", monitor=monitor)
    assert time.monotonic() - started < 5, "all of it takes longer"
    with pytest.raises(Cancelled):
        build(folder, "grounder", monitor=monitor)


def test_error_in_a_callback_ends_the_build_and_is_raised(folder: Path) -> None:
    def fail(progress: Progress) -> None:
        raise RuntimeError("the node is gone")

    with pytest.raises(RuntimeError, match="the node is gone"):
        build(folder, "grounder", monitor=ProgressMonitor(fail))


# ---- A model of full size ------------------------------------------------------------------------


@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    "REFERDINO_FULL_SIZE" not in os.environ,
    reason="exports and builds Swin-T, minutes: set REFERDINO_FULL_SIZE=1",
)
def test_image_encoder_of_swin_t_builds(folder: Path) -> None:
    exported = export(rd.build("swint"), fresh_folder(), (360, 640), 32, PRECISION, "plugin")
    assert len(build(exported.folder, "image_encoder")) > 50 << 20
