# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Catalogue of downloadable files: their URLs, checksums and places in the cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from referdino_core.errors import DownloadError
from referdino_core.user_files import cache_directory

DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a public repository.

    Attributes:
        repository: owner and name.
        path: within the repository.
        place: within the cache directory.
        revision: a commit of the repository; a branch if no commit is pinned.
        checksum: SHA-256, 64 hexadecimal digits; None if it is not published. Such a file is
            verified against what its host announces, and later against the first download.
    """

    repository: str
    path: str
    place: str
    revision: str = "main"
    checksum: str | None = None

    @property
    def url(self) -> str:
        """Its URL; the environment variable HF_ENDPOINT names a mirror, as for other tools."""
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT
        return f"{endpoint}/{self.repository}/resolve/{self.revision}/{self.path}"


@dataclass(frozen=True)
class Asset:
    """One or more files that are downloaded under one name.

    Attributes:
        single_frame: whether these are weights trained on single frames, without tracker and
            temporal decoder.
    """

    name: str
    description: str
    files: tuple[RemoteFile, ...]
    single_frame: bool = False

    def is_here(self, directory: Path) -> bool:
        """Whether all its files are there; an inaccessible folder counts as empty."""
        return all(os.path.isfile(path) for path in self.paths(directory))

    def paths(self, directory: Path) -> tuple[Path, ...]:
        """The paths of its files under a directory, whether they exist or not."""
        return tuple(directory / file.place for file in self.files)


def _checkpoint(name: str, description: str, single_frame: bool = False) -> Asset:
    file_name = f"{name}.pth"
    files = (RemoteFile("liangtm/referdino", file_name, file_name),)
    return Asset(name, description, files, single_frame)


def _grounding_dino(name: str, description: str, checksum: str) -> Asset:
    """GroundingDINO's weights; the checksum is that of the file that its authors released."""
    file_name, commit = f"{name}.pth", "a94c9b567a2a374598f05c584e96798a170c56fb"
    file = RemoteFile("ShilongLiu/GroundingDINO", file_name, file_name, commit, checksum)
    return Asset(name, description, (file,))


def _transformers(
    repository: str, description: str, names: tuple[str, ...] = ("config.json", "model.safetensors")
) -> Asset:
    """A model in the layout of transformers, in a folder of its own."""
    folder = repository.rpartition("/")[2].removesuffix("-hf").lower()
    files = tuple(RemoteFile(repository, name, f"{folder}/{name}") for name in names)
    return Asset(folder, f"{description} (Apache-2.0)", files)


def _bert(revision: str, checksums: dict[str, str]) -> Asset:
    folder = "bert-base-uncased"
    return Asset(
        "bert",
        "vocabulary and configuration of BERT (base, uncased), for swint and swinb",
        tuple(
            RemoteFile(f"google-bert/{folder}", name, f"{folder}/{name}", revision, checksum)
            for name, checksum in checksums.items()
        ),
    )


def _roberta() -> Asset:
    folder = "roberta-base"
    return Asset(
        "roberta",
        "vocabulary of RoBERTa (base), for soc_swint and soc_swinb",
        tuple(
            RemoteFile(f"FacebookAI/{folder}", name, f"{folder}/{name}")
            for name in ("vocab.json", "merges.txt")
        ),
    )


ASSETS = {
    asset.name: asset
    for asset in (
        _checkpoint("ryt_swinb", "Swin-B checkpoint for Ref-YouTube-VOS and Ref-DAVIS17"),
        _checkpoint("mevis_swinb", "Swin-B checkpoint for MeViS (expressions of motion)"),
        _checkpoint("ryt_mevis_swinb", "Swin-B checkpoint for Ref-YouTube-VOS and MeViS together"),
        _checkpoint(
            "a2d_swinb",
            "Swin-B checkpoint for A2D-Sentences and JHMDB-Sentences (single frames)",
            single_frame=True,
        ),
        _checkpoint(
            "coco_swinb",
            "Swin-B checkpoint for RefCOCO, RefCOCO+ and RefCOCOg (single frames)",
            single_frame=True,
        ),
        _checkpoint(
            "coco_swint",
            "Swin-T checkpoint for RefCOCO, RefCOCO+ and RefCOCOg (single frames)",
            single_frame=True,
        ),
        _grounding_dino(
            "groundingdino_swint_ogc",
            "GroundingDINO, Swin-T, from which training starts (694 MB, Apache-2.0)",
            "3b3ca2563c77c69f651d7bd133e97139c186df06231157a64c507099c52bc799",
        ),
        _grounding_dino(
            "groundingdino_swinb_cogcoor",
            "GroundingDINO, Swin-B, from which training starts (938 MB, Apache-2.0)",
            "46270f7a822e6906b655b729c90613e48929d0f2bb8b9b76fd10a856f3ac6ab7",
        ),
        *(
            _transformers(
                f"IDEA-Research/grounding-dino-{size}",
                f"Grounding DINO, {size}, for grounding-dino and grounded-sam2",
                ("config.json", "model.safetensors", "tokenizer.json"),
            )
            for size in ("tiny", "base")
        ),
        *(
            _transformers(f"facebook/sam2.1-hiera-{size}", f"SAM 2.1, {size}, for grounded-sam2")
            for size in ("tiny", "small", "base-plus", "large")
        ),
        _transformers("yonigozlan/EdgeTAM-hf", "EdgeTAM, for grounded-sam2; needs timm"),
        _bert(
            "86b5e0934494bd15c9632b12f734a8a67f723594",
            {
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                "config.json": "7160e1553ad2ca51d8c1cb066be533db31826e12d173824c1bb0cb1a4f187d20",
            },
        ),
        _roberta(),
    )
}


def named_for_single_frames(path: Path) -> bool:
    """Whether a file has the name of released weights trained on single frames."""
    return any(asset.single_frame and asset.name == path.stem for asset in ASSETS.values())


def locate(name: str, directory: Path | None = None) -> tuple[Path, ...]:
    """The downloaded files of an asset, in the order of the catalogue.

    Args:
        name: a key of `ASSETS`.
        directory: directory to search, by default the cache directory.

    Raises:
        DownloadError: the name is unknown, or a file is missing; the message says how to get it.
    """
    if name not in ASSETS:
        raise DownloadError(
            f"There is nothing called {name!r} to download; choose from {', '.join(ASSETS)}."
        )
    paths = ASSETS[name].paths(directory or cache_directory())
    for path in paths:
        # An inaccessible folder counts as empty.
        if not os.path.isfile(path):
            raise DownloadError(f"{path} is missing; run: referdino download {name}")
    return paths
