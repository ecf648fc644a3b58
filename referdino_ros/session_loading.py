# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From the node's parameters to a session.

PyTorch is first imported here, in the worker's thread: the node is on the graph and says what it is
doing while that takes its seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from referdino_core import Session, SessionSettings


def load_session(model: str, checkpoint: str, device: str, settings: SessionSettings) -> Session:
    """A session of that model with the weights of `checkpoint`, or its own where that is empty.

    Raises:
        ReferDINOError: the model, the checkpoint or the device is not to be had.
    """
    from referdino_core import Session, build, load_checkpoint

    if not checkpoint:
        return Session(model, settings=settings, device=device)
    network = build(model)
    load_checkpoint(network, checkpoint)
    return Session(network, settings=settings, device=device)
