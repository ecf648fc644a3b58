# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Downloads, against a real HTTP server on this machine: resume, checksums, ways to fail."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from file_hub import CHECKPOINT, CONTENT, PATH, STORAGE, Hub, get, path_of, serving
from full_disk import files_of_at_most
from referdino_core.progress import ProgressMonitor

from referdino_core.cli import main
from referdino_core.download import ASSETS, DownloadError, cache_directory, locate
from referdino_core.download.fetching import Outcome, fetch
from referdino_core.errors import Cancelled


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    with serving(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr("referdino_core.download.transfer._FIRST_PAUSE", 0.01)
        yield hub


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_arrives_whole_and_its_checksum_is_recorded_beside_it(
    hub: Hub, tmp_path: Path
) -> None:
    hub.hold(PATH, CONTENT)
    seen = [(-1, None)]
    fetched = get(tmp_path, seen)
    assert fetched.outcome is Outcome.DOWNLOADED
    assert fetched.path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    record = json.loads((tmp_path / "ryt_swinb.pth.checksum.json").read_text())
    assert record["sha256"] == hashlib.sha256(CONTENT).hexdigest() == fetched.checksum
    assert record["size"] == len(CONTENT)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ryt_swinb.pth",
        "ryt_swinb.pth.checksum.json",
    ]


def test_a_second_run_asks_the_network_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT)
    get(tmp_path)
    hub.requests.clear()
    assert get(tmp_path).outcome is Outcome.UNCHANGED
    assert hub.requests == []


def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT)
    hub.break_after = [300_000, 200_000]
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert hub.ranges() == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_run_goes_on_from_what_an_earlier_one_left(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT)
    hub.break_after = [400_000] + [0] * 8
    with pytest.raises(DownloadError, match="run the same command again"):
        get(tmp_path)
    assert (tmp_path / "ryt_swinb.pth.part").stat().st_size == 400_000
    assert not (tmp_path / "ryt_swinb.pth").exists()
    hub.break_after.clear()
    hub.requests.clear()
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert hub.ranges() == ["bytes=400000-"]


def test_a_complete_part_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT)
    (tmp_path / "ryt_swinb.pth.part").write_bytes(CONTENT)
    (tmp_path / "ryt_swinb.pth.part.etag").write_text('"one"')
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert hub.ranges() == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("change", ["tag", "shorter"])
def test_a_part_of_another_version_is_not_mixed_with_the_new_one(
    hub: Hub, tmp_path: Path, change: str
) -> None:
    (tmp_path / "ryt_swinb.pth.part").write_bytes(b"old" * 1000)
    (tmp_path / "ryt_swinb.pth.part.etag").write_text('"old"')
    new = CONTENT if change == "tag" else CONTENT[:500]
    hub.hold(PATH, new, '"new"')
    assert get(tmp_path).path.read_bytes() == new


def test_a_part_of_unknown_version_is_started_over(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "ryt_swinb.pth.part").write_bytes(b"what is this")
    hub.hold(PATH, CONTENT)
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert hub.ranges() == [None]


def test_servers_without_ranges_or_tags_work_from_the_start(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT, entity_tag="")
    hub.honours_ranges = False
    hub.break_after = [1000]
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert hub.ranges() == [None, None]


def test_ranges_that_the_server_ignores_do_not_corrupt_the_file(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT)
    hub.honours_ranges = False
    hub.break_after = [1000]
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert hub.ranges() == [None, "bytes=1000-"]


def test_large_files_are_followed_to_their_storage_and_resumed_there(
    hub: Hub, tmp_path: Path
) -> None:
    hub.large[PATH] = hashlib.sha256(CONTENT).hexdigest()
    hub.hold(STORAGE + "ryt_swinb.pth", CONTENT, '"tag of the storage"')
    hub.break_after = [250_000]
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert hub.ranges() == [None, "bytes=250000-"]


