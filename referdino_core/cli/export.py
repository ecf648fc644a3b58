# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino export`: export of the network to ONNX, checked and linted."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.argument_types import positive_integer
from referdino_core.cli.arguments import DEFAULT_MODEL, add_model_arguments, checkpoint_path
from referdino_core.cli.progress import ExitStatus, progress_bar
from referdino_core.errors import ReferDINOError
from referdino_core.export.exported_set import VARIANTS, ExportedSet
from referdino_core.precision import PRECISIONS
from referdino_core.progress import Progress, ProgressMonitor

if TYPE_CHECKING:
    from referdino_core.network.referdino import ReferDINO

_DESCRIPTION = """Writes the network as three ONNX files (image encoder, grounder, readout) and a
description, for images of one size. The files are then run with ONNX Runtime and compared with
PyTorch, and checked for what TensorRT does not support."""

_EPILOG = """examples:
  referdino export --size 120x160 --out nano_onnx
  referdino export --model swint --checkpoint weights.pth --size 360x640 --tokens 32 --out swint
  referdino export --model swinb --size 360x640 --precision fp16 \\
                   --deformable-attention plugin --out swinb
  referdino build-engine swinb

variants of deformable attention:
  plugin       one node, for TensorRT with referdino's plugin
  gather       ONNX's own operators, for TensorRT without it and for other runtimes
  grid_sample  GridSample, the fastest for ONNX Runtime on a CPU; not for TensorRT"""

_PERCENT = 100.0

_logger = logging.getLogger("referdino.export")


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `export` to the commands of the program."""
    parser = commands.add_parser(
        "export",
        parents=[common],
        help="write the network as ONNX files",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="export the architecture with random weights, e.g. to measure its speed",
    )
    parser.add_argument(
        "--size",
        type=_size,
        required=True,
        metavar="HxW",
        help="height and width of the images in pixels, after scaling; e.g. 360x640",
    )
    parser.add_argument(
        "--tokens",
        type=positive_integer,
        default=32,
        metavar="L",
        help="length that texts are padded to: 16, 32 or 64 (default: 32)",
    )
    parser.add_argument(
        "--precision", choices=tuple(PRECISIONS), default="fp32", help="(default: fp32)"
    )
    parser.add_argument(
        "--deformable-attention", choices=VARIANTS, default="gather", help="(default: gather)"
    )
    parser.add_argument(
        "--window",
        type=positive_integer,
        default=8,
        metavar="T",
        help="maximum number of frames in the readout's window (default: 8)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    parser.add_argument(
        "--no-check", action="store_true", help="skip the comparison and the check for TensorRT"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export, check, print the findings and the paths of the files; return the exit status.

    Raises:
        ReferDINOError: weights or a package are missing, or the folder cannot be written.
    """
    from referdino_core.export.exporting import export

    model = _model(arguments)
    with progress_bar(
        total=_PERCENT, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}", leave=False
    ) as bar:

        def show(progress: Progress) -> None:
            bar.set_description_str(progress.phase, refresh=False)
            bar.update(_PERCENT * progress.fraction - bar.n)

        exported = export(
            model,
            arguments.out,
            arguments.size,
            arguments.tokens,
            arguments.precision,
            arguments.deformable_attention,
            arguments.window,
            ProgressMonitor(show),
        )
    good = arguments.no_check or (_compare(model, exported) & _examine(exported))
    for path in exported.files.values():
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    return ExitStatus.DONE if good else ExitStatus.ERROR


def _compare(model: ReferDINO, exported: ExportedSet) -> bool:
    """Print the differences between export and network; returns whether they are small enough."""
    from referdino_core.evaluation.export_parity import check_export

    _logger.info("Comparing with the network.")
    report = check_export(exported, model)
    print(f"{report.table()}\n")
    if not report.passed:
        _logger.error("The outputs of the export differ from the network's: see the table.")
        return False
    if exported.precision == "fp32" or model.configuration.tokenizer != "words":
        return True
    return _compare_predictions(model, exported)


def _compare_predictions(model: ReferDINO, exported: ExportedSet) -> bool:
    """Print how well predictions agree on clips of the world, for models trained on them."""
    from referdino_core.evaluation.export_agreement import world_agreement
    from referdino_core.evaluation.export_parity import open_for_check
    from referdino_core.world import WorldSettings, WorldUnavailable

    settings = WorldSettings()
    if (exported.height, exported.width) != (settings.height, settings.width):
        return True
    _logger.info("Comparing predictions on clips of the world.")
    try:
        with open_for_check(model, exported) as stages:
            agreement = world_agreement(model, stages)
    except WorldUnavailable as error:
        _logger.warning("Predictions were not compared: %s", error)
        return True
    print(f"Clips of the world: {agreement}.\n")
    if not agreement.passed:
        _logger.error("The export's predictions differ too much from the network's.")
    return agreement.passed


def _examine(exported: ExportedSet) -> bool:
    """Print what TensorRT would not support of an export that is intended for it."""
    import onnx

    from referdino_core.export.lint import RELEASES, lint

    if exported.deformable_attention == "grid_sample":
        return True
    findings = {
        f"TensorRT {release}: {name}: {finding}"
        for name, path in exported.files.items()
        for release in RELEASES
        for finding in lint(onnx.load(path), release)
    }
    for finding in sorted(findings):
        _logger.error(finding)
    if not findings:
        print(f"Everything is supported by TensorRT {' and '.join(map(str, RELEASES))}.\n")
    return not findings


def _model(arguments: argparse.Namespace) -> ReferDINO:
    """The model to export, on the CPU."""
    import torch

    from referdino_core.building import build, load_model

    name = arguments.model or DEFAULT_MODEL
    if arguments.random_weights and arguments.checkpoint:
        raise ReferDINOError("Give --checkpoint or --random-weights, not both.")
    if arguments.random_weights:
        torch.manual_seed(0)
        return build(name, temporal_layers=0) if arguments.single_frame else build(name)
    if arguments.checkpoint is None:
        return load_model(name, "cpu", single_frame=arguments.single_frame)
    return load_model(
        checkpoint_path(arguments.checkpoint),
        "cpu",
        architecture=arguments.model,
        single_frame=arguments.single_frame,
    )


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a height and a width, as 360x640")
    return int(found[1]), int(found[2])
