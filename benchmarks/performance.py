# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Time per frame of steady streams, by stage, runtime, precision, commands and cameras.

    python benchmarks/performance.py                                    # everything available
    python benchmarks/performance.py --models swint --commands 1 8 --runtimes portable torch-bf16
    python benchmarks/performance.py --models swint --commands 1 --cameras 1 8 --device cuda

Every row streams the same images through a group of cameras. Rows with the same model, cameras and
commands alternate, so that other programs affect all of them alike. Swin-T and Swin-B have random
weights, which changes no shapes. Masks are decoded for every command in every frame.

With several cameras, a frame has one image per camera, and the commands are per camera; "frames/s"
counts the images of all cameras.

"portable" is the network as in the paper, in PyTorch's float32 operators with grid_sample. "GFLOP"
counts the matrix multiplications and convolutions of a frame in that row; "share" is their rate as
a fraction of the machine's measured rate of matrix multiplications in the row's precision.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from matrix_work import MatrixWork
from portable_backend import PortableBackend
from timed_backend import STAGES, TimedBackend
from tqdm import tqdm

import referdino_core as rd
from referdino_core.building import load_model
from referdino_core.configuration import CONFIGURATIONS
from referdino_core.errors import ReferDINOError
from referdino_core.precision import PRECISIONS

SENTENCE = "the small red box to the left of the big green ball"
MATRIX = (4820, 2048, 2048)
WARM_UP = 3
"""Frames before the first measured one, in which buffers are allocated and graphs recorded."""

ROWS = ("portable", "torch-fp32", "torch-bf16", "torch-fp16", "onnxruntime-fp32")
ROWS_ON_REQUEST = ("tensorrt-fp32", "tensorrt-fp16")


@dataclass
class Row:
    """One line of the table: a group of cameras with its measurements."""

    name: str
    group: rd.CameraGroup
    backend: TimedBackend
    frames: list[float] = field(default_factory=list)
    gigaflops: float | None = None

    @property
    def precision(self) -> str:
        """The row's precision, the last part of its name; fp32 for the portable row."""
        return self.name.partition("-")[2] or "fp32"

    @property
    def cameras(self) -> int:
        """Number of images in a frame."""
        return len(self.group.sessions)

    def step(self, images: Sequence[np.ndarray], counts: bool) -> None:
        """Process one image of each camera, and record the time if it counts."""
        synchronise(self.backend.device)
        began = time.perf_counter()
        self.group.step(images)
        synchronise(self.backend.device)
        if counts:
            self.frames.append(time.perf_counter() - began)


def synchronise(device: torch.device) -> None:
    """Wait for pending work on a GPU; does nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(dtype: torch.dtype, device: str, rounds: int = 8) -> float:
    """GFLOP/s of one large matrix multiplication, the best of several rounds."""
    rows, inner, columns = MATRIX
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(inner, columns, device=device).to(dtype)
    spans = []
    for _ in range(rounds):
        synchronise(left.device)
        began = time.perf_counter()
        left @ right
        synchronise(left.device)
        spans.append(time.perf_counter() - began)
    return 2e-9 * rows * inner * columns / min(spans)


def images_of(model: rd.ReferDINO, count: int = 16) -> list[np.ndarray]:
    """Images of a drifting texture, in the model's input size."""
    short_side = model.configuration.image_short_side
    height, width = short_side, short_side * 4 // 3 if short_side < 360 else 640
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 8 + 8, width // 8 + 8, 3), dtype=np.uint8)
    texture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    return [texture[n : n + height, 2 * n : 2 * n + width].copy() for n in range(count)]


def model_of(name: str, device: str) -> rd.ReferDINO:
    """The model with its bundled weights, or with random ones."""
    if name == "nano":
        return load_model(name, device)
    torch.manual_seed(0)
    return load_model(rd.build(name), device)


class WordsOnly:
    """Replacement for BERT's tokenizer, whose vocabulary is a download, with one token per word."""

    def encode(self, sentence: str) -> torch.Tensor:
        """Arbitrary token ids, since their values do not affect the time."""
        return torch.tensor([101, *range(2000, 2000 + len(sentence.split())), 1012, 102])

    def unknown_words(self, sentence: str) -> list[str]:
        """No words: all are known."""
        return []


def open_row(name: str, model: rd.ReferDINO, commands: int, cameras: int = 1) -> Row | None:
    """A row of the table; None, after printing the reason, if its runtime is unavailable."""
    runtime, _, precision = name.partition("-")
    settings = rd.SessionSettings(accept=0.0, keep=0.0)
    with contextlib.ExitStack() as stack:
        if model.configuration.tokenizer == "wordpiece":
            stack.enter_context(without_vocabulary())
        try:
            session = rd.Session(
                model,
                settings=settings,
                device=str(model.device),
                runtime="torch" if runtime == "portable" else runtime,
                precision=precision or "fp32",
            )
        except ReferDINOError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return None
    backend = PortableBackend(model) if runtime == "portable" else session.backend
    timed = TimedBackend(backend)
    session.backend = timed
    group = rd.CameraGroup(session, cameras)
    for session in group.sessions:
        session.commands = {str(number): SENTENCE for number in range(commands)}
    return Row(name, group, timed)


