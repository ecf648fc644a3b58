# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Processes of the demo: their end, when the demo itself is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from repository import REPOSITORY

PATIENCE = 30.0
DEMO = """
import sys, threading
from pathlib import Path
from demo.processes import Journal, ProcessGroup

with ProcessGroup(Journal(Path(sys.argv[1]))) as processes:
    processes.start("server", "http.server", "0", "--bind", "127.0.0.1")
    threading.Event().wait()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells of a parent's death")


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_processes_do_not_outlive_a_demo_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    demo = subprocess.Popen([sys.executable, "-c", DEMO, str(log)], cwd=REPOSITORY)
    end = time.monotonic() + PATIENCE
    while "Serving HTTP" not in (log.read_text() if log.exists() else ""):
        assert demo.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    [server] = children(demo.pid)

    demo.kill()
    demo.wait()

    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{server}/cwd").exists():
        assert time.monotonic() < end, "the server still runs"
        time.sleep(0.05)
