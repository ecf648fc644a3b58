# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the stages of set-up share: commands, their errors, and stamps of what is done."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
REPOSITORY = SCRIPTS.parent
ENVIRONMENT = REPOSITORY / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMPS = ENVIRONMENT / "stamps"
PIP: list[str | Path] = [PYTHON, "-m", "pip", "--disable-pip-version-check"]


class SetUpError(Exception):
    """The set-up cannot go on; the message is one line that says what to do."""


def say(message: str) -> None:
    """Tell the user what is going on."""
    print(f"set-up: {message}", flush=True)


def run(
    command: list[str | Path],
    complaint: str,
    environment: dict[str, str] | None = None,
    folder: Path = REPOSITORY,
    log: Path | None = None,
) -> None:
    """Run a command; where it has a log, its output is shown only when it fails."""
    if log is None:
        outcome = subprocess.run(command, env=environment, cwd=folder)
    else:
        with log.open("w") as output:
            outcome = subprocess.run(
                command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
            )
    if outcome.returncode != 0:
        if log is not None:
            print(log.read_text(), file=sys.stderr)
        raise SetUpError(complaint)


def output_of(command: list[str | Path], environment: dict[str, str] | None = None) -> str:
    """What a command prints."""
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True)
    if outcome.returncode != 0:
        print(outcome.stderr, file=sys.stderr)
        raise SetUpError(f"{command[0]} failed: see its message above")
    return outcome.stdout


def digest(inputs: object) -> str:
    """A fingerprint of a stage's inputs."""
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def is_current(stage: str, inputs: object) -> bool:
    """Whether a stage was completed with the same inputs."""
    path = STAMPS / stage
    return path.exists() and path.read_text() == digest(inputs)


def stamp(stage: str, inputs: object) -> None:
    """Note that a stage is complete."""
    (STAMPS / stage).write_text(digest(inputs))
