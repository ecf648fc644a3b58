# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Generator of config/referdino.yaml and docs/parameters.md from the declared parameters.

python -m referdino_ros.parameter_file
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

from referdino_ros.parameter_declarations import SECTIONS, Change, Declaration

REPOSITORY = Path(__file__).resolve().parent.parent
WIDTH = 100
UNBROKEN = "\0"
"""Placeholder of a non-breaking space."""
CHANGES = {Change.ANY_TIME: "any time", Change.UNCONFIGURED: "unconfigured", Change.NEVER: "start"}

HEAD = """\
# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
#
# Every parameter of the node, with its default. Copy this file, change what you need, and give it
# to the launch file (params_file:=...) or to the node (--ros-args --params-file ...).
#
# [any time]      may change while the node runs: ros2 param set /referdino accept 0.6
# [unconfigured]  is read when the node is configured: set it before, or after a clean-up
# [start]         is read once, when the node starts
#
# The QoS of results can be overridden as usual in ROS: history, depth, reliability and durability
# of each topic, such as `qos_overrides./referdino/objects.publisher.reliability: best_effort`.
# [start]
#
# Written by `python -m referdino_ros.parameter_file` from the declarations; do not edit.

/**:
  ros__parameters:
"""

TABLE_HEAD = """\
# Parameters

Every parameter of the node, as `config/referdino.yaml` sets it. Each is also an argument of the
launch file. *Any time*: it may change while the node runs (`ros2 param set /referdino accept 0.6`);
*unconfigured*: it is read when the node is configured; *start*: once, when the node starts. This
page is written by `python -m referdino_ros.parameter_file`.
"""


def parameter_file() -> str:
    """The content of config/referdino.yaml."""
    parts = [HEAD]
    for heading, declarations in SECTIONS.items():
        rule = "-" * (WIDTH - len(f"    # ---- {heading} "))
        parts.append(f"\n    # ---- {heading} {rule}\n")
        for declaration in declarations:
            when = CHANGES[declaration.change].replace(" ", UNBROKEN)
            comment = f"{meaning(declaration)} [{when}]"
            lines = textwrap.wrap(comment, WIDTH - 6, break_on_hyphens=False)
            parts += ["\n", *(f"    # {line}\n".replace(UNBROKEN, " ") for line in lines)]
            parts.append(f"    {declaration.name}: {written(declaration)}\n")
    return "".join(parts)


def parameter_table() -> str:
    """The content of docs/parameters.md."""
    parts = [TABLE_HEAD]
    for heading, declarations in SECTIONS.items():
        parts.append(
            f"\n## {heading}\n\n| name | default | meaning | changes |\n|---|---|---|---|\n"
        )
        for one in declarations:
            cells = (f"`{one.name}`", f"`{written(one)}`", meaning(one), CHANGES[one.change])
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def meaning(declaration: Declaration) -> str:
    """The description with the allowed values."""
    sentences = [declaration.description]
    if declaration.choices:
        sentences.append(f"One of {', '.join(declaration.choices)}.")
    if declaration.range:
        low, high = (f"{bound:g}" for bound in declaration.range)
        sentences.append(f"Range: {low} to {f'{high} {declaration.unit}'.strip()}.")
    return " ".join(sentences)


def written(declaration: Declaration) -> str:
    """The default in YAML."""
    default = declaration.default
    if isinstance(default, str):
        return default or '""'
    return json.dumps(default)


def main() -> int:
    """Write both files; returns the exit status."""
    for path, content in (
        ("config/referdino.yaml", parameter_file()),
        ("docs/parameters.md", parameter_table()),
    ):
        (REPOSITORY / path).write_text(content, encoding="utf-8")
        print(f"{path} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