@contextlib.contextmanager
def without_vocabulary() -> Iterator[None]:
    """Context in which sessions can be opened without BERT's vocabulary."""
    from referdino_core.session import session as module

    original = module.tokenizer_of
    module.tokenizer_of = lambda configuration: WordsOnly()  # type: ignore[assignment]
    try:
        yield
    finally:
        module.tokenizer_of = original


def fill_windows(group: rd.CameraGroup) -> None:
    """Fill the windows of all commands with copies of their newest frame."""
    for command in (c for session in group.sessions for c in session.running.values()):
        window = command.memory.window
        newest = window[-1]
        for age in range(1, (window.maxlen or 1) - len(window) + 1):
            window.appendleft(replace(newest, stamp=newest.stamp - 0.1 * age))


def count_gigaflops(row: Row, images: Sequence[np.ndarray]) -> float:
    """GFLOP of the matrix multiplications and convolutions of one frame."""
    with MatrixWork() as work:
        row.group.step(images)
    return work.operations * 1e-9


def measure(
    rows: Sequence[Row], images: Sequence[np.ndarray], arguments: argparse.Namespace
) -> None:
    """Stream the images through all rows alternately; cameras are one image apart."""
    cameras = max((row.cameras for row in rows), default=1)
    endless = [itertools.islice(itertools.cycle(images), camera, None) for camera in range(cameras)]
    frames = zip(*endless, strict=True)
    for row in tqdm(rows, desc="warming up", leave=False):
        row.step(next(frames), counts=False)
        fill_windows(row.group)
        for frame in itertools.islice(frames, WARM_UP):
            row.step(frame, counts=False)
        if row.name in ("portable", "torch-fp32") and row.backend.device.type == "cpu":
            row.gigaflops = count_gigaflops(row, next(frames))
        row.backend.clear()
    for _ in tqdm(range(arguments.rounds), desc="rounds", leave=False):
        for row in rows:
            for frame in itertools.islice(frames, arguments.frames):
                row.step(frame, counts=True)
    prepared = next((row.gigaflops for row in rows if row.name == "torch-fp32"), None)
    for row in rows:
        row.gigaflops = row.gigaflops if row.name == "portable" else prepared


def table_lines(
    model: str, commands: int, rows: Sequence[Row], rates: dict[str, float]
) -> Iterator[str]:
    """Lines of the Markdown table."""
    portable = next((statistics.median(r.frames) for r in rows if r.name == "portable"), None)
    for row in rows:
        frame = statistics.median(row.frames)
        slowest = float(np.percentile(row.frames, 99))
        parts = [1000 * row.backend.per_frame(stage, len(row.frames)) for stage in STAGES]
        cameras = f", {row.cameras} cameras" if row.cameras > 1 else ""
        cells = [f"{model}{cameras}", f"{commands}", row.name]
        cells += [f"{part:.1f}" for part in parts]
        cells += [f"{1000 * frame:.1f}", f"{1000 * slowest:.1f}", f"{row.cameras / frame:.2f}"]
        cells.append("" if portable is None else f"{portable / frame:.2f}")
        if row.gigaflops is None:
            cells += ["", ""]
        else:
            fraction = row.gigaflops / frame / rates[row.precision]
            cells += [f"{row.gigaflops:.1f}", f"{fraction:.0%}"]
        yield "| " + " | ".join(cells) + " |"


HEAD = (
    "| model | commands | runtime | image encoder | grounder | readout | frame | p99 | frames/s "
    "| ratio | GFLOP | share |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def machine(arguments: argparse.Namespace, rates: dict[str, float]) -> str:
    """One line on the machine and the versions of the software."""
    name = platform.machine()
    cpu_facts = Path("/proc/cpuinfo")
    if cpu_facts.exists():
        lines = cpu_facts.read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if "model name" in line), name)
    if arguments.device.startswith("cuda"):
        name = torch.cuda.get_device_name(arguments.device)
    speeds = ", ".join(f"{precision} {rate:.0f}" for precision, rate in rates.items())
    return (
        f"{name}, {torch.get_num_threads()} CPU threads, PyTorch {torch.__version__}; matrix "
        f"multiplication of {'x'.join(map(str, MATRIX))}: {speeds} GFLOP/s. Times are milliseconds."
    )


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=tuple(CONFIGURATIONS))
    parser.add_argument("--commands", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--cameras", nargs="+", type=int, default=[1], help="in one batch")
    parser.add_argument("--runtimes", nargs="+", choices=ROWS + ROWS_ON_REQUEST)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=4, help="per row and round (default: 4)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.runtimes or [
        name for name in ROWS if arguments.device != "cpu" or name != "torch-fp16"
    ]
    precisions = dict.fromkeys(name.partition("-")[2] or "fp32" for name in names)
    rates = {name: matrix_rate(PRECISIONS[name].dtype, arguments.device) for name in precisions}
    print(machine(arguments, rates), "", *HEAD, sep="\n", flush=True)
    for name in arguments.models or ("nano", "swint", "swinb"):
        model = model_of(name, arguments.device)
        images = images_of(model)
        for cameras, commands in itertools.product(arguments.cameras, arguments.commands):
            opened = (open_row(row, model, commands, cameras) for row in names)
            rows = [row for row in opened if row is not None]
            measure(rows, images, arguments)
            print(*table_lines(name, commands, rows, rates), sep="\n", flush=True)


if __name__ == "__main__":
    main()
