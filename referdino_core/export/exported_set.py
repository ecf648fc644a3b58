# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A folder that `referdino export` wrote: an ONNX file for each stage, and their description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from referdino_core.download.checksums import compute
from referdino_core.errors import ExportedSetError
from referdino_core.export.stage_io import STAGES
from referdino_core.precision import PRECISIONS

DESCRIPTION = "export.json"
FORMAT = 2
VARIANTS = ("plugin", "gather", "grid_sample")
"""The lowering variants of deformable attention."""


@dataclass(frozen=True)
class ExportedSet:
    """An exported network.

    Attributes:
        folder: of its files.
        model: name of the configuration.
        checkpoint: SHA-256 sum of weights and settings.
        precision: of the tensor stages.
        deformable_attention: lowering variant, one of `VARIANTS`.
        height, width: of the images, pixels.
        tokens: length that texts are padded to.
        window: most frames that are read out together.
        files, checksums: ONNX file and its SHA-256 sum, by stage.
        release: version of referdino that wrote it.
    """

    folder: Path
    model: str
    checkpoint: str
    precision: str
    deformable_attention: str
    height: int
    width: int
    tokens: int
    window: int
    files: Mapping[str, Path]
    checksums: Mapping[str, str]
    release: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images, pixels."""
        return self.height, self.width

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Known sizes of static axes, by the letters of `stage_io.TensorSpec`."""
        return {"H": self.height, "W": self.width, "L": self.tokens}

    def write_description(self, folder: Path) -> None:
        """Write `export.json` into a folder.

        Raises:
            OSError: it cannot be written.
        """
        text = json.dumps(self._description(), indent=2) + "\n"
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "referdino": self.release,
            "model": self.model,
            "checkpoint": self.checkpoint,
            "height": self.height,
            "width": self.width,
            "tokens": self.tokens,
            "precision": self.precision,
            "deformable_attention": self.deformable_attention,
            "window": self.window,
            "stages": {
                name: {"file": path.name, "sha256": self.checksums[name]}
                for name, path in self.files.items()
            },
        }


def read_exported_set(folder: Path) -> ExportedSet:
    """Read an exported network from a folder, and verify the checksums of its files.

    Raises:
        ExportedSetError: it is not an exported set, or of another format, incomplete or changed.
    """
    description = folder / DESCRIPTION
    if not description.is_file():
        raise ExportedSetError(
            f"{folder} holds no exported network ({DESCRIPTION} is missing): write one with "
            "`referdino export`."
        )
    try:
        exported = _parse(folder, json.loads(description.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportedSetError(
            f"{description} cannot be understood ({type(error).__name__}: {error}): export the "
            "network again."
        ) from error
    for stage, path in exported.files.items():
        if not path.is_file():
            raise ExportedSetError(f"{path} is missing: export the network again.")
        if compute(path) != exported.checksums[stage]:
            raise ExportedSetError(
                f"{path} is not the file that {DESCRIPTION} describes (its checksum differs): "
                "export the network again."
            )
    return exported


def _parse(folder: Path, content: Mapping[str, Any]) -> ExportedSet:
    if content["format"] != FORMAT:
        raise ExportedSetError(
            f"{folder / DESCRIPTION} has format {content['format']}, this is {FORMAT}: export the "
            "network again."
        )
    if content["precision"] not in PRECISIONS:
        raise ValueError(f"precision {content['precision']!r}")
    if content["deformable_attention"] not in VARIANTS:
        raise ValueError(f"deformable_attention {content['deformable_attention']!r}")
    stages = {name: content["stages"][name] for name in STAGES}
    return ExportedSet(
        folder=folder,
        model=str(content["model"]),
        checkpoint=str(content["checkpoint"]),
        precision=content["precision"],
        deformable_attention=content["deformable_attention"],
        height=int(content["height"]),
        width=int(content["width"]),
        tokens=int(content["tokens"]),
        window=int(content["window"]),
        files={name: folder / Path(stage["file"]).name for name, stage in stages.items()},
        checksums={name: str(stage["sha256"]) for name, stage in stages.items()},
        release=str(content["referdino"]),
    )
