# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that were trained on single frames: loaded, answered, evaluated, streamed, exported."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import golden
import pytest
import torch
from single_frames import SENTENCE, SIZE, direct, images
from torch import Tensor

import referdino_core as rd
from referdino_core.backends.torch_backend import TorchBackend
from referdino_core.building import load_model, tokenizer_of
from referdino_core.checkpoint import (
    reference_name,
    save_weights,
    temporal_layers_of,
    trained_on_single_frames,
)
from referdino_core.download import ASSETS
from referdino_core.network.object_memory import stack_windows
from referdino_core.network.pixels import to_pixels
from referdino_core.session.model_choice import ModelChoice, load

pytestmark = pytest.mark.slow

BEYOND_ONE_LAYER = re.compile(r"temporal_decoder\.\d\.(layer|norm)\.[12]\.")


@pytest.fixture(scope="module")
def video() -> rd.ReferDINO:
    return load_model("nano", "cpu")


@pytest.fixture(scope="module")
def single(video: rd.ReferDINO) -> rd.ReferDINO:
    """The bundled model's weights, used as those of single frames."""
    return load_model("nano", "cpu", single_frame=True)


def named_tensors(model: rd.ReferDINO) -> dict[str, Tensor]:
    """A model's weights as a checkpoint names them."""
    return {reference_name(name): tensor for name, tensor in model.state_dict().items()}


def with_fresh_temporal_decoder(model: rd.ReferDINO, layers: int = 1) -> dict[str, Tensor]:
    """Trained weights but for the temporal decoder, as training on single frames leaves them."""
    torch.manual_seed(0)
    fresh = rd.build(model.configuration.name, temporal_layers=layers)
    untouched = {n: t for n, t in named_tensors(fresh).items() if n.startswith("temporal_decoder")}
    return {
        **{n: t for n, t in named_tensors(model).items() if not n.startswith("temporal_decoder")},
        **untouched,
    }


class TestNetwork:
    @torch.no_grad()
    def test_scores_are_those_of_the_queries_that_were_recorded(self) -> None:
        recorded = golden.load("swint_q32_128x160_f3")
        model = recorded.model(temporal_layers=0)
        expected = (recorded["frame_hs"] @ recorded["memory_text"].transpose(1, 2)).amax(-1)
        for pixels, scores in zip(recorded.pixels, expected, strict=True):
            clip = model.segment(pixels[None], recorded["input_ids"])
            torch.testing.assert_close(clip.scores[0], scores, atol=1e-3, rtol=0)
            assert (clip.boxes[0] > 0).all() and (clip.boxes[0] < 1).all()

    def test_a_frame_is_answered_by_the_decoders_queries_alone(
        self, single: rd.ReferDINO, video: rd.ReferDINO
    ) -> None:
        (image,) = images(1)
        ids = tokenizer_of(single.configuration).encode(SENTENCE)
        pixels = to_pixels(image, min(SIZE))
        clip = single.segment(pixels, ids)
        for found, expected in zip(
            (clip.scores, clip.boxes, clip.masks), direct(single, image), strict=True
        ):
            assert torch.equal(found[0], expected)
        assert not torch.allclose(video.segment(pixels, ids).scores, clip.scores, atol=1e-2)

    def test_in_clips_and_streams_frames_do_not_look_at_each_other(
        self, single: rd.ReferDINO
    ) -> None:
        shown = images(4)
        ids = tokenizer_of(single.configuration).encode(SENTENCE)
        pixels = torch.cat([to_pixels(image, min(SIZE)) for image in shown])
        clip, stream = single.segment(pixels, ids), single.stream(ids)
        for place, image in enumerate(shown):
            alone, frame = direct(single, image)[0].sort().values, stream.step(pixels[place])
            torch.testing.assert_close(clip.scores[place].sort().values, alone, atol=1e-4, rtol=0)
            torch.testing.assert_close(frame.scores.sort().values, alone, atol=1e-4, rtol=0)
            assert len(stream.memory.window) == 1

    @pytest.mark.parametrize("frames", [1, 3])
    def test_the_prepared_stages_read_as_the_network_does(
        self, single: rd.ReferDINO, frames: int
    ) -> None:
        queries = single.configuration.surviving_queries[-1]
        backend = TorchBackend(single, "fp32")
        backend.prepare(SIZE)
        ids = tokenizer_of(single.configuration).encode(SENTENCE)
        memory = single.object_memory(None)
        with torch.inference_mode():
            text = backend.encode_text([ids])
            for number, image in enumerate(images(frames)):
                encoded = backend.encode_image(to_pixels(image, min(SIZE)))
                found = backend.ground(encoded, text)
                memory.update(found.queries[0], found.references[0], found.text[0], 0.1 * number)
            window = stack_windows([memory.window])
            readings = backend.read(window, found.mask_features)
            expected = single.readout.similarity(
                window.queries, window.text, window.text_padding[:, None]
            )
        assert readings.scores.shape == (1, frames, queries)
        torch.testing.assert_close(readings.scores, expected, atol=1e-4, rtol=0)

    def test_there_is_no_temporal_decoder_left(self, single: rd.ReferDINO) -> None:
        assert single.configuration.single_frame
        assert not list(single.readout.temporal_decoder.parameters())
        with pytest.raises(rd.ReferDINOError, match="temporal_layers is -1"):
            rd.build("nano", temporal_layers=-1)


