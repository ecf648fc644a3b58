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
    save_file({**tensors, name: torch.zeros(3)}, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"1 mismatched keys, such as {name}"):
        open_peer("grounding-dino", broken, CPU)
    (broken / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_peer("grounding-dino", broken, CPU)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"d_model": "wide"}, "cannot be loaded: .*d_model"),
        ({"encoder_attention_heads": 3}, "cannot be loaded: .*divisible"),
        ({"num_queries": 12}, "mismatched keys"),
    ],
)
def test_a_damaged_configuration_is_one_line(
    folders: Path, tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).symlink_to(folders / "detector" / name)
    configuration = json.loads((folders / "detector" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(configuration | changed))
    with pytest.raises(CheckpointError, match=said) as refused:
        open_peer("grounding-dino", tmp_path, CPU)
    assert "\n" not in str(refused.value)


def test_a_damaged_or_missing_tokenizer_is_one_line(folders: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(folders / "detector" / name)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        open_peer("grounding-dino", tmp_path, CPU)
    for damaged in ('{"version": "1.0"', "{}", "not JSON"):
        (tmp_path / "tokenizer.json").write_text(damaged)
        with pytest.raises(CheckpointError, match="not a readable tokenizer") as refused:
            open_peer("grounding-dino", tmp_path, CPU)
        assert "\n" not in str(refused.value)


def test_a_download_is_found_by_its_name(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path))
    for name, folder in (("grounding-dino-base", "detector"), (DEFAULT_DETECTOR, "detector")):
        (tmp_path / name).symlink_to(folders / folder)
    (tmp_path / "sam2.1-hiera-small").symlink_to(folders / "tracker")
    opened = open_peer("grounding-dino", Path("grounding-dino-base"), CPU)
    assert [path.parent.name for path in opened.weights] == ["grounding-dino-base"]
    opened = open_peer("grounded-sam2", Path("sam2.1-hiera-small"), CPU)
    assert [path.parent.name for path in opened.weights] == [DEFAULT_DETECTOR, "sam2.1-hiera-small"]
    with pytest.raises(DownloadError, match=r"referdino download sam2\.1-hiera-large"):
        open_peer("grounded-sam2", Path("sam2.1-hiera-large"), CPU)


@pytest.mark.parametrize("given", ["nowhere", "detector/model.safetensors", "ryt_swinb"])
def test_what_is_no_folder_is_refused(
    folders: Path, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path))
    checkpoint = Path(given) if given == "ryt_swinb" else folders / given
    for name in STREAMING_PEER_NAMES:
        with pytest.raises(CheckpointError, match=rf"There is no folder .*{given}"):
            open_peer(name, checkpoint, CPU)


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
