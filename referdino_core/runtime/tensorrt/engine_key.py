# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What an engine depends on, and in words what tells two such sets apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    stage: as in the exported set. onnx_sha256: of the network, weights outside of its file
    included. library: name and full version of what builds and runs it. gpu: that it is built for,
    None where any of the compute capability runs it. shapes: sizes and ranges of the axes, by name.
    precision: of the export. plugin: name and version of the plugin, None where the network needs
    none; an engine holds none of the plugin's code, so that another build of the same version will
    do. builder_options: by name.
    """

    stage: str
    onnx_sha256: str
    library: str
    gpu: str | None
    compute_capability: str
    shapes: Mapping[str, Any]
    precision: str
    plugin: str | None
    builder_options: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """A fingerprint of all parts, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.parts(), sort_keys=True).encode()).hexdigest()

    def parts(self) -> dict[str, Any]:
        """The parts by name, as they look after a way through JSON."""
        return json.loads(json.dumps(asdict(self)))


def difference(earlier: Mapping[str, Any], key: EngineKey) -> str:
    """In words, what differs between the key of an engine on disk and the wanted one."""
    wanted = key.parts()
    differing = [
        field.name for field in fields(key) if earlier.get(field.name) != wanted[field.name]
    ]
    reasons = []
    for name in differing:
        was, now = earlier.get(name), wanted[name]
        if name == "library":
            reasons.append(f"built by {was}, this is {now}")
        elif name == "gpu":
            reasons.append(f"for {_gpu(was)}, this is {_gpu(now)}")
        elif name == "compute_capability":
            reasons.append(f"for compute capability {was}, this is {now}")
        elif name == "onnx_sha256":
            reasons.append("the ONNX changed")
        elif name == "plugin":
            reasons.append(f"for {was or 'no plugin'}, this is {now or 'no plugin'}")
        elif name == "shapes":
            reasons.append(f"for the shapes {_text(was)}, wanted are {_text(now)}")
        elif name == "builder_options":
            reasons.append(f"built with {_text(was)}, wanted is {_text(now)}")
        else:
            reasons.append(f"for {name.replace('_', ' ')} {was}, wanted is {now}")
    return "; ".join(reasons)


def _gpu(name: object) -> str:
    return "any GPU" if name is None else f"the GPU {name}"


def _text(values: object) -> str:
    if not isinstance(values, dict):
        return str(values)
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))
