# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A thread that takes the messages of one or a few subscriptions.

For every message, an executor collects all entities of a node and passes the callback to another
thread: about a millisecond per image. A separate wait set avoids both.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.subscription import Subscription

MessageInfo: TypeAlias = Mapping[str, int]
"""The middleware's information on a message, such as `source_timestamp` in nanoseconds."""

LONGEST_WAIT = 1_000_000_000
"""Nanoseconds after which a shutdown of the context is noticed."""


class ExternallyHandledGroup(CallbackGroup):
    """Callback group of subscriptions whose callbacks no executor runs."""

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing was begun."""


def unused_callback(message: Any) -> None:
    """Placeholder for the callback that rclpy requires of a subscription."""


class SubscriptionThread:
    """Thread that calls callbacks with incoming messages, until it is closed or ROS is shut down.

    Args:
        callbacks: by subscription, which is in an `ExternallyHandledGroup` and is owned by the
            caller. Each is called in the thread with a message and its `MessageInfo`, and must not
            raise; while it blocks, no further message is taken.
        context: of the subscriptions' node.
        name: of the thread.
    """

    def __init__(
        self,
        callbacks: Mapping[Subscription, Callable[[Any, MessageInfo], None]],
        context: Context,
        name: str,
    ) -> None:
        self._callbacks = dict(callbacks)
        self._context = context
        self._closed = False
        self._wake = GuardCondition(None, None, context=context)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; blocks until no callback is running."""
        self._closed = True
        with contextlib.suppress(rclpy_implementation.InvalidHandle, rclpy_implementation.RCLError):
            self._wake.trigger()  # works after a shutdown, too
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._wake.destroy()

    def _run(self) -> None:
        try:
            with contextlib.ExitStack() as handles:
                for subscription in self._callbacks:
                    handles.enter_context(subscription.handle)
                handles.enter_context(self._wake.handle)
                self._take_messages()
        except rclpy_implementation.InvalidHandle:
            return  # destroyed before the thread began
        except rclpy_implementation.RCLError:
            if self._context.ok():
                raise

    def _take_messages(self) -> None:
        count = len(self._callbacks)
        wait_set = rclpy_implementation.WaitSet(count, 1, 0, 0, 0, 0, self._context.handle)
        while not self._closed and self._context.ok():
            wait_set.clear_entities()
            for subscription in self._callbacks:
                wait_set.add_subscription(subscription.handle)
            wait_set.add_guard_condition(self._wake.handle)
            wait_set.wait(LONGEST_WAIT)
            ready = wait_set.get_ready_entities("subscription")
            for subscription, callback in self._callbacks.items():
                if self._closed or subscription.handle.pointer not in ready:
                    continue
                taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                if taken is not None:
                    callback(*taken)
