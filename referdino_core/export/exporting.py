# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Exports the network's tensor stages as ONNX files, for one image size and precision."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from referdino_core.download.checksums import compute
from referdino_core.errors import ExportError, one_line
from referdino_core.export.exported_set import (
    DESCRIPTION,
    VARIANTS,
    ExportedSet,
)
from referdino_core.export.stage_io import COMMANDS, FRAMES, STAGES, StageSpec
from referdino_core.files import package_version
from referdino_core.network.image_geometry import Shape
from referdino_core.network.referdino import ReferDINO
from referdino_core.precision import PRECISIONS
from referdino_core.progress import ProgressMonitor
from referdino_core.user_files import user_path

if TYPE_CHECKING:
    from onnx import ModelProto

SMALLEST_SIDE = 32
MAX_TOKENS = 256
LARGEST_FILE = 2_000_000_000
"""Bytes; larger graphs are written with external weights, as ONNX requires."""

logger = logging.getLogger("referdino.export")


def export(
    model: ReferDINO,
    folder: Path,
    size: Shape,
    tokens: int = 32,
    precision: str = "fp32",
    deformable_attention: str = "gather",
    window: int = 8,
    monitor: ProgressMonitor | None = None,
) -> ExportedSet:
    """Export a model into a folder, which appears only when it is complete.

    The same weights give the same bytes. The model may be on any device, and is not changed.

    Args:
        model: with its weights.
        folder: to write; an earlier exported network there is replaced.
        size: (height, width) of the images in pixels.
        tokens: length that texts are padded to.
        precision: "fp32", "bf16" or "fp16", written into the graphs.
        deformable_attention: lowering variant, "plugin", "gather" or "grid_sample".
        window: most frames that are read out together.
        monitor: for progress, in phases by the stages' names, and cancellation.

    Raises:
        ExportError: an argument is out of range, a package is missing, the folder holds something
            else, or cannot be written.
        Cancelled: exporting was cancelled.
    """
    _check_arguments(size, tokens, precision, deformable_attention, window)
    require("onnx")
    folder, monitor = user_path(folder).absolute(), monitor or ProgressMonitor()
    temporary = _temporary_folder(folder)
    try:
        files = _write_stages(
            model, temporary, size, tokens, precision, deformable_attention, monitor
        )
        exported = ExportedSet(
            folder=folder,
            model=model.configuration.name,
            checkpoint=checkpoint_sum(model),
            precision=precision,
            deformable_attention=deformable_attention,
            height=size[0],
            width=size[1],
            tokens=tokens,
            window=window,
            files={name: folder / path.name for name, path in files.items()},
            checksums={name: compute(path) for name, path in files.items()},
            release=release(),
        )
        exported.write_description(temporary)
        _move(temporary, folder)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return exported