def test_an_announced_checksum_that_does_not_fit_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.large[PATH] = hashlib.sha256(b"another file").hexdigest()
    hub.hold(STORAGE + "ryt_swinb.pth", CONTENT)
    with pytest.raises(DownloadError, match="announced was") as caught:
        get(tmp_path)
    assert hub.large[PATH] in str(caught.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert not (tmp_path / "ryt_swinb.pth").exists()
    assert not (tmp_path / "ryt_swinb.pth.checksum.json").exists()


def test_a_file_that_the_publisher_altered_is_refused_with_both_checksums(
    hub: Hub, tmp_path: Path
) -> None:
    hub.hold(PATH, CONTENT)
    first = get(tmp_path).checksum
    (tmp_path / "ryt_swinb.pth").unlink()
    altered = CONTENT[:-1] + b"!"
    hub.hold(PATH, altered, '"two"')
    with pytest.raises(DownloadError, match="recorded was") as caught:
        get(tmp_path)
    assert first in str(caught.value)
    assert hashlib.sha256(altered).hexdigest() in str(caught.value)
    assert not (tmp_path / "ryt_swinb.pth").exists()
    assert (tmp_path / "ryt_swinb.pth.mismatch").read_bytes() == altered
    hub.hold(PATH, CONTENT)
    assert get(tmp_path).checksum == first


def test_a_file_with_a_published_checksum_is_held_to_it(hub: Hub, tmp_path: Path) -> None:
    file = replace(CHECKPOINT, checksum=sha256(CONTENT))
    hub.hold(PATH, CONTENT[:-1] + b"!")
    with pytest.raises(DownloadError, match="published was") as caught:
        fetch(file, tmp_path)
    assert sha256(CONTENT) in str(caught.value)
    assert not (tmp_path / "ryt_swinb.pth").exists()
    assert (tmp_path / "ryt_swinb.pth.mismatch").exists()
    hub.hold(PATH, CONTENT, '"two"')
    assert fetch(file, tmp_path).outcome is Outcome.DOWNLOADED
    (tmp_path / "ryt_swinb.pth").write_bytes(b"put there by hand")
    with pytest.raises(DownloadError, match=r"has changed.*published was"):
        fetch(file, tmp_path)


def test_what_is_pinned_names_a_commit_and_a_checksum_each() -> None:
    for file in (file for asset in ASSETS.values() for file in asset.files):
        pinned = file.checksum is not None
        assert pinned == (file.revision != "main")
        if pinned:
            assert re.fullmatch("[0-9a-f]{40}", file.revision), file
            assert re.fullmatch("[0-9a-f]{64}", str(file.checksum)), file
            assert f"/resolve/{file.revision}/" in file.url
    assert all(file.checksum for file in ASSETS["bert"].files)


def test_a_file_that_changed_on_disk_is_refused_until_it_is_deleted(
    hub: Hub, tmp_path: Path
) -> None:
    hub.hold(PATH, CONTENT)
    path = get(tmp_path).path
    path.write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(DownloadError, match=r"has changed.*delete the file"):
        get(tmp_path)
    path.unlink()
    assert get(tmp_path).path.read_bytes() == CONTENT


def test_a_file_that_was_put_there_by_hand_has_its_checksum_recorded(
    hub: Hub, tmp_path: Path
) -> None:
    (tmp_path / "ryt_swinb.pth").write_bytes(CONTENT)
    assert get(tmp_path).outcome is Outcome.RECORDED
    assert get(tmp_path).outcome is Outcome.UNCHANGED
    assert hub.requests == []


def test_a_damaged_record_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT)
    get(tmp_path)
    (tmp_path / "ryt_swinb.pth.checksum.json").write_text("{")
    with pytest.raises(DownloadError, match="delete it to record"):
        get(tmp_path)


def test_a_missing_file_says_404_and_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        get(tmp_path)
    assert not (tmp_path / "ryt_swinb.pth").exists()


def test_passing_server_troubles_are_waited_out(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT)
    hub.failures = [503, 429]
    assert get(tmp_path).path.read_bytes() == CONTENT


def test_a_server_that_stays_in_trouble_is_given_up(hub: Hub, tmp_path: Path) -> None:
    hub.failures = [503] * 20
    with pytest.raises(DownloadError, match="503"):
        get(tmp_path)
    assert len(hub.requests) < 20