class TestCheckpoints:
    @pytest.mark.parametrize("name", ["swint", "swinb"])
    def test_the_number_of_temporal_layers_is_read_from_the_names(self, name: str) -> None:
        listing = json.loads((golden.DIRECTORY / f"state_dict_{name}.json").read_text())["tensors"]
        names = [key for key, *_ in listing]
        assert temporal_layers_of(names) == 3
        one = [key for key in names if not BEYOND_ONE_LAYER.match(key)]
        assert temporal_layers_of(one) == 1
        assert temporal_layers_of(key for key in names if "temporal_decoder" not in key) == 0

    @pytest.mark.parametrize(("file_name", "layers"), [("coco_swint", 0), ("own", 1)])
    def test_a_checkpoint_of_swin_t_with_one_temporal_layer_loads(
        self, tmp_path: Path, file_name: str, layers: int
    ) -> None:
        listing = json.loads((golden.DIRECTORY / "state_dict_swint.json").read_text())["tensors"]
        tensors = {
            name: torch.full((1,), 0.5).expand(shape)
            for name, shape, kind, *_ in listing
            if kind.startswith("float") and not BEYOND_ONE_LAYER.match(name)
        }
        path = tmp_path / f"{file_name}.pth"
        torch.save({"model_state_dict": tensors}, path)
        model = load_model(path, "cpu")
        assert model.configuration.name == "swint"
        assert model.configuration.temporal_layers == layers
        assert len(model.readout.temporal_decoder.layer) == layers
        assert model.readout.mask_decoder.layers[0].norm1.weight.unique().tolist() == [0.5]

    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_a_path_is_loaded_with_its_own_number_of_layers(
        self, tmp_path: Path, layers: int
    ) -> None:
        path = tmp_path / "weights.safetensors"
        model = rd.build("nano", temporal_layers=layers)
        save_weights(model, path)
        for choice in (ModelChoice(checkpoint=path), ModelChoice("nano", path)):
            loaded = load(choice)
            assert loaded.session.model.configuration.temporal_layers == layers
            assert "single_frame" not in loaded.summary()

    def test_another_number_of_layers_says_how_to_build_the_model(self) -> None:
        two = named_tensors(rd.build("nano", temporal_layers=2))
        with pytest.raises(rd.CheckpointError) as caught:
            rd.load_checkpoint(rd.build("nano"), two)
        assert str(caught.value) == (
            "The checkpoint does not fit nano: 2 temporal layers, not 1. "
            "Build the model with temporal_layers=2."
        )
        rd.load_checkpoint(rd.build("nano", temporal_layers=2), two)
        rd.load_checkpoint(rd.build("nano", temporal_layers=0), two)
        two["feat_map.mystery"] = torch.zeros(1)
        with pytest.raises(rd.CheckpointError, match=r"mystery.* Choose the model"):
            rd.load_checkpoint(rd.build("nano"), two)

    def test_layers_that_are_numbered_amiss_are_refused(
        self, tmp_path: Path, video: rd.ReferDINO
    ) -> None:
        tensors = {
            re.sub(r"^(temporal_decoder\.0\.layer)\.0", r"\1.9999999999", name): tensor
            for name, tensor in named_tensors(video).items()
        }
        torch.save(tensors, tmp_path / "amiss.pth")
        with pytest.raises(rd.CheckpointError, match=r"unknown \(temporal_decoder.* Choose the"):
            load_model(tmp_path / "amiss.pth", "cpu")

    @pytest.mark.parametrize("shape", [(), (0,), (2, 2)])
    def test_norms_of_another_shape_are_refused_in_one_line(
        self, tmp_path: Path, video: rd.ReferDINO, shape: tuple[int, ...]
    ) -> None:
        tensors = named_tensors(video)
        for name in ("temporal_decoder.0.norm.0", "mask_decoder.0.norm1"):
            tensors[f"{name}.weight"] = tensors[f"{name}.bias"] = torch.zeros(shape)
        torch.save(tensors, tmp_path / "misshapen.pth")
        with pytest.raises(rd.CheckpointError, match="4 misshapen") as caught:
            load_model(tmp_path / "misshapen.pth", "cpu")
        assert "\n" not in str(caught.value)

    def test_single_frames_are_known_by_the_released_names_in_any_folder(
        self, tmp_path: Path, video: rd.ReferDINO
    ) -> None:
        for name in ("a2d_swinb.pth", "coco_swinb.pth", "coco_swint.pth", "a2d_swinb.safetensors"):
            assert trained_on_single_frames({}, tmp_path / name)
            assert trained_on_single_frames({}, str(tmp_path / name))
        for name in ("ryt_swinb.pth", "mevis_swinb.pth", "ryt_mevis_swinb.pth"):
            assert not trained_on_single_frames(named_tensors(video), tmp_path / name)

    @pytest.mark.parametrize("layers", [1, 3])
    def test_single_frames_are_known_by_a_temporal_decoder_that_never_learned(
        self, tmp_path: Path, video: rd.ReferDINO, layers: int
    ) -> None:
        tensors = with_fresh_temporal_decoder(video, layers)
        torch.save(tensors, tmp_path / "renamed.pth")
        assert load_model(tmp_path / "renamed.pth", "cpu").configuration.single_frame
        decayed = {
            name: tensor * 0.99 if name.startswith("temporal_decoder") else tensor
            for name, tensor in tensors.items()
        }
        assert trained_on_single_frames(decayed, decayed)

    def test_weights_that_learned_from_videos_or_not_at_all_are_not_taken_for_them(
        self, video: rd.ReferDINO
    ) -> None:
        for tensors in (named_tensors(video), named_tensors(rd.build("nano"))):
            assert not trained_on_single_frames(tensors, tensors)
        grounding = {
            name: tensor
            for name, tensor in named_tensors(video).items()
            if not name.startswith(("temporal_decoder", "mask_decoder"))
        }
        assert not trained_on_single_frames(grounding, grounding)

    def test_saved_without_a_temporal_decoder_they_say_it_themselves(
        self, tmp_path: Path, single: rd.ReferDINO
    ) -> None:
        path = tmp_path / "own.safetensors"
        save_weights(single, path)
        assert temporal_layers_of(named_tensors(single)) == 0
        assert load_model(path, "cpu").configuration.single_frame

    def test_a_model_with_a_temporal_decoder_takes_them_with_a_warning(
        self, tmp_path: Path, video: rd.ReferDINO, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "a2d_swinb.safetensors"
        save_weights(video, path)
        with caplog.at_level(logging.WARNING, logger="referdino"):
            rd.load_checkpoint(rd.build("nano"), path)
            rd.load_checkpoint(rd.build("nano"), with_fresh_temporal_decoder(video))
            rd.load_checkpoint(rd.build("nano", temporal_layers=0), path)
        assert [record.getMessage() for record in caplog.records] == 2 * [
            "These weights were trained on single frames, without a temporal decoder: build the "
            "model with temporal_layers=0."
        ]

    @pytest.mark.parametrize("model", [None, "nano"])
    def test_a_choice_can_say_it_and_can_deny_it(
        self, tmp_path: Path, video: rd.ReferDINO, model: str | None
    ) -> None:
        plain, named = tmp_path / "own.safetensors", tmp_path / "coco_swint.safetensors"
        for path in (plain, named):
            save_weights(video, path)
        for path, said, expected in (
            (plain, None, False),
            (plain, True, True),
            (named, None, True),
            (named, False, False),
        ):
            loaded = load(ModelChoice(model, path, single_frame=said))
            assert loaded.session.model.configuration.single_frame is expected
            assert loaded.summary().get("single_frame", False) is expected

    def test_published_weights_of_single_frames_are_in_the_catalogue(self) -> None:
        of_frames = [name for name, asset in ASSETS.items() if asset.single_frame]
        assert of_frames == ["a2d_swinb", "coco_swinb", "coco_swint"]
        (file,) = ASSETS["coco_swint"].files
        assert file.url.endswith("/liangtm/referdino/resolve/main/coco_swint.pth")
        with pytest.raises(rd.CheckpointError, match="none but coco_swint, of single frames"):
            rd.Session("swint")
