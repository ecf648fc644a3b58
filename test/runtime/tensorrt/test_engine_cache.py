# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Built engines on disk: when one is used, when it is built again, and what the log says of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from referdino_core.progress import ProgressMonitor
from repository import REPOSITORY

from referdino_core.errors import Cancelled
from referdino_core.runtime.tensorrt.engine_cache import (
    MAGIC,
    CachedEngine,
    EngineCache,
    EngineCacheError,
    engine_directory,
    network_checksum,
)
from referdino_core.runtime.tensorrt.engine_key import EngineKey

KEY = EngineKey(
    stage="grounder",
    onnx_sha256="a" * 64,
    library="TensorRT 10.13.3.9",
    gpu="Orin",
    compute_capability="8.7",
    shapes={"L": 32, "N": [1, 1, 8]},
    precision="fp16, strongly typed",
    plugin="ReferdinoDeformableAttention 1",
    builder_options={"workspace_gib": None, "tf32": False},
)
SOURCE = Path("swint/grounder.onnx")
PAYLOAD = bytes(range(256)) * 64


def never() -> bytes:
    raise AssertionError("the engine in the cache should be used")


def payload_of(engine: CachedEngine | None) -> bytes | None:
    return None if engine is None else engine.payload


def changed(**parts: object) -> EngineKey:
    return dataclasses.replace(KEY, **parts)  # type: ignore[arg-type]


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines of the log since the last time they were asked for."""
    caplog.set_level(logging.INFO, logger="referdino")

    def lines() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return messages

    return lines


def test_an_engine_is_built_once_and_then_loaded(
    cache: EngineCache, told: Callable[[], list[str]]
) -> None:
    built = cache.provide(KEY, SOURCE, lambda: PAYLOAD)
    assert (built.was_built, built.payload) == (True, PAYLOAD)
    assert told() == ["grounder engine: there is none yet; building it"]
    loaded = EngineCache(cache.folder).provide(KEY, SOURCE, never)
    assert (loaded.was_built, loaded.payload, loaded.path) == (False, PAYLOAD, built.path)
    assert told() == []


def test_file_names_stage_and_key_and_holds_all_parts_of_it(cache: EngineCache) -> None:
    path = cache.store(KEY, SOURCE, PAYLOAD)
    assert path == cache.folder / f"grounder-{KEY.digest[:16]}.engine"
    content = path.read_bytes()
    start = len(MAGIC) + 8
    length = int.from_bytes(content[len(MAGIC) : start], "little")
    header = json.loads(content[start : start + length])
    assert header["key"] == KEY.parts()
    assert header["payload_bytes"] == len(PAYLOAD)
    assert content[start + length :] == PAYLOAD
    assert list(cache.folder.iterdir()) == [path], "nothing temporary stays"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (
            {"library": "TensorRT 10.3.0.30"},
            "built by TensorRT 10.13.3.9, this is TensorRT 10.3.0.30",
        ),
        ({"gpu": "Thor"}, "for the GPU Orin, this is the GPU Thor"),
        ({"gpu": None}, "for the GPU Orin, this is any GPU"),
        ({"compute_capability": "11.0"}, "for compute capability 8.7, this is 11.0"),
        ({"onnx_sha256": "c" * 64}, "the ONNX changed"),
        (
            {"plugin": "ReferdinoDeformableAttention 2"},
            "for ReferdinoDeformableAttention 1, this is ReferdinoDeformableAttention 2",
        ),
        ({"plugin": None}, "for ReferdinoDeformableAttention 1, this is no plugin"),
        (
            {"shapes": {"L": 32, "N": [1, 1, 4]}},
            "for the shapes L 32, N [1, 1, 8], wanted are L 32, N [1, 1, 4]",
        ),
        (
            {"precision": "fp32, strongly typed"},
            "for precision fp16, strongly typed, wanted is fp32, strongly typed",
        ),
        (
            {"builder_options": {"workspace_gib": 2.0, "tf32": False}},
            "built with tf32 False, workspace_gib None, wanted is tf32 False, workspace_gib 2.0",
        ),
        (
            {"library": "TensorRT for RTX 1.7.1.116", "gpu": "Thor"},
            "built by TensorRT 10.13.3.9, this is TensorRT for RTX 1.7.1.116; "
            "for the GPU Orin, this is the GPU Thor",
        ),
    ],
)
def test_every_part_of_the_key_counts_and_the_log_says_which(
    cache: EngineCache, told: Callable[[], list[str]], parts: dict, reason: str
) -> None:
    path = cache.store(KEY, SOURCE, PAYLOAD)
    wanted = changed(**parts)
    assert wanted.digest != KEY.digest
    engine = cache.provide(wanted, SOURCE, lambda: b"new")
    assert (engine.was_built, engine.payload) == (True, b"new")
    assert told() == [f"grounder engine: {path.name} is not used: {reason}; building it"]
    assert payload_of(cache.load(KEY, SOURCE)) == PAYLOAD, "what others may still use stays"


def test_key_has_a_part_for_each_thing_that_matters() -> None:
    digests = {changed(**{name: "other"}).digest for name in KEY.parts()}
    assert len(digests | {KEY.digest}) == len(KEY.parts()) + 1
    assert changed(shapes={"N": (1, 1, 8), "L": 32}).digest == KEY.digest, "order does not matter"


def test_an_engine_of_another_network_is_no_outdated_one(
    cache: EngineCache, told: Callable[[], list[str]]
) -> None:
    cache.store(changed(onnx_sha256="d" * 64), Path("swinb/grounder.onnx"), PAYLOAD)
    cache.provide(KEY, SOURCE, lambda: PAYLOAD)
    assert told() == ["grounder engine: there is none yet; building it"]


def test_an_engine_that_came_along_is_used_where_it_is(cache: EngineCache, tmp_path: Path) -> None:
    shipped = tmp_path / "swint" / "engines"
    path = EngineCache(shipped).store(KEY, SOURCE, PAYLOAD)
    engine = EngineCache(cache.folder, shipped).provide(KEY, SOURCE, never)
    assert (engine.path, engine.payload, engine.was_built) == (path, PAYLOAD, False)
    assert list(cache.folder.iterdir()) == []


def test_an_engine_that_came_along_and_does_not_fit_is_a_warning_that_says_why(
    cache: EngineCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shipped = tmp_path / "swint" / "engines"
    path = EngineCache(shipped).store(changed(compute_capability="8.9"), SOURCE, PAYLOAD)
    both = EngineCache(cache.folder, shipped)
    engine = both.provide(KEY, Path("elsewhere/grounder.onnx"), lambda: b"new")
    assert (engine.path.parent, engine.was_built) == (cache.folder, True)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"grounder engine: {path.name} is not used: for compute capability 8.9, this is 8.7; "
        "building it"
    )
    assert list(shipped.iterdir()) == [path], "nothing is written there"


def test_a_damaged_engine_that_came_along_is_built_anew(
    cache: EngineCache, tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    shipped = tmp_path / "swint" / "engines"
    path = EngineCache(shipped).store(KEY, SOURCE, PAYLOAD)
    path.write_bytes(path.read_bytes()[:-1])
    engine = EngineCache(cache.folder, shipped).provide(KEY, SOURCE, lambda: b"new")
    assert engine.path.parent == cache.folder
    (line,) = told()
    assert "is not used: file is truncated or corrupt" in line


def spoil(content: bytes, damage: str) -> bytes:
    header_end = content.index(PAYLOAD)
    return {
        "cut short": content[:-1],
        "too long": content + b"\0",
        "payload changed": content[:-1] + bytes([content[-1] ^ 1]),
        "header cut short": content[: header_end // 2],
        "magic cut short": content[: len(MAGIC) // 2],
        "header changed": content[: header_end - 1] + b"!" + content[header_end:],
        "header of another shape": MAGIC + (2).to_bytes(8, "little") + b"[]" + PAYLOAD,
        "empty": b"",
        "foreign": b"ftrt" + content,
    }[damage]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cut short", "file is truncated or corrupt (16383 bytes instead of 16384)"),
        ("too long", "file is truncated or corrupt (16385 bytes instead of 16384)"),
        ("payload changed", "file is corrupt (its checksum differs)"),
        ("header cut short", "file is truncated or corrupt (within its header)"),
        ("magic cut short", "file is truncated"),
        ("header changed", "file is corrupt (its header)"),
        ("header of another shape", "file is corrupt (its header)"),
        ("empty", "file is truncated"),
        ("foreign", "not an engine of referdino"),
    ],
)
def test_a_damaged_or_foreign_file_is_rebuilt_with_one_line(
    cache: EngineCache, told: Callable[[], list[str]], damage: str, reason: str
) -> None:
    path = cache.store(KEY, SOURCE, PAYLOAD)
    path.write_bytes(spoil(path.read_bytes(), damage))
    engine = cache.provide(KEY, SOURCE, lambda: PAYLOAD)
    assert engine.was_built
    assert told() == [f"grounder engine: {path.name} is not used: {reason}; rebuilding it"]
    assert cache.provide(KEY, SOURCE, never).payload == PAYLOAD
    assert told() == []


def test_a_file_under_the_name_of_another_key_is_not_used(
    cache: EngineCache, told: Callable[[], list[str]]
) -> None:
    other = changed(gpu="Thor")
    cache.store(other, SOURCE, PAYLOAD).rename(cache.path(KEY))
    assert cache.load(KEY, SOURCE) is None
    (line,) = told()
    assert "for the GPU Thor, this is the GPU Orin; rebuilding it" in line


def test_forced_builds_replace_what_is_there(cache: EngineCache) -> None:
    cache.store(KEY, SOURCE, PAYLOAD)
    assert cache.provide(KEY, SOURCE, lambda: b"new", force=True).was_built
    assert payload_of(cache.load(KEY, SOURCE)) == b"new"


def test_a_failed_build_leaves_nothing_behind_and_can_be_tried_again(cache: EngineCache) -> None:
    def fail() -> bytes:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        cache.provide(KEY, SOURCE, fail)
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]
    assert cache.provide(KEY, SOURCE, lambda: PAYLOAD).was_built


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineCacheError, match="engines cannot be written"):
        EngineCache(tmp_path / "file" / "engines")


def test_an_engine_that_cannot_be_written_is_one_clear_error(cache: EngineCache) -> None:
    cache.path(KEY).mkdir()
    with pytest.raises(EngineCacheError, match="cannot be written"):
        cache.store(KEY, SOURCE, PAYLOAD)
    assert list(cache.folder.iterdir()) == [cache.path(KEY)]


# Provides the engine, tells on standard output what it does, and builds until its input ends.
PROVIDE = """
import json, logging, sys
from pathlib import Path
from referdino_core.runtime.tensorrt.engine_cache import EngineCache
from referdino_core.runtime.tensorrt.engine_key import EngineKey

