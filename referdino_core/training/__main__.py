# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m referdino_core.training`: train the small model; a second call resumes."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from referdino_core.building import usable_device
from referdino_core.errors import ReferDINOError
from referdino_core.training.recipe import Recipe, average, train


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m referdino_core.training", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/nano"), help="folder of clips, states and curves"
    )
    parser.add_argument("--start", type=Path, help="weights to start from; random ones by default")
    parser.add_argument(
        "--average",
        type=Path,
        nargs="+",
        metavar="WEIGHTS",
        help="instead of training: the mean of these weights, calibrated anew",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not hasattr(torch.optim, "Muon"):
        parser.error(f"training needs PyTorch 2.9 or later for Muon; this is {torch.__version__}")
    try:
        device = usable_device(arguments.device)
        if arguments.average:
            average(arguments.out, Recipe(), arguments.average, device=device)
        else:
            train(arguments.out, Recipe(), arguments.start, device=device)
    except ReferDINOError as error:
        parser.exit(1, f"training: error: {error}\n")


if __name__ == "__main__":
    main()
