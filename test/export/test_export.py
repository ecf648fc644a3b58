# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Exports compute what the network computes, always in the same bytes, and are read with care."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import golden
import onnx
import pytest
import torch
from onnx_exports import (
    SIZE,
    TOKENS,
    golden_export,
    golden_model,
    in_variant,
    nano,
    nano_export,
    recorded_once,
)
from torch import nn

from referdino_core.download.checksums import compute
from referdino_core.errors import ExportedSetError, ExportError
from referdino_core.evaluation.export_agreement import (
    MAX_BOX_ERROR,
    MIN_OVERLAP,
    world_agreement,
)
from referdino_core.evaluation.export_parity import MASK_LIMIT, check_export, open_for_check
from referdino_core.export.exported_set import VARIANTS, ExportedSet, read_exported_set
from referdino_core.export.exporting import checkpoint_sum, export
from referdino_core.export.lint import lint
from referdino_core.progress import Progress, ProgressMonitor
from referdino_core.world import WorldUnavailable

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

GOLDEN = "swinb_q32_128x160_f1"
SMALL = (32, 48)
"""An image of fewer tokens than there are queries."""


@pytest.fixture
def remembered() -> Iterator[None]:
    """For tests of what comes after recording: what was recorded before is exported from memory."""
    with recorded_once():
        yield


def graphs(exported: ExportedSet) -> Iterator[onnx.ModelProto]:
    for path in exported.files.values():
        yield onnx.load(path)


def test_an_export_of_a_large_model_computes_the_masks_of_a_golden_s_input() -> None:
    recorded = golden.load(GOLDEN)
    exported = golden_export(GOLDEN, "gather")
    model = golden_model(GOLDEN)
    report = check_export(exported, model, recorded.pixels, [recorded["input_ids"]])
    errors = {entry.output: entry.largest for entry in report.outputs}
    assert report.kept == 1.0
    assert errors["masks"] <= MASK_LIMIT
    assert errors["boxes"] <= 1e-5
    assert errors["scores"] <= 1e-3
    assert report.passed


@pytest.mark.parametrize("variant", ("plugin", "grid_sample"))
def test_an_export_of_the_bundled_model_computes_its_masks(variant: str) -> None:
    report = check_export(nano_export(variant=variant), nano())
    assert {entry.stage for entry in report.outputs} == {
        "image_encoder", "grounder", "readout", "all",
    }  # fmt: skip
    assert report.kept == 1.0
    assert max(entry.largest for entry in report.outputs) <= MASK_LIMIT


@pytest.mark.parametrize(("precision", "overlap"), [("fp16", 0.98), ("bf16", MIN_OVERLAP)])
def test_predictions_in_low_precision_match_the_network(precision: str, overlap: float) -> None:
    exported = nano_export(precision)
    assert check_export(exported, nano()).passed
    with open_for_check(nano(), exported) as backend:
        try:
            agreement = world_agreement(nano(), backend, range(5))
        except WorldUnavailable as error:
            pytest.skip(str(error))
    assert agreement.predictions > 100
    assert agreement.overlap >= overlap
    assert agreement.box_error <= MAX_BOX_ERROR
    assert agreement.passed


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_what_the_plugins_node_stands_for(variant: str, tmp_path: Path) -> None:
    direct = export(nano(), tmp_path / variant, SIZE, TOKENS, "fp32", variant)
    replaced = in_variant(nano_export(variant="plugin"), variant)
    assert direct.checksums == replaced.checksums


def test_a_broken_export_fails_its_check() -> None:
    exported = in_variant(nano_export(variant="plugin"), "gather")
    model = onnx.load(exported.files["readout"])
    matrices = (t for t in model.graph.initializer if len(t.dims) == 2)
    weight = next(t for t in matrices if any(t.raw_data))
    weight.raw_data = bytes(len(weight.raw_data))
    onnx.save(model, exported.files["readout"])
    content = json.loads((exported.folder / "export.json").read_text())
    content["stages"]["readout"]["sha256"] = compute(exported.files["readout"])
    (exported.folder / "export.json").write_text(json.dumps(content))
    assert not check_export(read_exported_set(exported.folder), nano()).passed


@pytest.mark.parametrize("precision", ("fp32", "fp16", "bf16"))
@pytest.mark.parametrize("variant", ("plugin", "gather"))
@pytest.mark.parametrize("release", (10, 11))
def test_tensorrt_accepts_what_is_exported_for_it(
    precision: str, variant: str, release: int
) -> None:
    exported = nano_export(precision, variant)
    assert [finding for graph in graphs(exported) for finding in lint(graph, release)] == []


def test_every_norm_is_one_node_and_no_shape_is_left_to_compute_but_the_dynamic_ones() -> None:
    exported = nano_export("fp16", "plugin")
    counts = {
        name: Counter(node.op_type for node in graph.graph.node)
        for name, graph in zip(exported.files, graphs(exported), strict=True)
    }
    norms = sum(isinstance(module, nn.LayerNorm) for module in nano().image_encoder.modules())
    assert counts["image_encoder"]["LayerNormalization"] == norms
    assert counts["image_encoder"]["Shape"] == 0
    assert counts["grounder"]["Shape"] == 1
    assert counts["readout"]["Shape"] == 2
    assert all(counts[name][kind] == 0 for name in counts for kind in ("If", "Loop", "Constant"))


