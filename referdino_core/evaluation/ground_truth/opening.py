# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Opening of ground truth from a user's specification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.evaluation.ground_truth.base import GroundTruth
from referdino_core.user_files import user_path

TOPIC, WORLD = "topic:", "world:"
MEVIS_FILE = "meta_expressions.json"


def open_ground_truth(
    specification: str,
    recording: Path | None = None,
    open_topic: Callable[[str], GroundTruth] | None = None,
) -> GroundTruth:
    """Open ground truth.

    Args:
        specification: "topic:/truth/labels" in the recording; a folder of PNG files, or one with
            such a folder named like the recording; a MeViS-style JSON file or the folder of one,
            followed by "#VIDEO" if it has several videos and none is named like the recording;
            "world:test:12".
        recording: its source, with whose frames names and positions are matched.
        open_topic: opens a topic of the recording, if it has topics.

    Raises:
        SourceError: there is no such ground truth; the message says what to give.
    """
    if specification.startswith(TOPIC):
        if open_topic is None:
            raise SourceError(
                f"{recording or 'The source'} has no topics, so {specification} cannot be its "
                "ground truth; give a folder of label images or a JSON file."
            )
        return open_topic(specification.removeprefix(TOPIC))
    if specification.startswith(WORLD):
        from referdino_core.evaluation.ground_truth.world import open_world

        return open_world(specification)
    path, video = _place(specification, recording)
    if path.is_dir():
        from referdino_core.evaluation.ground_truth.label_images import LabelImages

        return LabelImages(path, recording)
    if path.is_file() and path.suffix == ".json":
        from referdino_core.evaluation.ground_truth.mevis import MevisGroundTruth

        return MevisGroundTruth(path, video, recording)
    reason = "is neither a folder nor a JSON file" if path.exists() else "does not exist"
    raise SourceError(
        f"{specification} {reason}; give ground truth as topic:NAME, a folder of PNG files, a "
        "MeViS-style JSON file, or world:SPLIT:INDEX."
    )


def ground_truth_files(specification: str, recording: Path | None = None) -> list[Path]:
    """The files that `open_ground_truth` reads, other than the recording; none for rendered clips.

    Raises:
        OSError: a folder cannot be read.
    """
    from referdino_core.evaluation.ground_truth.label_images import pngs_in
    from referdino_core.evaluation.ground_truth.mevis import MASKS_FILE

    if specification.startswith((TOPIC, WORLD)):
        return []
    path, _ = _place(specification, recording)
    if path.is_dir():
        return pngs_in(path)
    return [file for file in (path, path.with_name(MASKS_FILE)) if file.is_file()]


def _place(specification: str, recording: Path | None) -> tuple[Path, str | None]:
    """The specified folder of label images or JSON file, and the named video."""
    from referdino_core.evaluation.ground_truth.label_images import pngs_in

    named, _, video = specification.partition("#")
    path = user_path(specification if Path(specification).exists() else named)
    if not path.is_dir():
        return path, video or None
    if (path / MEVIS_FILE).is_file():
        return path / MEVIS_FILE, video or None
    if recording is not None and not pngs_in(path):
        name = recording.name if recording.is_dir() else recording.stem
        if (path / name).is_dir():
            path = path / name
    return path, None
