# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino info`: versions, capabilities, available models and their sizes."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from referdino_core.cli.arguments import DEFAULT_MODEL, add_model_arguments, checkpoint_path
from referdino_core.cli.progress import ExitStatus
from referdino_core.configuration import CONFIGURATIONS, SessionSettings
from referdino_core.download import ASSETS, cache_directory
from referdino_core.errors import ReferDINOError
from referdino_core.files import package_version
from referdino_core.models import weights_file
from referdino_core.peers import PEER_NAMES, STREAMING_PEER_NAMES

_MODULES = ("torch", "numpy", "cv2", "onnx", "onnxruntime", "tensorrt", "rclpy")
_DESCRIPTION = "Shows versions, capabilities, models with their weights, and sizes of the network."
_EPILOG = """examples:
  referdino info
  referdino info --model swinb
  referdino info --model swinb --checkpoint ryt_swinb"""


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `info` to the commands of the program."""
    parser = commands.add_parser(
        "info",
        parents=[common],
        help="show versions, capabilities and models",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print all tables and return the exit status.

    Raises:
        ReferDINOError: the checkpoint does not match the model.
    """
    from referdino_core.building import load_model, load_peer
    from referdino_core.installation import capabilities

    name = arguments.model or DEFAULT_MODEL
    if arguments.checkpoint is not None and name in STREAMING_PEER_NAMES:
        raise ReferDINOError(f"{name} is another published model: leave --checkpoint out.")
    if arguments.checkpoint is not None and name in PEER_NAMES:
        weights = checkpoint_path(arguments.checkpoint)
        load_peer(name, weights, "cpu")
        _print_table("checkpoint", [(str(weights), f"fits {name}")])
    elif arguments.checkpoint is not None:
        weights = checkpoint_path(arguments.checkpoint)
        network = load_model(weights, "cpu", architecture=name, single_frame=arguments.single_frame)
        frames = " (single frames)" if network.configuration.single_frame else ""
        _print_table("checkpoint", [(str(weights), f"fits {name}{frames}")])
    _print_table("versions", _versions())
    _print_table("capabilities", _flat(capabilities()))
    names = (*CONFIGURATIONS, *PEER_NAMES, *STREAMING_PEER_NAMES)
    _print_table("models", [(model, _whereabouts(model)) for model in names])
    if name not in STREAMING_PEER_NAMES:
        _print_table(f"parameters of {name}", _parameter_counts(name))
    _print_table("stream settings", asdict(SessionSettings()).items())
    return ExitStatus.DONE


def _versions() -> list[tuple[str, str]]:
    own_version = package_version() or "not installed, run from source"
    versions = [("referdino", own_version), ("python", platform.python_version())]
    for module in _MODULES:
        try:
            version = getattr(importlib.import_module(module), "__version__", "installed")
        except ImportError:
            version = "not installed"
        versions.append(("opencv" if module == "cv2" else module, version))
    return versions


def _flat(entries: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in entries.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key} ")
        else:
            rows.append((f"{prefix}{key}", _readable(value)))
    return rows


def _readable(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(entry) for entry in value) or "none"
    return "none" if value is None else str(value)


def _whereabouts(model: str) -> str:
    """Location of a model's weights on this machine, or how to get them."""
    from referdino_core.building import DEFAULT_CHECKPOINTS
    from referdino_core.peers.opening import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, GET_SAM3

    if model == "sam3":
        return GET_SAM3
    if model in STREAMING_PEER_NAMES:
        wanted = [DEFAULT_DETECTOR] + [DEFAULT_SEGMENTER] * (model == "grounded-sam2")
        return f"get weights with: referdino download {' '.join(wanted)}"
    bundled = weights_file(model)
    if bundled.exists():
        return f"is bundled: {bundled}"
    assets = [asset for name, asset in ASSETS.items() if name.endswith(f"_{model}")]
    try:
        cache = cache_directory()
    except ReferDINOError as error:
        return str(error)
    paths = [path for asset in assets for path in asset.paths(cache)]
    here = [str(path) for path in paths if os.path.isfile(path)]
    if here:
        return f"downloaded: {', '.join(here)}"
    if model in DEFAULT_CHECKPOINTS:
        return f"get weights with: referdino download {DEFAULT_CHECKPOINTS[model]} bert"
    if model in PEER_NAMES:
        return "no weights can be downloaded; give the released ones with --checkpoint FILE"
    if assets:
        return f"get weights of single frames with: referdino download {assets[0].name} bert"
    return "no weights are published; give your own with --checkpoint FILE"


def _parameter_counts(name: str) -> list[tuple[str, str]]:
    """Number of parameters per stage, of a model built without weights."""
    from torch import nn

    from referdino_core.building import build
    from referdino_core.network.uninitialised_weights import UninitialisedWeights

    with UninitialisedWeights():
        model = build(name)
    stages: dict[str, nn.Module | None]
    if name in PEER_NAMES:
        stages = {child.replace("_", " "): module for child, module in model.named_children()}
    else:
        stages = {
            "text encoder": model.text_encoder,
            "image encoder": model.image_encoder,
            "grounder": model.grounder,
            "object memory": None,
            "readout": model.readout,
        }
    counts = {
        stage: sum(parameter.numel() for parameter in module.parameters()) if module else 0
        for stage, module in stages.items()
    }
    counts["all"] = sum(counts.values())
    widest = len(f"{counts['all']:,}")
    return [(stage, f"{count:>{widest},}") for stage, count in counts.items()]


def _print_table(title: str, rows: Iterable[tuple[str, Any]]) -> None:
    rows = list(rows)
    widest = max(len(key) for key, _ in rows)
    print(title)
    for key, value in rows:
        print(f"  {key:<{widest}}  {value}")
    print()
