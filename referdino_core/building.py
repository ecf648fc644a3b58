# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One function that builds every model."""

from __future__ import annotations

from typing import Any

from referdino_core.configuration import network_configuration
from referdino_core.network.referdino import ReferDINO


def build(name: str, **overrides: Any) -> ReferDINO:
    """A model with fresh weights, in evaluation mode.

    Args:
        name: "swint", "swinb" or "nano".
        overrides: settings of `NetworkConfiguration` to replace, e.g. num_queries=32.

    Raises:
        ReferDINOError: a name or value is unknown.
    """
    return ReferDINO(network_configuration(name, **overrides)).eval()
