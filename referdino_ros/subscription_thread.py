# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A thread that takes the messages of one subscription.

An executor gathers all that a node has anew for every message it waits for, and hands each callback
to a further thread: about a millisecond per image. A wait set of one subscription does neither.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.subscription import Subscription

LONGEST_WAIT = 1_000_000_000
"""Nanoseconds after which a shutdown of the context is noticed."""


class LeftToItsThread(CallbackGroup):
    """Callbacks that no executor runs."""

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing was begun."""


class SubscriptionThread:
    """Hands messages to a callback as they come, until it is closed or ROS is shut down.

    Args:
        subscription: in a group `LeftToItsThread`; stays the caller's.
        context: of its node.
        on_message: called in the thread; must not block, and must not raise.
    """

    def __init__(
        self, subscription: Subscription, context: Context, on_message: Callable[[Any], None]
    ) -> None:
        self._subscription = subscription
        self._context = context
        self._on_message = on_message
        self._closed = False
        self._wake = GuardCondition(None, None, context=context)
        self._thread = threading.Thread(target=self._run, name="referdino images", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; blocks until no callback runs any more."""
        self._closed = True
        if self._context.ok():
            self._wake.trigger()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._wake.destroy()

    def _run(self) -> None:
        try:
            with self._subscription.handle, self._wake.handle:
                self._take_messages()
        except rclpy_implementation.InvalidHandle:
            return  # destroyed before the thread began
        except rclpy_implementation.RCLError:
            if self._context.ok():
                raise

    def _take_messages(self) -> None:
        subscription = self._subscription
        wait_set = rclpy_implementation.WaitSet(1, 1, 0, 0, 0, 0, self._context.handle)
        while not self._closed and self._context.ok():
            wait_set.clear_entities()
            wait_set.add_subscription(subscription.handle)
            wait_set.add_guard_condition(self._wake.handle)
            wait_set.wait(LONGEST_WAIT)
            if self._closed or not wait_set.get_ready_entities("subscription"):
                continue
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is not None:
                self._on_message(taken[0])
