# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Masks as the benchmarks' servers take them: a PNG per expression and frame, in a zip file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from referdino_core.evaluation.benchmarks.records import Record, file_name
from referdino_core.files import OutputError, PartialFile
from referdino_core.messages import run_lengths

ANNOTATIONS = "Annotations"


def write_submission(records: Iterable[Record], folder: Path, inside: str) -> Path:
    """Write Annotations/VIDEO/EXPRESSION/FRAME.png and a zip file of the same.

    Masks are grey images, 255 inside and 0 outside. A frame that could not be read gets an empty
    one, since the server expects a file for every frame.

    Args:
        folder: where both go.
        inside: folder within the zip file, or "" for none.

    Returns:
        The zip file.

    Raises:
        OutputError: the disk does not take it.
    """
    file = PartialFile(folder / "submission.zip")
    try:
        with zipfile.ZipFile(file.growing_path, "w", zipfile.ZIP_STORED) as archive:
            for record in records:
                place = Path(file_name(record.video)) / file_name(record.question)
                (folder / ANNOTATIONS / place).mkdir(parents=True, exist_ok=True)
                for frame, code in zip(record.frames, record.prediction["masks"], strict=True):
                    image = _png(code, record.size)
                    name = place / f"{file_name(frame)}.png"
                    (folder / ANNOTATIONS / name).write_bytes(image)
                    archive.writestr((Path(inside) / name).as_posix(), image)
    except OSError as error:
        file.discard()
        raise OutputError(f"{file.path} cannot be written: {error.strerror}.") from error
    file.commit()
    return file.path


def _png(code: str | None, size: list[int]) -> bytes:
    height, width = size
    mask = np.zeros((height, width), dtype=bool)
    if code is not None:
        mask = run_lengths.decode(code, height, width)
    return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
