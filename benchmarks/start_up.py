# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Start-up time of the node, until the model is loaded and until it is subscribed.

    python benchmarks/start_up.py --runs 5

The time to import PyTorch alone is measured for comparison.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time

from referdino_ros.process import join_private_graph

STEPS = {"model": "The model is ready", "active": "Active:"}


def seconds_until(arguments: list[str], marks: dict[str, str]) -> dict[str, float]:
    """Start a node; returns the seconds until each mark appears in its log."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "referdino_ros.referdino_node", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    found: dict[str, float] = {}
    for line in process.stdout:
        for name, mark in marks.items():
            if mark in line:
                found[name] = time.perf_counter() - began
        if len(found) == len(marks):
            break
    process.send_signal(signal.SIGINT)
    process.communicate()
    if len(found) < len(marks):
        raise SystemExit("The node did not start; start it by hand to see why.")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    join_private_graph()
    pytorch, nodes = [], []
    for _ in range(options.runs):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        pytorch.append(time.perf_counter() - began)
        nodes.append(seconds_until([], STEPS))
    print(f"import torch alone: {statistics.median(pytorch):.2f} s")
    for name, mark in STEPS.items():
        values = [one[name] for one in nodes]
        print(f"{mark!r} after {statistics.median(values):.2f} s ({min(values):.2f} at best)")


if __name__ == "__main__":
    main()