def checkpoint_sum(model: ReferDINO) -> str:
    """SHA-256 sum of a model's settings and of all weights that are exported."""
    digest = hashlib.sha256(repr(model.configuration).encode())
    for name, weight in model.named_parameters():
        if not name.startswith("text_encoder."):
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            array = weight.detach().cpu().contiguous().flatten()
            digest.update(array.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _write_stages(
    model: ReferDINO,
    folder: Path,
    size: Shape,
    tokens: int,
    precision: str,
    variant: str,
    monitor: ProgressMonitor,
) -> dict[str, Path]:
    """Record, write and check every stage; returns the files by stage."""
    from referdino_core.export.lowering import lower
    from referdino_core.export.recording import exportable_stages, module_of

    low_precision = PRECISIONS[precision].dtype
    monitor.report(0.0, phase="network")
    stages = exportable_stages(model, size, low_precision)
    files = {}
    for index, (name, stage) in enumerate(STAGES.items()):
        monitor.check("Exporting the network")
        monitor.report(index / len(STAGES), phase=name)
        module = module_of(stages, stage)
        graph = record_dynamic(model, module, stage, size, tokens, low_precision)
        path = folder / f"{name}.onnx"
        write_graph(lower(graph, variant), path, check=precision != "bf16")
        files[name] = path
    monitor.report(1.0, phase="done")
    return files


def record_dynamic(
    model: ReferDINO,
    module: nn.Module,
    stage: StageSpec,
    size: Shape,
    tokens: int,
    low_precision: torch.dtype,
) -> ModelProto:
    """A stage's graph with its dynamic axes, deformable attention as one node."""
    from referdino_core.export.dynamic_axes import with_dynamic_axes
    from referdino_core.export.recording import axis_sizes, example_inputs, record

    static = axis_sizes(model.configuration, size, tokens)

    def recorded(dynamic: Mapping[str, int]) -> ModelProto:
        return record(module, stage, example_inputs(stage, {**static, **dynamic}, low_precision))

    axes = stage.dynamic_axes
    if not axes:
        return recorded({})
    sizes = ({COMMANDS: 2, FRAMES: 3}, {COMMANDS: 3, FRAMES: 4})
    one, other = ({axis: counts[axis] for axis in axes} for counts in sizes)
    return with_dynamic_axes(recorded(sizes[0]), recorded(sizes[1]), (one, other), axes)


def write_graph(graph: ModelProto, path: Path, check: bool) -> None:
    """Write a graph, always as the same bytes.

    Args:
        check: by ONNX's own rules; opset 17 does not know bfloat16 in all of its operators.
    """
    import onnx

    graph.producer_name = "referdino"
    if sum(len(tensor.raw_data) for tensor in graph.graph.initializer) > LARGEST_FILE:
        onnx.save_model(graph, path, save_as_external_data=True, location=f"{path.name}.data")
    else:
        path.write_bytes(graph.SerializeToString(deterministic=True))
    if check:
        onnx.checker.check_model(path, full_check=True)


def _check_arguments(
    size: Shape, tokens: int, precision: str, deformable_attention: str, window: int
) -> None:
    if min(size) < SMALLEST_SIDE:
        raise ExportError(
            f"The image size is {size[0]}x{size[1]}; each side must be at least {SMALLEST_SIDE}."
        )
    if not 1 <= tokens <= MAX_TOKENS:
        raise ExportError(f"The number of tokens is {tokens}; it must be in 1..{MAX_TOKENS}.")
    if precision not in PRECISIONS:
        raise ExportError(f"There is no precision {precision!r}; choose {', '.join(PRECISIONS)}.")
    if deformable_attention not in VARIANTS:
        raise ExportError(
            f"There is no variant {deformable_attention!r} of deformable attention; choose "
            f"{', '.join(VARIANTS)}."
        )
    if window < 1:
        raise ExportError(f"The window is {window}; it must be at least 1 frame.")


def _temporary_folder(folder: Path) -> Path:
    """A temporary folder next to the final one."""
    if not _may_replace(folder):
        raise ExportError(f"{folder} holds something else than an export; choose another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror}.") from error


def _may_replace(folder: Path) -> bool:
    """Whether a folder can be replaced without losing anything."""
    if not folder.exists():
        return True
    return folder.is_dir() and ((folder / DESCRIPTION).is_file() or not any(folder.iterdir()))


def _move(temporary: Path, folder: Path) -> None:
    """Rename a complete folder to its final name, replacing an earlier export."""
    # mkdtemp denies access to other users; exports get the usual permissions of files.
    temporary.chmod(0o755)
    if not folder.exists():
        temporary.rename(folder)
        return
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
        folder.rename(Path(aside) / "before")
        temporary.rename(folder)


def release() -> str:
    """Version of the installed referdino, or "unknown"."""
    return package_version() or "unknown"


def require(*packages: str) -> None:
    """Check that optional packages can be imported.

    Raises:
        ExportError: one is missing or broken; the message says how to install it.
    """
    obstacles = [found for package in packages if (found := obstacle(package)) is not None]
    if obstacles:
        raise ExportError(f"{' and '.join(obstacles)}; install with: pip install onnx onnxruntime")


def obstacle(package: str) -> str | None:
    """Why a package cannot be imported, as a clause of a message; None if it can be."""
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            return f"{package} is not installed"
        return _broken(package, error)
    except Exception as error:  # A broken installation raises whatever its parts raise.
        return _broken(package, error)
    return None


def _broken(package: str, error: Exception) -> str:
    return f"{package} cannot be imported ({one_line(error)})"