def test_inputs_and_outputs_are_those_of_every_runtime() -> None:
    exported = nano_export("fp16", "plugin")
    low, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    found = {}
    for name, graph in zip(exported.files, graphs(exported), strict=True):
        for info in (*graph.graph.input, *graph.graph.output):
            kind = info.type.tensor_type
            dims = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)
            found[name, info.name] = (kind.elem_type, dims)
    assert found["image_encoder", "pixels"] == (full, (1, 3, *SIZE))
    assert found["image_encoder", "tokens"] == (low, (1, 406, 128))
    assert found["grounder", "finest"] == (low, (1, 32, 30, 40))
    assert found["grounder", "text"] == (full, ("N", TOKENS, 128))
    assert found["grounder", "text_attention"] == (onnx.TensorProto.BOOL, ("N", TOKENS, TOKENS))
    assert found["grounder", "text_positions"] == (onnx.TensorProto.INT32, ("N", TOKENS))
    assert found["grounder", "queries"] == (full, ("N", 32, 128))
    assert found["grounder", "mask_features"] == (low, ("N", 128, 30, 40))
    assert found["readout", "queries"] == (full, ("N", "T", 32, 128))
    assert found["readout", "ages"] == (full, ("N", "T"))
    assert found["readout", "scores"] == (full, ("N", "T", 32))
    assert found["readout", "mask_embeddings"] == (full, ("N", 32, 128))


def test_inputs_that_a_model_does_not_look_at_are_there_all_the_same() -> None:
    graph = onnx.load(golden_export(GOLDEN, "gather").files["readout"]).graph
    assert "ages" in [info.name for info in graph.input]
    assert not any("ages" in node.input for node in graph.node)


@pytest.mark.usefixtures("remembered")
def test_an_image_of_fewer_tokens_than_queries_is_exported(tmp_path: Path) -> None:
    exported = export(nano(), tmp_path / "small", SMALL, 8, "fp32", "gather")
    assert check_export(exported, nano()).passed


def test_the_same_weights_give_the_same_bytes_and_stay_as_they_are(tmp_path: Path) -> None:
    before = checkpoint_sum(nano())
    grounder = export(nano(), tmp_path / "again", SIZE, TOKENS, "fp16", "plugin")
    assert grounder.checksums == nano_export("fp16", "plugin").checksums
    assert checkpoint_sum(nano()) == before == grounder.checkpoint
    assert all(weight.requires_grad for weight in nano().grounder.parameters())


def test_other_weights_have_another_sum() -> None:
    before = checkpoint_sum(nano())
    weight = nano().image_encoder.level_embedding
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] += 1
    changed = checkpoint_sum(nano())
    with torch.no_grad():
        weight.copy_(kept)
    assert changed != before == checkpoint_sum(nano())


class Stop(Exception):
    """Something went wrong."""


@pytest.mark.usefixtures("remembered")
def test_an_export_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.phase == "grounder":
            raise Stop

    with pytest.raises(Stop):
        export(nano(), tmp_path / "export", SMALL, 8, monitor=ProgressMonitor(stop))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("remembered")
def test_an_earlier_export_is_replaced_and_other_files_never(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    first = export(nano(), folder, SMALL, 8, "fp32", "gather")
    again = export(nano(), folder, SMALL, 8, "fp32", "grid_sample")
    assert read_exported_set(folder) == again
    assert first.checksums["readout"] != again.checksums["readout"]
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ExportError, match="holds something else"):
        export(nano(), tmp_path, (64, 64), 8)
    with pytest.raises(ExportError, match="holds something else"):
        export(nano(), tmp_path / "letter.txt", (64, 64), 8)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    (
        ({"size": (16, 64)}, "at least 32"),
        ({"tokens": 0}, "number of tokens is 0"),
        ({"precision": "fp8"}, "no precision 'fp8'; choose fp32, bf16, fp16"),
        ({"deformable_attention": "magic"}, "no variant 'magic'"),
        ({"window": 0}, "window is 0"),
    ),
)
def test_networks_that_cannot_be_exported_are_refused(
    tmp_path: Path, settings: dict, complaint: str
) -> None:
    with pytest.raises(ExportError, match=complaint):
        export(nano(), tmp_path / "export", **{"size": (64, 64), **settings})


def test_without_onnx_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"onnx is not installed; .*pip install onnx onnxruntime"):
        export(nano(), tmp_path / "export", (64, 64))


@pytest.mark.parametrize(
    ("change", "complaint"),
    (
        (lambda content: content.update(format=1), "has format 1, this is 2"),
        (lambda content: content.pop("tokens"), "cannot be understood .KeyError"),
        (lambda content: content.update(precision="fp8"), "precision 'fp8'"),
        (lambda content: content.update(deformable_attention="x"), "deformable_attention 'x'"),
        (
            lambda content: content["stages"]["grounder"].update(sha256="0"),
            "grounder.onnx is not the file that export.json describes",
        ),
        (
            lambda content: content["stages"]["grounder"].update(file="lost.onnx"),
            "lost.onnx is missing",
        ),
    ),
)
def test_a_description_that_is_wrong_is_one_clear_error(change, complaint: str) -> None:
    exported = in_variant(nano_export(variant="plugin"), "gather")
    description = exported.folder / "export.json"
    content = json.loads(description.read_text())
    change(content)
    description.write_text(json.dumps(content))
    with pytest.raises(ExportedSetError, match=complaint):
        read_exported_set(exported.folder)


def test_a_folder_without_a_description_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(ExportedSetError, match="holds no exported network"):
        read_exported_set(tmp_path)
