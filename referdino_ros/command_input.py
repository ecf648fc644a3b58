# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The topic and the service that change the running commands."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from referdino.msg import Command
from referdino.srv import SetCommands
from std_msgs.msg import String

from referdino_core.errors import ReferDINOError
from referdino_core.session.command_request import CommandRequest
from referdino_ros.commands import SELECTION_CODES, commands_after, received_text, shown
from referdino_ros.error_log import ErrorLog, one_line
from referdino_ros.model_worker import ModelWorker, WorkerStopped
from referdino_ros.subscription_thread import (
    LeftToItsThread,
    MessageInfo,
    SubscriptionThread,
    called_by_nobody,
)

if TYPE_CHECKING:
    from referdino_core import Session

_DEPTH = 10


@dataclass(frozen=True)
class _Outcome:
    """What is wrong, or an empty text; and the commands that run now, by identifier."""

    problem: str = ""
    commands: Mapping[str, CommandRequest] = field(default_factory=dict)


class _NewestCommands:
    """Tells apart the copies of commands that come by two subscriptions."""

    def __init__(self) -> None:
        self._taken: collections.deque[tuple[str, int]] = collections.deque(maxlen=2 * _DEPTH)

    def is_newest(self, stamp: int) -> bool:
        """Whether a command, published at `stamp` in nanoseconds, is younger than all before it."""
        return all(stamp > taken for _, taken in self._taken)

    def is_new(self, text: str, stamp: int) -> bool:
        """Whether this command comes for the first time; it counts as taken then."""
        if (text, stamp) in self._taken:
            return False
        self._taken.append((text, stamp))
        return True


class CommandInput:
    """Takes `~/command` and `~/set_commands` while it exists.

    A publisher of `~/command` that is transient-local also reaches a node that starts later.

    Args:
        node: that subscribes and serves.
        worker: owns the session; changes run there, between two images.
        callback_group: of the service; a callback waits there until its change was made, so that
            they stay in order and do not pile up.
        limit: commands that may run at once, asked at every change.
        on_change: called in the worker's thread after every change.
        errors: told of every command that is refused.
    """

    def __init__(
        self,
        node: Node,
        worker: ModelWorker[Session, Any],
        callback_group: CallbackGroup,
        limit: Callable[[], int],
        on_change: Callable[[Session], None],
        errors: ErrorLog,
    ) -> None:
        self._node = node
        self._worker = worker
        self._limit = limit
        self._on_change = on_change
        self._errors = errors
        self._newest = _NewestCommands()
        with contextlib.ExitStack() as made:
            # A transient-local subscription is the only one that is sent what was published before
            # it, and receives nothing from volatile publishers: there has to be one of each.
            callbacks = {}
            for durability, callback in (
                (DurabilityPolicy.TRANSIENT_LOCAL, self._take_stored),
                (DurabilityPolicy.VOLATILE, self._replace),
            ):
                subscription = node.create_subscription(
                    String,
                    "~/command",
                    called_by_nobody,
                    QoSProfile(depth=_DEPTH, durability=durability),
                    callback_group=LeftToItsThread(),
                )
                made.callback(node.destroy_subscription, subscription)
                callbacks[subscription] = callback
            service = node.create_service(
                SetCommands, "~/set_commands", self._set, callback_group=callback_group
            )
            made.callback(node.destroy_service, service)
            thread = SubscriptionThread(callbacks, node.context, "referdino commands")
            made.callback(thread.close)
            self._made = made.pop_all()

    def close(self) -> None:
        """Take no more commands."""
        self._made.close()

    def _take_stored(self, message: String, info: MessageInfo) -> None:
        if self._newest.is_newest(info["source_timestamp"]):
            self._replace(message, info)

    def _replace(self, message: String, info: MessageInfo) -> None:
        if self._newest.is_new(message.data, info["source_timestamp"]):
            self._change(lambda session: session.command(received_text(message.data)))

    def _set(
        self, request: SetCommands.Request, response: SetCommands.Response
    ) -> SetCommands.Response:
        def change(session: Session) -> None:
            session.commands = commands_after(session.requests, request, self._limit())

        outcome = self._change(change)
        response.success = not outcome.problem
        response.message = outcome.problem
        response.commands = [
            Command(id=name, text=one.text, select=SELECTION_CODES[one.select])
            for name, one in outcome.commands.items()
        ]
        return response

    def _change(self, change: Callable[[Session], None]) -> _Outcome:
        """Change the session's commands between two images, and say what came of it."""

        def attempt(session: Session) -> _Outcome:
            problem = ""
            try:
                change(session)
            except ReferDINOError as error:
                problem = one_line(error)
            self._on_change(session)
            return _Outcome(problem, session.requests)

        try:
            outcome = self._worker.call(attempt).result()
        except WorkerStopped as error:
            outcome = _Outcome(str(error))
        except Exception as error:
            outcome = _Outcome(f"The command could not be taken: {one_line(error)}")
        if outcome.problem:
            self._errors.report("command", outcome.problem)
        else:
            running = ", ".join(shown(one.text) for one in outcome.commands.values())
            self._node.get_logger().info(f"Commands: {running or 'none'}.")
        return outcome
