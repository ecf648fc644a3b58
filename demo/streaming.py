# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Watching the processes of a demo at work, and telling the user about it."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from demo.errors import DemoError
from demo.listener import Listener
from demo.material import Material
from demo.processes import DemoProcess

LOADING_PATIENCE = 600.0
"""Seconds that a node may take until it is active."""
ANSWER_PATIENCE = 60.0
"""Seconds without an answer after which no more are expected."""
_POLL = 0.1
_SECONDS_BETWEEN_LINES = 5.0


def say(message: str) -> None:
    """Tell the user what is going on."""
    tqdm.write(f"demo: {message}", file=sys.stderr)


def wait_until_active(node: DemoProcess, listener: Listener) -> None:
    """Return once the node's diagnostics say that it is active.

    Raises:
        DemoError: it ended, or could not load its model.
    """
    began = said = time.monotonic()
    while listener.status.state != "active":
        _require_running(node)
        if listener.status.failure:
            raise DemoError(_configure_failure(listener.status.failure))
        now = time.monotonic()
        if now - began > LOADING_PATIENCE:
            raise DemoError(f"The node was not active after {LOADING_PATIENCE:.0f} s; see the log.")
        if now - said > _SECONDS_BETWEEN_LINES:
            said = now
            say(f"the node is loading its model ({now - began:.0f} s)")
        time.sleep(_POLL)


def wait_for_first_command(node: DemoProcess, commander: DemoProcess) -> None:
    """Return once the commander has published.

    Raises:
        DemoError: a process ended before.
    """
    while not commander.publications:
        _require_running(node)
        if commander.has_finished():
            return
        time.sleep(_POLL)


def follow_stream(
    material: Material,
    node: DemoProcess,
    commander: DemoProcess,
    camera: DemoProcess,
    listener: Listener,
) -> None:
    """Show the progress until the last image is answered, or none has been for a minute.

    Raises:
        DemoError: a process ended too early, or badly.
    """
    expected = max(1, round(material.seconds * material.frame_rate))
    interval = _POLL if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
    last_change = time.monotonic()
    with tqdm(
        total=expected,
        desc="demo: frames answered",
        unit="frame",
        file=sys.stderr,
        mininterval=interval,
    ) as bar:
        while True:
            _require_running(node)
            commander.has_finished()
            played = camera.has_finished()
            answered = listener.answer_count
            if answered > bar.n:
                last_change = time.monotonic()
                text = material.commands[len(commander.publications) - 1].text
                bar.set_postfix_str(f'"{text}"', refresh=False)
                bar.update(answered - bar.n)
            frames = camera.publications
            if played and (not frames or frames[-1].stamp in listener.answers):
                return
            if not frames:
                last_change = time.monotonic()
            elif time.monotonic() - last_change > ANSWER_PATIENCE:
                return
            time.sleep(_POLL)


def _require_running(node: DemoProcess) -> None:
    if node.has_finished():
        raise DemoError("The node ended although nobody asked it to; see the log.")


def _configure_failure(message: str) -> str:
    """The node's message without its advice, which is for those who started it by hand."""
    reason = message.removeprefix("Cannot configure: ").partition(" Set the parameters right")[0]
    return f"The node could not load its model: {reason}"
