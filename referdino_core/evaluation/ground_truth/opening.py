# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From what a user writes to a ground truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.evaluation.ground_truth.base import Truth
from referdino_core.user_files import user_path

TOPIC, WORLD = "topic:", "world:"
MEVIS_FILE = "meta_expressions.json"


def open_truth(
    specification: str,
    recording: Path | None = None,
    open_topic: Callable[[str], Truth] | None = None,
) -> Truth:
    """Open a ground truth.

    Args:
        specification: "topic:/truth/labels" in the recording; a folder of PNG files, or one with
            such a folder named like the recording; a MeViS-style JSON file or the folder of one,
            with "#VIDEO" behind it where it has several videos and none is named like the
            recording; "world:test:12".
        recording: the source that it is about; names and positions are matched with its own.
        open_topic: opens a topic of the recording, where the recording has topics.

    Raises:
        SourceError: there is no such ground truth; the message says what to give.
    """
    if specification.startswith(TOPIC):
        if open_topic is None:
            raise SourceError(
                f"{recording or 'The source'} has no topics, so {specification} cannot be its "
                "truth; give a folder of label images or a JSON file."
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
        from referdino_core.evaluation.ground_truth.mevis import MevisTruth

        return MevisTruth(path, video, recording)
    reason = "is neither a folder nor a JSON file" if path.exists() else "does not exist"
    raise SourceError(
        f"{specification} {reason}; give truth as topic:NAME, a folder of PNG files, a "
        "MeViS-style JSON file, or world:SPLIT:INDEX."
    )


def files_of_truth(specification: str, recording: Path | None = None) -> list[Path]:
    """The files that `open_truth` reads, but for the recording itself; none of a generated world.

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
    """The folder of label images or the JSON file that is meant, and the video named with it."""
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
