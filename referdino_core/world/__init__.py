# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A MuJoCo world of simple objects, with every sentence that is true of exactly one of them.

MuJoCo is optional: it is imported when a `WorldRenderer` is made.
"""

from referdino_core.world.clip import KINDS, SPLITS, Clip, Expression, SceneObject
from referdino_core.world.grammar import VOCABULARY
from referdino_core.world.renderer import WorldRenderer, WorldUnavailable
from referdino_core.world.settings import WorldSettings

__all__ = [
    "KINDS",
    "SPLITS",
    "VOCABULARY",
    "Clip",
    "Expression",
    "SceneObject",
    "WorldRenderer",
    "WorldSettings",
    "WorldUnavailable",
]
