# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SQLite recordings: cut, damaged, with a journal, on a disk that cannot be written to."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from bag_reading import assert_is_the_scene, frames_of, metadata_says, storage_file
from bag_samples import (
    IMAGE_TOPIC,
    PERIOD,
    START,
    scene,
    write_bag,
)
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from referdino_core.errors import SourceError
from referdino_core.replay.bag_recording import BagRecording

COUNT = 8
CAPABILITY_VERSION = 0x20080522
PASSES_OVER_PERMISSIONS = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of linux/capability.h."""
SQLITE = StoragePlugin.SQLITE3


@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_a_cut_sqlite_is_replayed_up_to_the_break(tmp_path: Path, kept: float) -> None:
    bag = write_bag(tmp_path / "bag", scene(20), SQLITE)
    file = storage_file(bag)
    os.truncate(file, int(file.stat().st_size * kept))

    recording = BagRecording(bag)
    frames = frames_of(recording)

    assert 20 * kept - 3 <= len(frames) < 20
    assert_is_the_scene(frames, len(frames))
    counted, problem = recording.problems
    assert "bag.db3 breaks off after message" in problem
    assert counted == metadata_says(20, len(frames))


def killed_recording(folder: Path) -> Path:
    """A database whose newest messages are still in the journal, as a killed recorder leaves it."""
    file = storage_file(write_bag(folder / "bag", scene(COUNT), SQLITE))
    journalled = folder / "killed" / "killed.db3"
    journalled.parent.mkdir()
    with sqlite3.connect(file) as whole:
        whole.execute("CREATE TABLE later AS SELECT * FROM messages WHERE id > 3")
        whole.execute("DELETE FROM messages WHERE id > 3")
    whole.close()
    shutil.copy(file, journalled)
    recorder = "\n".join(
        [
            "import os, signal, sqlite3, sys",
            "database = sqlite3.connect(sys.argv[1])",
            "database.execute('PRAGMA journal_mode=WAL')",
            "database.execute('INSERT INTO messages SELECT * FROM later')",
            "database.commit()",
            "os.kill(os.getpid(), signal.SIGKILL)",
        ]
    )
    killed = subprocess.run([sys.executable, "-c", recorder, journalled])
    assert killed.returncode == -signal.SIGKILL
    assert journalled.with_name("killed.db3-wal").stat().st_size > 0
    return journalled


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that this process may not write to, root neither."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.iterdir())}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    try:
        with without_roots_privileges():
            if os.access(folder, os.W_OK, effective_ids=True):
                pytest.skip("the test's folder is on a file system without permissions")
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@contextmanager
def without_roots_privileges() -> Iterator[None]:
    """This thread without the capabilities that let root pass over permissions.

    Root stays root: another user may not reach the folder at all, where it is mounted for one.
    """
    system = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    owned = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable: the low, the high half
    assert system.capget(header, owned) == 0, os.strerror(ctypes.get_errno())
    reduced = (ctypes.c_uint32 * 6)(*owned)
    reduced[0] &= ~PASSES_OVER_PERMISSIONS
    assert system.capset(header, reduced) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert system.capset(header, owned) == 0, os.strerror(ctypes.get_errno())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("with_index", [False, True])
@pytest.mark.parametrize("is_read_only", [False, True])
def test_messages_in_the_journal_are_read_and_nothing_is_left_beside_them(
    tmp_path: Path, with_index: bool, is_read_only: bool
) -> None:
    file = killed_recording(tmp_path)
    if not with_index:
        file.with_name("killed.db3-shm").unlink()
    before = contents(file.parent)

    with read_only(file.parent) if is_read_only else nullcontext():
        recording = BagRecording(file)
        assert recording.frame_count == COUNT
        assert_is_the_scene(frames_of(recording), COUNT)

    assert recording.problems == []
    assert contents(file.parent) == before


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_reading_a_whole_database_leaves_nothing_beside_it(tmp_path: Path, mode: str) -> None:
    file = storage_file(write_bag(tmp_path / "bag", scene(COUNT), SQLITE))
    with sqlite3.connect(file) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
    database.close()
    before = contents(file.parent)

    with read_only(file.parent):
        assert_is_the_scene(frames_of(BagRecording(file)), COUNT)

    assert contents(file.parent) == before


def test_a_database_whose_last_changes_are_not_whole_is_read_and_reported(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", scene(COUNT), SQLITE))
    file.with_name("bag.db3-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(500))

    recording = BagRecording(file)

    assert_is_the_scene(frames_of(recording), COUNT)
    (problem,) = recording.problems
    assert problem == (
        "bag.db3 was being written when the recorder ended: its last changes are not whole"
    )


def test_a_damaged_message_in_a_database_is_left_out_and_counted(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", scene(COUNT), SQLITE)
    file = storage_file(bag)
    with sqlite3.connect(file) as database:
        database.execute("UPDATE messages SET data = 'no bytes' WHERE id = 3")
    database.close()

    recording = BagRecording(bag)
    stamps = [frame.stamp for frame in frames_of(recording)]

    assert stamps == [START + n * PERIOD for n in range(COUNT) if n != 2]
    assert recording.problems == [
        metadata_says(COUNT, COUNT - 1),
        "bag.db3 holds 1 damaged messages, left out",
    ]


def test_messages_of_a_database_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", scene(COUNT), SQLITE))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE messages SET id = 100 - id")
    database.close()

    assert_is_the_scene(frames_of(BagRecording(file)), COUNT)


def test_a_compressed_message_that_is_cut_off_is_reported(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", scene(COUNT), SQLITE, CompressionMode.MESSAGE)
    with sqlite3.connect(storage_file(bag)) as database:
        database.execute("UPDATE messages SET data = substr(data, 1, 1000) WHERE id = 3")
    database.close()

    recording = BagRecording(bag)

    assert len(frames_of(recording)) == COUNT - 1
    assert recording.problems == [f"A message of {IMAGE_TOPIC} is damaged: it is cut off"]


def test_a_database_of_something_else_is_one_clear_line(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "a.db3")
    database.execute("CREATE TABLE songs(name TEXT)")
    database.commit()
    database.close()

    with pytest.raises(SourceError, match="no such table: topics"):
        BagRecording(tmp_path / "a.db3")
