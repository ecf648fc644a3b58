# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the network's tensor stages as three ONNX files, at one image size, in one precision."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from referdino_core.download.checksums import compute
from referdino_core.errors import ExportError
from referdino_core.export.exported_set import (
    DESCRIPTION,
    FORMS,
    PRECISIONS,
    STAGE_NAMES,
    ExportedSet,
)
from referdino_core.export.requirements import require
from referdino_core.network.image_geometry import Shape
from referdino_core.network.referdino import ReferDINO
from referdino_core.user_files import user_path

if TYPE_CHECKING:
    from onnx import ModelProto

SMALLEST_SIDE = 32
MAX_TOKENS = 256
LARGEST_FILE = 2_000_000_000
"""Bytes; weights of larger graphs are written beside them, as ONNX asks for."""

OnProgress = Callable[[float, str], None]

logger = logging.getLogger("referdino.export")


def export(
    model: ReferDINO,
    folder: Path,
    size: Shape,
    tokens: int = 32,
    precision: str = "fp32",
    deformable_attention: str = "gather",
    window: int = 8,
    progress: OnProgress | None = None,
) -> ExportedSet:
    """Export a model; the folder appears when it is complete.

    The same weights give the same bytes. The model may be on any device and stays as it is.

    Args:
        model: with its weights.
        folder: is made, or replaced where it holds an exported network.
        size: (height, width) of the images in pixels.
        tokens: length that texts are padded to.
        precision: "fp32", "fp16" or "bf16", written into the graphs.
        deformable_attention: "plugin", "gather" or "grid_sample".
        window: most frames that are read out together.
        progress: is told how much is done (0 to 1) and of what.

    Raises:
        ExportError: an argument is out of range, a package is missing, the folder holds something
            else, or cannot be written.
    """
    _check_arguments(size, tokens, precision, deformable_attention, window)
    require("onnx")
    folder = user_path(folder).absolute()
    growing = _growing_folder(folder)
    try:
        files = _write_stages(
            model, growing, size, tokens, precision, deformable_attention, progress or _nothing
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
        text = json.dumps(exported.description(), indent=2) + "\n"
        (growing / DESCRIPTION).write_text(text, encoding="utf-8")
        _move(growing, folder)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(growing, ignore_errors=True)
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
    form: str,
    progress: OnProgress,
) -> dict[str, Path]:
    """Record, write and check every stage; the files by stage."""
    from referdino_core.export.lowering import lower
    from referdino_core.export.recording import exportable_stages, stage_of

    kind = getattr(torch, PRECISIONS[precision])
    progress(0.0, "network")
    stages = exportable_stages(model, size, kind)
    files = {}
    for place, name in enumerate(STAGE_NAMES):
        progress(place / len(STAGE_NAMES), name)
        graph = record_for_any_number(model, stage_of(stages, name), name, size, tokens, kind)
        path = folder / f"{name}.onnx"
        write_graph(lower(graph, form), path, check=precision != "bf16")
        files[name] = path
    progress(1.0, "done")
    return files


def record_for_any_number(
    model: ReferDINO, stage: nn.Module, name: str, size: Shape, tokens: int, kind: torch.dtype
) -> ModelProto:
    """A stage's graph for any number of commands and frames, deformable attention in one node."""
    from referdino_core.export.generalisation import COMMANDS, FRAMES, DynamicAxis, generalise
    from referdino_core.export.recording import Sizes, example_inputs, record

    def recorded(commands: int, frames: int) -> ModelProto:
        sizes = Sizes(size, tokens, commands, frames)
        return record(stage, name, example_inputs(model, name, sizes, kind))

    if name == "image_encoder":
        return recorded(1, 1)
    source = "text" if name == "grounder" else "queries"
    axes = {COMMANDS: DynamicAxis(COMMANDS, source, 0)}
    numbers = ({COMMANDS: 2, FRAMES: 3}, {COMMANDS: 3, FRAMES: 4})
    if name == "readout":
        axes[FRAMES] = DynamicAxis(FRAMES, source, 1)
    first, second = (recorded(counts[COMMANDS], counts[FRAMES]) for counts in numbers)
    one, other = ({axis: counts[axis] for axis in axes} for counts in numbers)
    return generalise(first, second, (one, other), axes)


def write_graph(graph: ModelProto, path: Path, check: bool) -> None:
    """Write a graph, always in the same bytes.

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
    if deformable_attention not in FORMS:
        raise ExportError(
            f"There is no form {deformable_attention!r} of deformable attention; choose "
            f"{', '.join(FORMS)}."
        )
    if window < 1:
        raise ExportError(f"The window is {window}; it must be at least 1 frame.")


def _growing_folder(folder: Path) -> Path:
    """A folder beside the one that is to appear, to write in until then."""
    if not _may_replace(folder):
        raise ExportError(f"{folder} holds something else than an export; choose another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror}.") from error


def _may_replace(folder: Path) -> bool:
    """Whether nothing is lost when a folder is replaced."""
    if not folder.exists():
        return True
    return folder.is_dir() and ((folder / DESCRIPTION).is_file() or not any(folder.iterdir()))


def _move(growing: Path, folder: Path) -> None:
    """Give a complete folder its name, in place of an earlier export."""
    # mkdtemp lets nobody else in; what is exported is for everyone, as other files are.
    growing.chmod(0o755)
    if not folder.exists():
        growing.rename(folder)
        return
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
        folder.rename(Path(aside) / "before")
        growing.rename(folder)


def release() -> str:
    """The installed referdino's version."""
    try:
        return importlib.metadata.version("referdino")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _nothing(fraction: float, phase: str) -> None:
    """Hear of progress and do nothing about it."""
