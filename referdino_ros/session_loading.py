# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From the node's parameters to a session."""

from __future__ import annotations

from referdino_core import Session, SessionSettings, build, load_checkpoint


def load_session(model: str, checkpoint: str, device: str, settings: SessionSettings) -> Session:
    """A session of that model with the weights of `checkpoint`, or its own where that is empty.

    Raises:
        ReferDINOError: the model, the checkpoint or the device is not to be had.
    """
    if not checkpoint:
        return Session(model, settings=settings, device=device)
    network = build(model)
    load_checkpoint(network, checkpoint)
    return Session(network, settings=settings, device=device)
