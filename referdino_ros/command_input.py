# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Commands from topics and services: subscriptions, requests and their checks."""

from __future__ import annotations

import collections
import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from referdino.msg import Command
from referdino.srv import SetCommands
from std_msgs.msg import String

from referdino_core.errors import CommandError, ReferDINOError, one_line
from referdino_core.session.command_request import CommandRequest, single_command
from referdino_ros.camera_topics import CameraTopics
from referdino_ros.error_log import ErrorLog
from referdino_ros.model_worker import ModelWorker, WorkerStopped
from referdino_ros.subscription_thread import (
    ExternallyHandledGroup,
    MessageInfo,
    SubscriptionThread,
    unused_callback,
)

if TYPE_CHECKING:
    from referdino.srv import SetCommands

    from referdino_core.session.peer_cameras import AnyCameraGroup

QUOTED_CHARACTERS = 80
"""Maximum length of a command's text in log lines and errors."""

SELECTIONS: Mapping[int, str | None] = {0: None, 1: "one", 2: "all"}
"""The session's names for the constants of referdino/msg/Command."""
SELECTION_CODES = {name: code for code, name in SELECTIONS.items()}

_REPLACEMENT_CHARACTER = "\ufffd"


def quoted(text: str) -> str:
    """The text in quotes, shortened for a log line."""
    short = text if len(text) <= QUOTED_CHARACTERS else text[: QUOTED_CHARACTERS - 3] + "..."
    return repr(short)


def received_text(text: str) -> str:
    """The text, checked for its encoding.

    Raises:
        CommandError: it was sent in another encoding than UTF-8; rclpy then inserts U+FFFD.
    """
    if _REPLACEMENT_CHARACTER in text:
        raise CommandError(f"The command {quoted(text)} is not text. Send a sentence in UTF-8.")
    return text


def commands_after(
    running: Mapping[int, Mapping[str, CommandRequest]], request: SetCommands.Request, limit: int
) -> dict[int, dict[str, CommandRequest]]:
    """The commands (by camera, by identifier, in order) after a request.

    The parts of the request apply to every camera, in the order clear, remove, set. A command that
    is set under an active identifier keeps its position.

    Args:
        running: the active commands of the cameras that the request addresses.
        request: clear flag, identifiers to remove, and commands to set.
        limit: maximum number of commands per camera.

    Raises:
        CommandError: an identifier is invalid, not unique or active for no camera, or there would
            be too many commands. Sentences and empty identifiers are checked by the session.
    """
    _check_identifiers({name: None for own in running.values() for name in own}, request)
    new = {
        command.id: CommandRequest(received_text(command.text), _selection(command))
        for command in request.set
    }
    wanted = {}
    for camera, own in running.items():
        stopped = set(own) if request.clear else set(request.remove)
        kept = {name: one for name, one in own.items() if name not in stopped}
        wanted[camera] = kept | new
    largest = max(map(len, wanted.values()), default=0)
    if largest > limit:
        raise CommandError(
            f"{largest} commands would run at once; the parameter max_commands allows {limit}."
        )
    return wanted


def _selection(command: Any) -> str | None:
    """The session's name of a Command message's selection."""
    if command.select not in SELECTIONS:
        raise CommandError(
            f"select of the command {quoted(command.id)} is {command.select}. Give SELECT_DEFAULT "
            "(0), SELECT_ONE (1) or SELECT_ALL (2)."
        )
    return SELECTIONS[command.select]


def _check_identifiers(running: Mapping[str, object], request: SetCommands.Request) -> None:
    for name in request.remove:
        if name not in running:
            raise CommandError(
                f"Cannot remove the command {quoted(name)}: it is not running. "
                f"Running are: {_listed(running)}."
            )
    for name, times in Counter(command.id for command in request.set).items():
        if times > 1:
            raise CommandError(
                f"The identifier {quoted(name)} is given to {times} commands. "
                "Give each one a unique name."
            )
        if not received_text(name).isprintable():
            raise CommandError(
                f"The identifier {quoted(name)} holds control characters. Give each command a name."
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in names) or "none"


_DEPTH = 10
_Commands: TypeAlias = Mapping[int, Mapping[str, CommandRequest]]
"""Commands by camera and identifier."""


@dataclass(frozen=True)
class _Address:
    """The cameras that a command topic addresses.

    Attributes:
        namespace: of the topic and the service.
        cameras: their numbers.
        label: for log lines, such as " of front"; "" for a single camera.
    """

    namespace: str
    cameras: tuple[int, ...]
    label: str = ""


@dataclass(frozen=True)
class _Outcome:
    """Outcome of a change: the problem or "", and the active commands by camera."""

    problem: str
    commands: _Commands


class _ReceivedCommands:
    """Log of received commands, to detect duplicates from two subscriptions, and old commands."""

    def __init__(self) -> None:
        self._taken: collections.deque[tuple[str, str, int]] = collections.deque(maxlen=4 * _DEPTH)
        self._newest: dict[int, int] = {}

    def without_newer(self, cameras: Sequence[int], stamp: int) -> tuple[int, ...]:
        """The cameras that received no command after `stamp`, in nanoseconds."""
        return tuple(camera for camera in cameras if stamp > self._newest.get(camera, -1))

    def is_new(self, address: _Address, text: str, stamp: int) -> bool:
        """Whether this command is received for the first time; it is then logged."""
        if (address.namespace, text, stamp) in self._taken:
            return False
        self._taken.append((address.namespace, text, stamp))
        for camera in address.cameras:
            self._newest[camera] = max(stamp, self._newest.get(camera, -1))
        return True


