# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""peers/opening.py and peers/loading.py: folders in the layout of transformers, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import peer_samples
import torch
from safetensors.torch import load_file, save_file

from referdino_core.download import ASSETS
from referdino_core.errors import CheckpointError, DownloadError, RuntimeUnavailable
from referdino_core.peers import STREAMING_PEER_NAMES, loading
from referdino_core.peers.grounded_sam2 import GroundedSAM2
from referdino_core.peers.opening import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, open_peer
from referdino_core.session.model_choice import ModelChoice, load, load_engine

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peer_samples.save_folders(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((360, 640), (750, 1333)),
        ((480, 640), (800, 1066)),
        ((1080, 1920), (750, 1333)),
        ((200, 150), (1066, 800)),
    ],
)
def test_images_have_the_sizes_of_the_released_preprocessing(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    # Recorded from GroundingDinoImageProcessor of transformers 5.23.
    assert loading.size_between(*size, 800, 1333) == expected


def test_both_networks_are_loaded_from_one_folder_of_folders(folders: Path) -> None:
    opened = open_peer("grounded-sam2", folders, CPU)
    assert [path.parent.name for path in opened.weights] == ["detector", "tracker"]
    follower = opened.follower
    assert isinstance(follower, GroundedSAM2)
    saved = peer_samples.sam2_network().state_dict()
    loaded = follower.segmenter.network.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_the_floor_is_loaded_from_the_detector_alone(folders: Path) -> None:
    loaded = load_engine(ModelChoice("grounding-dino", folders / "detector", device="cpu"))
    loaded.session.command("the red ball")
    assert len(loaded.session.step(peer_samples.images(1)[0])) == 1
    summary = loaded.summary()
    assert summary["name"] == "grounding-dino" and summary["networks"] == "detector"
    assert isinstance(summary["sha256"], str) and len(summary["sha256"]) == 64


def test_weights_that_lack_a_tensor_are_refused(folders: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (broken / name).write_bytes((folders / "detector" / name).read_bytes())
    tensors = load_file(folders / "detector" / "model.safetensors")
    name = next(name for name in tensors if "input_proj_vision" in name)
    del tensors[name]
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="1 missing keys, such as"):
        open_peer("grounding-dino", broken, CPU)
    (broken / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_peer("grounding-dino", broken, CPU)


@pytest.mark.parametrize(
    ("name", "inside", "said"),
    [
        ("grounding-dino", "tracker", "holds a sam2_video model, not grounding-dino"),
        ("sam3", "tracker", "holds a sam2_video model, not sam3_video"),
        ("sam3", ".", "holds no sam3_video models"),
        ("grounded-sam2", "detector", "referdino download grounding-dino-tiny"),
    ],
)
def test_folders_of_another_model_are_refused(
    folders: Path, name: str, inside: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(folders / "empty cache"))
    with pytest.raises((CheckpointError, DownloadError), match=said):
        open_peer(name, folders / inside, CPU)


def test_missing_downloads_and_gated_weights_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path))
    for name in ("grounding-dino", "grounded-sam2"):
        with pytest.raises(DownloadError, match=f"referdino download {DEFAULT_DETECTOR}"):
            open_peer(name, None, CPU)
    with pytest.raises(CheckpointError, match=r"huggingface\.co/facebook/sam3"):
        open_peer("sam3", None, CPU)
    with pytest.raises(CheckpointError, match="not a model in the layout"):
        folder = tmp_path / "damaged"
        folder.mkdir()
        (folder / "config.json").write_text("[]")
        open_peer("grounding-dino", folder, CPU)


def test_downloads_land_in_folders_that_can_be_opened() -> None:
    for name in (DEFAULT_DETECTOR, DEFAULT_SEGMENTER, "sam2.1-hiera-small", "edgetam"):
        places = [Path(file.place) for file in ASSETS[name].files]
        assert {place.parent for place in places} == {Path(name)}
        assert {"config.json", "model.safetensors"} <= {place.name for place in places}


def test_other_runtimes_exports_and_sessions_are_refused_in_one_line() -> None:
    for choice, said in (
        (ModelChoice("sam3", runtime="onnxruntime"), "PyTorch only"),
        (ModelChoice("sam3", exports=Path("exports")), "cannot be exported"),
    ):
        with pytest.raises(RuntimeUnavailable, match=said):
            load_engine(choice)
    for name in STREAMING_PEER_NAMES:
        with pytest.raises(RuntimeUnavailable, match="referdino replay"):
            load(ModelChoice(name))


def test_without_transformers_the_error_says_what_to_install(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RuntimeUnavailable, match=r"referdino\[peers\]"):
        open_peer("grounding-dino", folders / "detector", CPU)


def test_a_class_that_an_old_transformers_lacks_is_named(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OldTransformers:
        __version__ = "4.50.0"

    def imported(name: str) -> Any:
        return OldTransformers

    monkeypatch.setattr(loading, "import_module", imported)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3_video"}))
    with pytest.raises(RuntimeUnavailable, match=r"4\.50\.0 has no Sam3VideoModel; version 5\.0"):
        open_peer("sam3", tmp_path, CPU)


def test_a_package_that_transformers_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Incomplete:
        __version__ = "5.0.0"

        def __getattr__(self, name: str) -> Any:
            raise ModuleNotFoundError(f"Could not import {name}") from ModuleNotFoundError(
                "No module named 'torchvision'", name="torchvision"
            )

    monkeypatch.setattr(loading, "import_module", lambda name: Incomplete())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3_video"}))
    with pytest.raises(RuntimeUnavailable, match="pip install torchvision"):
        open_peer("sam3", tmp_path, CPU)


def test_the_core_does_not_import_transformers() -> None:
    code = (
        "import sys, referdino_core.replay.run, referdino_core.session.peer_session, "
        "referdino_core.peers.opening; sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
