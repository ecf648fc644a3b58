# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m referdino_core.evaluation.export_table`: differences of exports to the network."""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

from referdino_core.argument_types import positive_integer
from referdino_core.building import load_model
from referdino_core.evaluation.export_agreement import CLIPS, world_agreement
from referdino_core.evaluation.export_parity import check_export, open_for_check
from referdino_core.export.exported_set import VARIANTS
from referdino_core.export.exporting import export
from referdino_core.precision import PRECISIONS
from referdino_core.world import WorldSettings

TOKENS = 16
MOTION_KINDS = ("motion", "direction")


def main() -> None:
    """Parse the command line, export, compare, print a Markdown table."""
    parser = argparse.ArgumentParser(
        prog="python -m referdino_core.evaluation.export_table", description=__doc__
    )
    parser.add_argument(
        "--clips", type=positive_integer, default=len(CLIPS), help="clips of the test split"
    )
    clips = range(parser.parse_args().clips)
    logging.getLogger("referdino").setLevel(logging.ERROR)
    model = load_model("nano", "cpu")
    settings = WorldSettings()
    size = (settings.height, settings.width)
    print(
        "| precision | deformable attention | largest mask error | same queries kept "
        "| mask IoU, mean (worst) | box error in px, mean (worst) | apart "
        "| mask IoU and box error where it is about motion |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for precision in PRECISIONS:
        # In low precision the variants differ by less than a rounding error; one stands for all.
        for variant in VARIANTS if precision == "fp32" else VARIANTS[:1]:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "export"
                exported = export(model, path, size, TOKENS, precision, variant)
                report = check_export(exported, model)
                with open_for_check(model, exported) as backend:
                    found = world_agreement(model, backend, clips)
                    moving = world_agreement(model, backend, clips, MOTION_KINDS)
            masks = next(entry for entry in report.outputs if entry.output == "masks")
            print(
                f"| {precision} | {variant} | {masks.largest:.1e} | {report.kept:.1%} "
                f"| {found.overlap:.4f} ({found.least:.3f}) "
                f"| {found.box_error:.3f} ({found.largest:.2f}) "
                f"| {found.apart} of {found.predictions + found.apart} "
                f"| {moving.overlap:.4f}, {moving.box_error:.3f} px |",
                flush=True,
            )


if __name__ == "__main__":
    main()