class CommandInput:
    """Command topics and services of the node.

    `~/command` and `~/set_commands` address all cameras, `~/NAME/command` and
    `~/NAME/set_commands` one. A transient-local publisher also reaches a node that starts later.

    Args:
        node: the node that subscribes and serves.
        worker: owner of the sessions; changes run in its thread, between two images.
        cameras: of the node.
        callback_group: of the services; a callback waits there until its change was applied, so
            that changes stay in order and do not pile up.
        limit: returns the maximum number of commands per camera; called at every change.
        on_change: called in the worker's thread after every change.
        errors: log of refused commands.
    """

    def __init__(
        self,
        node: Node,
        worker: ModelWorker[AnyCameraGroup, Any],
        cameras: Sequence[CameraTopics],
        callback_group: CallbackGroup,
        limit: Callable[[], int],
        on_change: Callable[[AnyCameraGroup], None],
        errors: ErrorLog,
    ) -> None:
        self._node = node
        self._worker = worker
        self._limit = limit
        self._on_change = on_change
        self._errors = errors
        self._received = _ReceivedCommands()
        with contextlib.ExitStack() as made:
            callbacks: dict[Subscription, Callable[[Any, MessageInfo], None]] = {}
            for address in _addresses(cameras):
                callbacks |= self._subscribe(address, made)
                service = node.create_service(
                    SetCommands,
                    f"{address.namespace}/set_commands",
                    functools.partial(self._set, address),
                    callback_group=callback_group,
                )
                made.callback(node.destroy_service, service)
            thread = SubscriptionThread(callbacks, node.context, "referdino commands")
            made.callback(thread.close)
            self._made = made.pop_all()

    def close(self) -> None:
        """Remove the subscriptions and services."""
        self._made.close()

    def _subscribe(
        self, address: _Address, made: contextlib.ExitStack
    ) -> dict[Subscription, Callable[[Any, MessageInfo], None]]:
        """The subscriptions to a topic, with their callbacks.

        Only a transient-local subscription receives earlier messages, but it receives nothing from
        volatile publishers: both kinds are needed.
        """
        callbacks: dict[Subscription, Callable[[Any, MessageInfo], None]] = {}
        for durability, callback in (
            (DurabilityPolicy.TRANSIENT_LOCAL, self._take_stored),
            (DurabilityPolicy.VOLATILE, self._replace),
        ):
            subscription = self._node.create_subscription(
                String,
                f"{address.namespace}/command",
                unused_callback,
                QoSProfile(depth=_DEPTH, durability=durability),
                callback_group=ExternallyHandledGroup(),
            )
            made.callback(self._node.destroy_subscription, subscription)
            callbacks[subscription] = functools.partial(callback, address)
        return callbacks

    def _take_stored(self, address: _Address, message: String, info: MessageInfo) -> None:
        cameras = self._received.without_newer(address.cameras, info["source_timestamp"])
        if cameras:
            self._replace(_Address(address.namespace, cameras, address.label), message, info)

    def _replace(self, address: _Address, message: String, info: MessageInfo) -> None:
        if not self._received.is_new(address, message.data, info["source_timestamp"]):
            return

        def wanted(running: _Commands) -> _Commands:
            return dict.fromkeys(running, single_command(received_text(message.data)))

        self._change(address, wanted)

    def _set(
        self, address: _Address, request: SetCommands.Request, response: SetCommands.Response
    ) -> SetCommands.Response:
        outcome = self._change(
            address, lambda running: commands_after(running, request, self._limit())
        )
        response.success = not outcome.problem
        response.message = outcome.problem
        response.commands = [
            Command(id=name, text=one.text, select=SELECTION_CODES[one.select])
            for name, one in _distinct(outcome.commands)
        ]
        return response

    def _change(self, address: _Address, wanted: Callable[[_Commands], _Commands]) -> _Outcome:
        """Change the commands of an address between two images; returns the outcome."""

        def attempt(group: AnyCameraGroup) -> _Outcome:
            def running() -> _Commands:
                return {camera: group.sessions[camera].requests for camera in address.cameras}

            problem = ""
            try:
                group.set_commands(wanted(running()))
            except ReferDINOError as error:
                problem = one_line(error)
            self._on_change(group)
            return _Outcome(problem, running())

        try:
            outcome = self._worker.call(attempt).result()
        except WorkerStopped as error:
            outcome = _Outcome(str(error), {})
        except Exception as error:
            outcome = _Outcome(f"The command could not be applied: {one_line(error)}", {})
        if outcome.problem:
            self._errors.report("command", outcome.problem)
        else:
            running = ", ".join(quoted(one.text) for _, one in _distinct(outcome.commands))
            self._node.get_logger().info(f"Commands{address.label}: {running or 'none'}.")
        return outcome


def _addresses(cameras: Sequence[CameraTopics]) -> list[_Address]:
    """All cameras together, and each named camera."""
    everyone = tuple(range(len(cameras)))
    named = [
        _Address(camera.namespace, (number,), f" of {camera.name}")
        for number, camera in enumerate(cameras)
        if camera.name
    ]
    return [_Address("~", everyone, " of all cameras" if named else ""), *named]


def _distinct(commands: _Commands) -> list[tuple[str, CommandRequest]]:
    """The distinct commands of several cameras, with their identifiers."""
    return list(dict.fromkeys(one for own in commands.values() for one in own.items()))
