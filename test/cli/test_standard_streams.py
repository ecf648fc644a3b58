# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The program under shells that closed its streams, and before readers that go away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import PROGRAM, environment
from media_samples import flat_image

from referdino_core.cli.standard_streams import secured_standard_streams
from referdino_core.files import OutputError
from referdino_core.media.writers import write_image


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which referdino is this checkout's program."""
    program = " ".join(PROGRAM)
    return subprocess.run(
        ["bash", "-c", f'referdino() {{ {program} "$@"; }}; {command}'],
        capture_output=True,
        cwd=folder,
        env={name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"},
        timeout=240,
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&- <&-"])
def test_closed_streams_do_not_hinder_and_get_into_no_file(closed: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", flat_image(9, 120, 160))
    done = shell(f'referdino segment a.png "the red ball" --out o {closed}', tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b"1 frames in" in done.stdout) == (closed == "2>&-")
    assert b"error" not in done.stdout
    document = json.loads((tmp_path / "o/frames.json").read_text(encoding="utf-8"))
    assert len(document["frames"]) == 1


def test_an_error_does_not_get_into_standard_output(tmp_path: Path) -> None:
    done = shell('referdino segment missing.mp4 "a ball" 2>&-', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_full_disk_behind_standard_output_is_an_error_in_one_line(tmp_path: Path) -> None:
    for command in ("info", "--help"):
        done = shell(f"referdino {command} >/dev/full", tmp_path)
        assert done.returncode == 1
        assert done.stderr == (
            b"referdino: error: Standard output cannot be written: No space left on device.\n"
        )


@pytest.mark.slow
def test_readers_that_go_away_are_no_error_to_speak_of(tmp_path: Path) -> None:
    help_text = shell("referdino --help | true; exit ${PIPESTATUS[0]}", tmp_path)
    assert help_text.stderr == b""
    done = shell("referdino info | true; exit ${PIPESTATUS[0]}", tmp_path)
    assert (done.returncode, done.stderr) == (1, b"")
    done = shell("referdino info 2> >(true)", tmp_path)
    assert done.returncode == 0 and b"torch" in done.stdout


def test_names_that_are_no_utf8_are_printed_as_they_are(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", flat_image(9, 120, 160))
    done = shell(r"referdino segment a.png 'the red ball' --out $'caf\xe9'", tmp_path)
    assert done.returncode == 0
    assert b"caf\xe9/frames.json\n" in done.stdout
    assert (tmp_path / os.fsdecode(b"caf\xe9") / "overlay.mp4").is_file()
    done = shell(r"referdino segment $'caf\xe8.mp4' 'the red ball'", tmp_path)
    assert done.returncode == 1 and rb"caf\xe8.mp4 does not exist" in done.stderr


def test_streams_are_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "stderr", None)
        with secured_standard_streams():
            print("lost", file=sys.stderr)
            assert not sys.stderr.isatty()
            with pytest.raises(OutputError, match="No space left"):
                print("lost", flush=True)
        assert sys.stdout is full and sys.stderr is None
        full.flush()  # nothing is left that the disk does not take
