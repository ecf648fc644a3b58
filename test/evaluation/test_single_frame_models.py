# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that were trained on single frames: streamed, evaluated, exported."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature_benchmarks import Scene, make_a2d_sentences, make_jhmdb_sentences, make_scenes
from numpy.testing import assert_allclose, assert_array_equal
from single_frames import SENTENCE, SIZE, direct, images

import referdino_core as rd
from referdino_core.building import load_model, tokenizer_of, warn_of_single_frames
from referdino_core.checkpoint import (
    save_weights,
)
from referdino_core.cli import main
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames, WholeClip
from referdino_core.evaluation.whole_clip import read_clip
from referdino_core.network.pixels import mask_probabilities
from referdino_core.world import WorldRenderer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def video() -> rd.ReferDINO:
    return load_model("nano", "cpu")


@pytest.fixture(scope="module")
def single(video: rd.ReferDINO) -> rd.ReferDINO:
    """The bundled model's weights, used as those of single frames."""
    return load_model("nano", "cpu", single_frame=True)


class TestStreams:
    def test_a_warning_says_that_they_do_not_stream(
        self, single: rd.ReferDINO, video: rd.ReferDINO, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, logger="referdino"):
            warn_of_single_frames(video)
            warn_of_single_frames(single)
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("referdino.session", "WARNING")
        assert "do not stream" in record.getMessage() and "\n" not in record.getMessage()
        assert "ryt_mevis_swinb" in record.getMessage()

    def test_a_session_goes_on_frame_by_frame(self, single: rd.ReferDINO) -> None:
        session = rd.Session(single)
        session.commands = {"a": SENTENCE, "b": "the box"}
        for number, image in enumerate(images(3)):
            targets = session.step(image, 0.1 * number)
            assert [target.command_id for target in targets] == ["a", "b"]
            assert all(0 < target.frame_score < 1 for target in targets)
            assert all(target.mask.shape == SIZE for target in targets)


class TestEvaluation:
    def test_a_reading_of_a_clip_is_that_of_its_frames(self, single: rd.ReferDINO) -> None:
        shown, tokenizer = images(3), tokenizer_of(single.configuration)
        reading = read_clip(single, tokenizer, SENTENCE, shown)
        for scores, image in zip(reading.scores, shown, strict=True):
            alone = direct(single, image)[0].sigmoid().numpy()
            assert_allclose(np.sort(scores), np.sort(alone), atol=3e-5)

    def test_predictions_of_the_evaluated_frame_come_from_the_decoders_queries_alone(
        self, single: rd.ReferDINO
    ) -> None:
        shown = images(3)
        frames = ReadFrames("clip", shown, [0.0, 0.1, 0.2], range(3), only_frame=2)
        (result,) = WholeClip(rd.Session(single)).segment(frames, [SENTENCE])
        logits, _, masks = direct(single, shown[-1])
        order = logits.argsort(descending=True, stable=True).tolist()
        expected = mask_probabilities(masks[None], SIZE, SIZE)[0].numpy() > 0.5
        candidates = result.candidates()
        assert_allclose([c.score for c in candidates], logits.sigmoid()[order], atol=1e-6)
        for candidate, slot in zip(candidates, order, strict=True):
            assert_array_equal(candidate.mask, expected[slot])

    @pytest.mark.parametrize(
        ("name", "make"),
        [("a2d-sentences", make_a2d_sentences), ("jhmdb-sentences", make_jhmdb_sentences)],
    )
    def test_the_command_evaluates_them_without_a_temporal_decoder(
        self,
        tmp_path: Path,
        renderer: WorldRenderer,
        video: rd.ReferDINO,
        single: rd.ReferDINO,
        name: str,
        make: Callable[[Path, list[Scene]], Path],
    ) -> None:
        if name == "a2d-sentences":
            pytest.importorskip("h5py")
        root = make(tmp_path / "data", make_scenes(renderer, 1))
        released, own = tmp_path / "a2d_swinb.safetensors", tmp_path / "own.safetensors"
        save_weights(video, released)
        save_weights(video, own)

        def evaluate(path: Path, *options: str) -> dict[str, Any]:
            out = tmp_path / "out"
            arguments = ["evaluate", name, "--data", str(root), "--out", str(out)]
            assert main([*arguments, "--checkpoint", str(path), *options]) == 0
            return json.loads((out / "summary.json").read_text(encoding="utf-8"))

        as_frames = evaluate(released, "--inference", "both")
        assert as_frames["model"]["single_frame"] is True
        runs = as_frames["inference"]
        assert all(run["complete"] and run["problems"] == [] for run in runs.values())
        whole = runs["whole-clip"]["scores"]
        assert evaluate(own, "--single-frame")["inference"]["whole-clip"]["scores"] == whole
        as_video = evaluate(own)
        assert "single_frame" not in as_video["model"]
        assert as_video["inference"]["whole-clip"]["scores"] != whole


class TestExports:
    def test_an_export_computes_what_the_network_computes(
        self, tmp_path: Path, single: rd.ReferDINO, video: rd.ReferDINO
    ) -> None:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        from referdino_core.backends.onnx_backend import OnnxRuntimeBackend
        from referdino_core.evaluation.export_parity import check_export
        from referdino_core.export.exporting import export

        exported = export(single, tmp_path / "export", SIZE, 16, "fp32", "grid_sample")
        assert check_export(exported, single).passed
        OnnxRuntimeBackend(single, "fp32", exported.folder)
        with pytest.raises(rd.ReferDINOError, match="exported from other weights"):
            OnnxRuntimeBackend(video, "fp32", exported.folder)
