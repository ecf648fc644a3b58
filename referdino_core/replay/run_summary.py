# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Provenance of a run as plain data: its identity, and model and versions for its summary."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from referdino_core.evaluation.benchmarks import WHOLE_CLIP
from referdino_core.evaluation.ground_truth.opening import ground_truth_files
from referdino_core.files import PACKAGE, package_version
from referdino_core.session.engine import Capabilities
from referdino_core.user_files import visible_entries

if TYPE_CHECKING:
    from referdino_core.replay.commands import CommandChange
    from referdino_core.replay.opening import ReplayJob
    from referdino_core.session.model_choice import LoadedEngine

MAY_CHANGE_UNASKED = ("source files", "truth files", "weights", "versions", "code")
"""Parts of a run's identity that can change between two runs of the same command."""

_GIT_LIMIT = 5.0  # seconds
_CODE_SUFFIXES = (".cpp", ".cu", ".h", ".msg", ".py")


def identity_of(
    job: ReplayJob, loaded: LoadedEngine, changes: tuple[CommandChange, ...]
) -> dict[str, Any]:
    """Everything that a run's results depend on; runs of equal identity have equal results.

    There is one entry per option of the command; `MAY_CHANGE_UNASKED` lists the entries that can
    change while the command stays the same.
    """
    import torch

    model = model_summary(loaded)
    weights = model["model"].pop("sha256")
    return {
        "source": os.path.realpath(job.source),
        "source files": _state_of(_files_of(job.source)),
        "commands": [
            [one.at, one.command_id, one.text, one.objects, one.select] for one in changes
        ],
        "command topic": job.command_topic,
        "topic": job.topic,
        "inputs": job.inputs,
        "truth": [job.truth, job.meanings],
        "truth files": _state_of(ground_truth_files(job.truth, job.source) if job.truth else []),
        "clock": [job.clock.summary(), getattr(job.clock, "latencies", ())],
        "frame rate": job.frame_rate,
        "threads": torch.get_num_threads(),
        **model,
        "weights": weights,
        "versions": {**versions(), "referdino": referdino_version()},
        "code": [commit(), _digest_of_code()],
    }


def model_summary(loaded: LoadedEngine) -> dict[str, Any]:
    """Model, runtime, device, and the thresholds of a stream; of a peer also what it can do."""
    from referdino_core.replay.whole_clip import WholeClip

    session = loaded.session
    summary: dict[str, Any] = {
        "model": loaded.summary(),
        "runtime": session.runtime,
        "device": session.device,
    }
    if isinstance(session, WholeClip):
        return {**summary, "inference": WHOLE_CLIP}
    settings = asdict(session.settings)
    if session.capabilities != Capabilities():
        return {**summary, "capabilities": asdict(session.capabilities), "settings": settings}
    return {**summary, "window": session.settings.window, "settings": settings}


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute."""
    import av
    import cv2
    import numpy as np
    import torch

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "av": av.__version__,
    }


def referdino_version() -> str:
    """The installed version; "" if the package is not installed."""
    return package_version() or ""


@cache
def commit() -> str | None:
    """The git commit of this code, with "-dirty" if it was changed since; None outside git."""
    folder = (PACKAGE / "__init__.py").resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        outcome = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=_GIT_LIMIT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return outcome.stdout.strip() or None if outcome.returncode == 0 else None


def _files_of(source: Path) -> list[Path]:
    """The files of a source."""
    entries = visible_entries(source) if source.is_dir() else [source]
    return [file for file in entries if file.is_file()]


def _state_of(files: Sequence[Path]) -> str:
    """A digest of the paths, sizes and modification times of files."""
    digest = hashlib.sha256()
    for file in files:
        state = file.stat()
        place = os.fsencode(os.path.realpath(file))
        digest.update(b"%s\0%d\0%d\0" % (place, state.st_size, state.st_mtime_ns))
    return digest.hexdigest()


@cache
def _digest_of_code() -> str:
    """A digest of this package's sources, which also covers uncommitted changes."""
    folder = PACKAGE
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in _CODE_SUFFIXES:
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
