# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Opening of a streaming peer by its name, with downloaded weights or those of local folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from referdino_core.download import ASSETS, locate
from referdino_core.errors import CheckpointError, RuntimeUnavailable
from referdino_core.peers.following import PeerFollower, PeerSettings
from referdino_core.peers.grounded_sam2 import GroundedSAM2
from referdino_core.peers.grounding_dino import GroundingDINO, GroundingDINOFollower
from referdino_core.peers.loading import load_network, load_tokenizer, model_type_of, weight_files
from referdino_core.peers.sam3 import SAM3
from referdino_core.peers.video_segmenter import VideoSegmenter
from referdino_core.precision import PRECISIONS

DETECTOR, SEGMENTERS, SAM3_TYPE = "grounding-dino", ("sam2_video", "edgetam_video"), "sam3_video"
DEFAULT_DETECTOR, DEFAULT_SEGMENTER = "grounding-dino-tiny", "sam2.1-hiera-tiny"
GET_SAM3 = (
    "The weights of SAM 3 are behind a licence of its authors: ask for access on "
    "huggingface.co/facebook/sam3, then run: hf download facebook/sam3 --local-dir sam3, "
    "and give --checkpoint sam3"
)


@dataclass(frozen=True)
class OpenedPeer:
    """A streaming peer and the folders that its networks were loaded from."""

    follower: PeerFollower
    folders: tuple[Path, ...]

    @property
    def weights(self) -> list[Path]:
        """The files of its weights."""
        return [file for folder in self.folders for file in weight_files(folder)]


def open_peer(
    name: str,
    checkpoint: Path | None,
    device: torch.device,
    precision: str = "fp32",
    settings: PeerSettings | None = None,
) -> OpenedPeer:
    """Open a streaming peer.

    Args:
        name: one of `STREAMING_PEER_NAMES`.
        checkpoint: a folder in the layout of transformers, or the name of a download; None for
            downloaded weights. For "grounded-sam2" that of SAM 2 or EdgeTAM, whose detector is then
            the downloaded one, or a folder that holds one folder of each.

    Raises:
        ReferDINOError: transformers, weights or the precision are unavailable.
    """
    if precision not in PRECISIONS:
        raise RuntimeUnavailable(f"{name} runs in {', '.join(PRECISIONS)}, not {precision}.")
    settings = settings or PeerSettings()
    folders = _folders_of(name, None if checkpoint is None else _existing(checkpoint))
    networks = [load_network(folder, device) for folder in folders]
    tokenizer = load_tokenizer(folders[0])
    if name == "sam3":
        follower: PeerFollower = SAM3(networks[0], tokenizer, settings, precision)
    else:
        detector = GroundingDINO(networks[0], tokenizer, folders[0].name)
        if name == "grounding-dino":
            follower = GroundingDINOFollower(detector, settings, precision)
        else:
            segmenter = VideoSegmenter(networks[1], folders[1].name, precision)
            follower = GroundedSAM2(detector, segmenter, settings, precision)
    return OpenedPeer(follower, folders)


def _folders_of(name: str, checkpoint: Path | None) -> tuple[Path, ...]:
    """The folders of a peer's networks, the detector's first."""
    if name == "sam3":
        if checkpoint is None:
            raise CheckpointError(GET_SAM3)
        return (_folder_of_type(checkpoint, (SAM3_TYPE,)),)
    if name == "grounding-dino":
        if checkpoint is None:
            return (_downloaded(DEFAULT_DETECTOR),)
        return (_folder_of_type(checkpoint, (DETECTOR,)),)
    if checkpoint is None:
        return _downloaded(DEFAULT_DETECTOR), _downloaded(DEFAULT_SEGMENTER)
    if (checkpoint / "config.json").is_file():
        return _downloaded(DEFAULT_DETECTOR), _folder_of_type(checkpoint, SEGMENTERS)
    return (
        _folder_of_type(checkpoint, (DETECTOR,)),
        _folder_of_type(checkpoint, SEGMENTERS),
    )


def _existing(checkpoint: Path) -> Path:
    """The folder that a path or the name of a download refers to.

    Raises:
        CheckpointError: there is none.
        DownloadError: the download is missing.
    """
    asset = ASSETS.get(str(checkpoint))
    has_folder = asset is not None and Path(asset.files[0].place).parent.name == asset.name
    if asset is not None and has_folder and not checkpoint.exists():
        return _downloaded(asset.name)
    if not checkpoint.is_dir():
        raise CheckpointError(
            f"There is no folder {checkpoint}; give one in the layout of transformers "
            "(config.json, *.safetensors)."
        )
    return checkpoint


def _folder_of_type(folder: Path, wanted: tuple[str, ...]) -> Path:
    """The folder itself, or the only one inside it, that holds a model of one of these types.

    Raises:
        CheckpointError: there is none, or several.
    """
    kinds = " or ".join(wanted)
    if (folder / "config.json").is_file():
        found = model_type_of(folder)
        if found not in wanted:
            raise CheckpointError(f"{folder} holds a {found} model, not {kinds}.")
        return folder
    inside = sorted(path.parent for path in folder.glob("*/config.json"))
    fitting = [path for path in inside if model_type_of(path) in wanted]
    if len(fitting) != 1:
        raise CheckpointError(
            f"{folder} holds {len(fitting) or 'no'} {kinds} models; give a folder in the layout of "
            "transformers (config.json, *.safetensors), or one that holds one such folder."
        )
    return fitting[0]


def _downloaded(asset: str) -> Path:
    """The folder of a downloaded asset."""
    assert asset in ASSETS
    return locate(asset)[0].parent
