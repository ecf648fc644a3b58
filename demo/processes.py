# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Processes of the demo: started, monitored, logged to one file, and stopped together."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from demo import DemoError
from demo.graph import Publication
from referdino_core.files import OutputError

_STOP_PATIENCE = 15.0
_NOTABLE = re.compile(
    r"\[(WARN|ERROR|FATAL)\] \[[\d.]+\] \[[^]]*\]: "
    r"(?!Cannot configure: )"  # that ends the demo, which reports it itself
    r"(?P<message>.*)"
)


class Journal:
    """The log file shared by all processes; warnings and errors are also printed."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OutputError: it cannot be written.
        """
        self.path = path
        self._lock = threading.Lock()
        self._showing = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error

    def write(self, name: str, line: str) -> None:
        """Add a line of a process."""
        notable = _NOTABLE.fullmatch(line)
        with self._lock:
            self._file.write(f"[{name}] {line}\n")
            self._file.flush()
            if notable and self._showing:
                tqdm.write(f"demo: {name}: {notable['message']}", file=sys.stderr)

    def hush(self) -> None:
        """Stop printing."""
        self._showing = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class DemoProcess:
    """A Python module in a separate process, which does not outlive the demo."""

    def __init__(self, name: str, module: str, arguments: list[str], journal: Journal) -> None:
        self.name = name
        self._journal = journal
        self._publications: list[Publication] = []
        self._last_line = ""
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "demo.child", str(os.getpid()), module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C goes to the demo, which stops its processes
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def publications(self) -> list[Publication]:
        """The publications that it has reported so far."""
        return list(self._publications)

    def has_finished(self) -> bool:
        """Whether it exited successfully.

        Raises:
            DemoError: it exited with an error.
        """
        status = self._process.poll()
        if status is None:
            return False
        self._reader.join()
        if status != 0:
            raise DemoError(
                f"The {self.name} ended with status {status} ({self._last_line}); "
                f"see {self._journal.path}."
            )
        return True

    def say_go(self) -> None:
        """Send it a line on its standard input, if it is still running."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def ask_to_stop(self) -> None:
        """Send it SIGINT."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it without a chance to clean up, as a crash would."""
        self._process.kill()

    def stop(self) -> None:
        """Wait until it has exited; kill it if necessary."""
        try:
            self._process.wait(_STOP_PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw_line in self._process.stdout:
            line = raw_line.rstrip()
            publication = Publication.parse(line)
            if publication is not None:
                self._publications.append(publication)
            elif line:
                self._last_line = line
                self._journal.write(self.name, line)


class ProcessGroup:
    """A group of processes; as a context manager it stops all of them on exit."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._processes: list[DemoProcess] = []

    def start(self, name: str, module: str, *arguments: str) -> DemoProcess:
        """Start a module; processes are stopped in reverse order."""
        process = DemoProcess(name, module, list(arguments), self._journal)
        self._processes.append(process)
        return process

    def ask_to_stop(self) -> None:
        """Send SIGINT to all; from now on their output goes only to the file."""
        self._journal.hush()
        for process in reversed(self._processes):
            process.ask_to_stop()

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ask_to_stop()
        for process in reversed(self._processes):
            process.stop()
        self._journal.close()