def build():
    print("building", flush=True)
    sys.stdin.read()
    return bytes(range(256)) * 64

logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
key = EngineKey(**json.loads(sys.argv[2]))
engine = EngineCache(Path(sys.argv[1])).provide(key, Path("swint/grounder.onnx"), build)
print("built" if engine.was_built else "loaded", flush=True)
"""


@contextmanager
def provider_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROVIDE, folder, json.dumps(KEY.parts())],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], ending: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.rstrip().endswith(ending):
            return
    raise AssertionError(f"the process ended before it said {ending!r}")


def test_two_processes_build_the_same_engine_once(cache: EngineCache) -> None:
    with provider_process(cache.folder) as first:
        read_until(first, "building")
        with provider_process(cache.folder) as second:
            read_until(second, "grounder engine: another process is building it; waiting")
            assert cache.provide(changed(gpu="Thor"), SOURCE, lambda: b"x").was_built
            assert first.communicate(timeout=60)[0].split() == ["built"]
            assert second.communicate(timeout=60)[0].split() == ["loaded"]
    assert payload_of(cache.load(KEY, SOURCE)) == PAYLOAD


def test_waiting_for_another_process_can_be_cancelled(cache: EngineCache) -> None:
    monitor = ProgressMonitor()
    with provider_process(cache.folder) as process:
        read_until(process, "building")
        timer = threading.Timer(0.3, monitor.cancelled.set)
        timer.start()
        with pytest.raises(Cancelled, match="grounder engine was cancelled"):
            cache.provide(KEY, SOURCE, never, monitor=monitor)
        timer.join()


def test_the_lock_of_a_killed_process_is_free(cache: EngineCache) -> None:
    with provider_process(cache.folder) as process:
        read_until(process, "building")
    assert cache.provide(KEY, SOURCE, lambda: PAYLOAD).was_built


class TestNetworkChecksum:
    def test_it_follows_the_content_not_the_place(self, tmp_path: Path) -> None:
        first, second = tmp_path / "a" / "x.onnx", tmp_path / "b" / "x.onnx"
        for path in (first, second):
            path.parent.mkdir()
            path.write_bytes(b"network")
        assert network_checksum(first) == network_checksum(second)
        second.write_bytes(b"Network")
        assert network_checksum(first) != network_checksum(second)

    def test_weights_outside_of_the_file_count_and_strangers_do_not(self, tmp_path: Path) -> None:
        onnx, weights = tmp_path / "readout.onnx", tmp_path / "readout.onnx.data"
        onnx.write_bytes(b"\x0alocation\x12\x11readout.onnx.data\x00")
        weights.write_bytes(b"weights")
        checksum = network_checksum(onnx)
        (tmp_path / "notes.txt").write_text("a stranger")
        assert network_checksum(onnx) == checksum
        weights.write_bytes(b"weightS")
        assert network_checksum(onnx) != checksum

    def test_a_network_that_is_not_there_is_one_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(EngineCacheError, match=r"readout\.onnx cannot be read"):
            network_checksum(tmp_path / "readout.onnx")


def test_engines_are_kept_in_the_cache_of_referdino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", "/data/referdino")
    assert engine_directory() == Path("/data/referdino/engines")