@pytest.mark.parametrize("resumed", [False, True])
def test_a_disk_that_fills_is_one_error_and_the_next_run_goes_on(
    hub: Hub, tmp_path: Path, resumed: bool
) -> None:
    hub.hold(PATH, CONTENT)
    if resumed:
        (tmp_path / "ryt_swinb.pth.part").write_bytes(CONTENT[:100_000])
        (tmp_path / "ryt_swinb.pth.part.etag").write_text('"one"')
    with (
        files_of_at_most(300_000),
        pytest.raises(
            DownloadError, match=r"ryt_swinb\.pth\.part cannot be written: File too large"
        ),
    ):
        get(tmp_path)
    assert (tmp_path / "ryt_swinb.pth.part").read_bytes() == CONTENT[:300_000]
    hub.requests.clear()
    assert get(tmp_path).path.read_bytes() == CONTENT
    assert hub.ranges() == ["bytes=300000-"]


def test_a_disk_without_room_is_told_before_anything_is_written(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.hold(PATH, CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DownloadError, match=r"needs 1,048,576 more bytes than the disk has free"):
        get(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_web_page_in_place_of_the_file_is_not_taken_for_it(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, b"<html>Welcome to our guests' network")
    hub.content_types[PATH] = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="answers with a web page"):
        get(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_downloads_of_one_file_do_not_write_into_each_other(hub: Hub, tmp_path: Path) -> None:
    import fcntl

    hub.hold(PATH, CONTENT)
    with (tmp_path / "ryt_swinb.pth.part").open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="already being downloaded"):
            get(tmp_path)
    assert get(tmp_path).path.read_bytes() == CONTENT


def test_no_network_is_one_line_with_advice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert main(["download", "ryt_swinb", "--directory", str(tmp_path)]) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "cannot be reached" in errors[0]
    assert "check the network" in errors[0]


def test_an_endpoint_that_is_no_web_address_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(DownloadError, match="check HF_ENDPOINT"):
        get(tmp_path)


def test_the_cache_directory_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("REFERDINO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "referdino"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "referdino"
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


def test_files_that_are_not_there_are_asked_for_by_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path))
    with pytest.raises(DownloadError, match="referdino download bert"):
        locate("bert")
    with pytest.raises(DownloadError, match="choose from"):
        locate("swin_zzz")


def test_the_command_downloads_every_file_of_what_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path / "cache"))
    files = tuple(
        replace(file, checksum=sha256(file.path.encode())) for file in ASSETS["bert"].files
    )
    monkeypatch.setitem(ASSETS, "bert", replace(ASSETS["bert"], files=files))
    for file in files:
        hub.hold(path_of(file), file.path.encode())
    hub.hold(PATH, CONTENT)
    assert main(["download", "bert", "ryt_swinb"]) == 0
    told = capfd.readouterr().out
    for path in (*locate("bert"), *locate("ryt_swinb")):
        assert f"{path}: downloaded (SHA-256 " in told
    assert locate("bert")[0].read_bytes() == b"vocab.txt"
    assert main(["download", "--list"]) == 0
    lines = capfd.readouterr().out.splitlines()[: len(ASSETS)]
    listed = {line.split()[0]: line.split()[1] for line in lines}
    assert list(listed) == list(ASSETS)
    assert listed["bert"] == listed["ryt_swinb"] == "here"
    assert listed["mevis_swinb"] == "-"


def test_an_unknown_name_downloads_nothing(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["download", "ryt_swinb", "nonsense", "--directory", str(tmp_path)]) == 1
    assert "'nonsense'" in capfd.readouterr().err
    assert hub.requests == []


def test_a_cancelled_download_keeps_what_has_arrived(hub: Hub, tmp_path: Path) -> None:
    hub.hold(PATH, CONTENT)
    monitor = ProgressMonitor(lambda progress: monitor.cancelled.set())
    with pytest.raises(Cancelled, match=r"The download of ryt_swinb\.pth was cancelled"):
        fetch(CHECKPOINT, tmp_path, monitor)
    assert (tmp_path / "ryt_swinb.pth.part").is_file()
    assert get(tmp_path).path.read_bytes() == CONTENT
