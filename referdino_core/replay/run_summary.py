# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a run was made of, as plain data: its identity, and the lasting part of its summary."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import referdino_core
from referdino_core.replay.commands import CommandChange
from referdino_core.replay.job import ReplayJob
from referdino_core.session.model_choice import LoadedModel

_GIT_LIMIT = 5.0  # seconds


def identity_of(
    job: ReplayJob, loaded: LoadedModel, changes: tuple[CommandChange, ...]
) -> dict[str, Any]:
    """Everything that a run's results depend on; runs of equal identity have equal results."""
    import torch

    return {
        "source": _files_of(job.source),
        "commands": [[one.at, one.command_id, one.text, one.objects] for one in changes],
        "command topic": job.command_topic,
        "topic": job.topic,
        "inputs": job.inputs,
        "truth": [job.truth, job.meanings],
        "clock": [job.clock.summary(), getattr(job.clock, "latencies", ())],
        "frame rate": job.frame_rate,
        "threads": torch.get_num_threads(),
        **model_summary(loaded),
        "versions": {**versions(), "referdino": referdino_version()},
    }


def model_summary(loaded: LoadedModel) -> dict[str, Any]:
    """Model, runtime, device and thresholds."""
    session = loaded.session
    return {
        "model": loaded.summary(),
        "runtime": session.runtime,
        "device": session.device,
        "window": session.settings.window,
        "settings": asdict(session.settings),
    }


@cache
def versions() -> dict[str, str]:
    """Versions of what computes."""
    import cv2
    import numpy as np
    import torch

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def referdino_version() -> str:
    """The installed release; empty where it was not installed."""
    try:
        return version("referdino")
    except PackageNotFoundError:
        return ""


@cache
def commit() -> str | None:
    """The git commit of this code, "-dirty" where it was changed since; None outside of git."""
    folder = Path(referdino_core.__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        outcome = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=_GIT_LIMIT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return outcome.stdout.strip() or None if outcome.returncode == 0 else None


def _files_of(source: Path) -> list[Any]:
    """Name, size and time of the files of a source."""
    path = source.resolve()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [
        str(path),
        *(
            [file.name, file.stat().st_size, file.stat().st_mtime_ns]
            for file in files
            if file.is_file()
        ),
    ]
