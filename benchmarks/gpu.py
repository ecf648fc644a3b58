# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Complete benchmark of a machine with an NVIDIA GPU, in one command and under ten minutes.

    python benchmarks/gpu.py                        # writes gpu.json, and prints its table
    python benchmarks/gpu.py --models swint --out orin.json
    python benchmarks/gpu.py --rehearse             # trial run on a CPU, with nano alone

Builds the CUDA kernel and the TensorRT plugin, checks the kernel, then measures steady streams of
every model on PyTorch (with CUDA graphs) and on TensorRT or TensorRT for RTX, whichever is
installed, including the build of engines. The predictions of `nano` are compared with the CPU's in
fp32. Times are from the image to the masks on the host, without synchronisation in between. Every
part runs in a separate process; one that fails or takes too long becomes a row with the reason.

Exit status: 0; 1 if a part failed; 77 if there is no GPU that PyTorch can use.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from gpu_parts import PARTS, Row, Workload

from referdino_core.ops.build import has_gpu

NO_GPU = 77
"""Exit status of a skipped test or benchmark, as in Automake and Meson."""

BUDGET = 570.0
"""Seconds for all parts."""
PART_LIMIT = 240.0
"""Maximum seconds for one part; building Swin-T's engines takes longest."""

MODELS = ("nano", "swint", "swinb")
RUNTIMES = ("torch-fp16", "torch-bf16", "tensorrt-fp16")
REHEARSED_RUNTIMES = ("torch-fp32", "torch-bf16")

HEAD = (
    "| model | runtime | cameras | commands | p50 ms | p99 ms | frames/s | MiB | agrees | note |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def say(message: str) -> None:
    """Log a message with the time."""
    print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


def run_part(name: str, workload: Workload, seconds: float) -> list[Row]:
    """Run a part in a separate process; returns its rows, or one row with the reason of failure."""
    if seconds < 1:
        return [workload.row(error="skipped: the time was used up")]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "rows.json"
        command = [sys.executable, __file__, "--part", name, "--workload"]
        command += [json.dumps(asdict(workload)), "--out", str(result)]
        try:
            outcome = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return [workload.row(error=f"took longer than {seconds:.0f} s")]
        if outcome.returncode == 0 and result.exists():
            return [Row(**row) for row in json.loads(result.read_text())]
        lines = [line.strip() for line in outcome.stderr.splitlines() if line.strip()]
        why = lines[-1] if lines else f"ended with status {outcome.returncode}"
        return [workload.row(error=why)]


def work_in_part(name: str, workload: Workload, out: Path) -> int:
    """Run one part in this process and write its rows; an error is the last line on stderr."""
    try:
        rows = PARTS[name](workload)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        print(f"{type(error).__name__}: {lines[0]}", file=sys.stderr)
        return 1
    out.write_text(json.dumps([asdict(row) for row in rows]))
    return 0


def workloads(models: Sequence[str], rehearse: bool) -> list[tuple[str, Workload]]:
    """The parts with their workloads, in order."""
    device = "cpu" if rehearse else "cuda"
    parts = [] if rehearse else [("kernel", Workload("kernel")), ("plugin", Workload("plugin"))]
    for model in models:
        for runtime in REHEARSED_RUNTIMES if rehearse else RUNTIMES:
            workload = Workload(model, runtime, device)
            if rehearse:
                workload = replace(workload, seconds=0.1, warm_up=2, compared=12)
            parts.append(("stream", workload))
    return parts


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The Markdown table."""
    lines = list(HEAD)
    for row in rows:
        figures = (row.p50_ms, row.p99_ms, row.frames_per_s, row.memory_mib)
        cells = [row.model, row.runtime, row.cameras or "", row.commands or ""]
        cells += ["" if figure is None else f"{figure:.1f}" for figure in figures]
        cells += ["" if row.agrees is None else "yes" if row.agrees else "NO"]
        cells += [row.error or row.note]
        lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return lines


def why_not_here() -> str | None:
    """Why nothing can be measured on this machine, in one line; None if it can."""
    if not has_gpu():
        return "There is no NVIDIA GPU here: its driver lists none."
    import torch

    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} cannot use the GPU of this machine."
    return None


def measure_all(models: Sequence[str], rehearse: bool, budget: float) -> list[Row]:
    """The rows of all parts, in order."""
    began = time.monotonic()
    rows: list[Row] = []
    for name, workload in workloads(models, rehearse):
        say(f"{workload.model} {workload.runtime} ...")
        left = budget - (time.monotonic() - began)
        rows += run_part(name, workload, min(left, PART_LIMIT))
        for row in rows:
            if row.error and row.model == workload.model and row.runtime == workload.runtime:
                say(row.error)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status, see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=None)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="file to write")
    parser.add_argument("--seconds", type=float, default=BUDGET, help="time for all parts")
    parser.add_argument("--rehearse", action="store_true", help="run on a CPU, with nano alone")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--workload", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        return work_in_part(options.part, Workload(**options.workload), options.out)
    obstacle = None if options.rehearse else why_not_here()
    if obstacle is not None:
        print(obstacle, file=sys.stderr)
        return NO_GPU
    models = options.models or (("nano",) if options.rehearse else MODELS)
    rows = measure_all(models, options.rehearse, options.seconds)
    machine = PARTS["machine"](Workload("machine", device="cpu" if options.rehearse else "cuda"))
    content = {"machine": machine[0].note, "rows": [asdict(row) for row in rows]}
    options.out.write_text(json.dumps(content, indent=2) + "\n")
    print(machine[0].note, "", *table_lines(rows), sep="\n")
    return 1 if any(row.error or row.agrees is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
