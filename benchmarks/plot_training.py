# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Plot of the training curves of `nano`.

    python benchmarks/plot_training.py CURVE.jsonl... --out PNG

Needs matplotlib, which is not a dependency of referdino: pip install matplotlib.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    """Draw one panel per curve, with one line per loss."""
    from matplotlib import pyplot

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("curves", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    figure, panels = pyplot.subplots(
        1, len(arguments.curves), figsize=(4 * len(arguments.curves), 3.6), squeeze=False
    )
    for panel, path in zip(panels[0], arguments.curves, strict=True):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for name in rows[-1]:
            if name not in ("step", "seconds", "total"):
                known = [row for row in rows if name in row]
                panel.plot([row["step"] for row in known], [row[name] for row in known], label=name)
        panel.set(title=path.stem, xlabel="step", ylabel="loss", yscale="log")
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
