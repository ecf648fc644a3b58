# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of `gpu.py`, which build, check and measure, each in a separate process."""

from __future__ import annotations

import contextlib
import itertools
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from performance import SENTENCE, fill_windows, images_of, model_of, without_vocabulary

import referdino_core as rd
from referdino_core.errors import ReferDINOError
from referdino_core.evaluation import recorded_scene
from referdino_core.media.sources import open_source
from referdino_core.ops.build import build_cuda

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parent
SCENES = ((1, 1), (1, 8), (8, 1))
"""Number of cameras, and of commands per camera."""
MIN_FRAMES, MAX_FRAMES = 5, 500
MASK_OVERLAP, BOX_ERROR = 0.98, 1.0
BFLOAT16_SLACK = 0.03
"""How much lower the overlap of bf16 with fp32 may be than on the CPU in the same run."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        agrees: whether the predictions agree with the CPU's in fp32; None if not compared.
        note: what was done.
        error: why there are no figures.
    """

    model: str
    runtime: str = ""
    cameras: int = 0
    commands: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    frames_per_s: float | None = None
    memory_mib: float | None = None
    agrees: bool | None = None
    note: str = ""
    error: str = ""


@dataclass(frozen=True)
class Workload:
    """Workload of a part.

    Attributes:
        model: name of a model, or of what is built.
        runtime: with its precision, such as "torch-fp16".
        device: as PyTorch names it.
        seconds: measured per scene, in at least `MIN_FRAMES` frames.
        warm_up: frames before the first measured one; buffers and graphs are made in them.
        compared: images of the scene whose predictions are compared with the CPU's.
    """

    model: str
    runtime: str = ""
    device: str = "cuda"
    seconds: float = 5.0
    warm_up: int = 12
    compared: int = 30

    def row(self, note: str = "", error: str = "") -> Row:
        """A row without figures."""
        return Row(self.model, self.runtime, note=note, error=error)


def describe_machine(workload: Workload) -> list[Row]:
    """One line on the machine and the versions of the software."""
    name = platform.processor() or platform.machine()
    if workload.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        name = f"{properties.name} (sm_{properties.major}{properties.minor})"
    cuda = f", CUDA {torch.version.cuda}" if torch.version.cuda else ""
    return [workload.row(f"{name}, PyTorch {torch.__version__}{cuda}, {platform.machine()}")]


def build_kernel(workload: Workload) -> list[Row]:
    """Build the CUDA kernel, and compare it with the portable version."""
    began = time.monotonic()
    _, flags = build_cuda()
    seconds = time.monotonic() - began
    check = run([sys.executable, str(FOLDER / "gpu_kernel.py")])
    print(check, file=sys.stderr)
    return [workload.row(f"built in {seconds:.0f} s ({flags}); agrees with the portable version")]


def build_plugin(workload: Workload) -> list[Row]:
    """Build the TensorRT plugin next to the kernel."""
    if shutil.which("cmake") is None:
        raise ReferDINOError("cmake is not found (sudo apt install cmake).")
    with tempfile.TemporaryDirectory() as folder:
        told = run(
            ["cmake", "-S", str(REPOSITORY / "trt_plugins"), "-B", folder, "-DREFERDINO_CUDA=ON"]
        )
        left_out = [line.strip("- ") for line in told.splitlines() if "Left out" in line]
        if left_out:
            raise ReferDINOError(left_out[0])
        run(["cmake", "--build", folder, "--parallel"])
    return [workload.row("built")]


def run(command: Sequence[str]) -> str:
    """Run a command; returns its standard output.

    Raises:
        ReferDINOError: it failed; the message contains its last line.
    """
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        lines = (outcome.stderr.strip() or outcome.stdout.strip()).splitlines() or ["no reason"]
        raise ReferDINOError(f"{Path(command[0]).name} failed: {lines[-1].strip()}")
    return outcome.stdout


def measure_streams(workload: Workload) -> list[Row]:
    """Measure steady streams of a model on a runtime; compares nano's predictions with the CPU."""
    free = free_memory(workload.device)
    model = model_of(workload.model, workload.device)
    images = images_of(model)
    began = time.monotonic()
    session = open_session(model, workload)
    session.prepare(*images[0].shape[:2])
    note = f"ready in {time.monotonic() - began:.0f} s"
    agrees = None
    if workload.model == "nano":
        agrees, told = compare_predictions(session, workload)
        note = f"{note}, {told}"
    rows = []
    for cameras, commands in SCENES:
        spans = time_scene(session, images, cameras, commands, workload)
        used = None if free is None else (free - (free_memory(workload.device) or 0)) / 2**20
        rows.append(
            Row(
                workload.model,
                workload.runtime,
                cameras,
                commands,
                p50_ms=1000 * float(np.median(spans)),
                p99_ms=1000 * float(np.percentile(spans, 99)),
                frames_per_s=cameras / float(np.median(spans)),
                memory_mib=used,
                agrees=agrees,
                note=f"{len(spans)} frames, {note}",
            )
        )
    return rows


def open_session(model: rd.ReferDINO, workload: Workload) -> rd.Session:
    """A session on a workload's runtime, in which every command always has a target."""
    runtime, _, precision = workload.runtime.partition("-")
    with contextlib.ExitStack() as stack:
        if model.configuration.tokenizer == "wordpiece":
            stack.enter_context(without_vocabulary())
        return rd.Session(
            model,
            settings=rd.SessionSettings(accept=0.0, keep=0.0),
            device=workload.device,
            runtime=runtime,
            precision=precision,
        )


def time_scene(
    session: rd.Session,
    images: Sequence[np.ndarray],
    cameras: int,
    commands: int,
    workload: Workload,
) -> list[float]:
    """Seconds per frame, from the images of all cameras to the masks on the host."""
    session.begin_stream()
    group = rd.CameraGroup(session, cameras)
    for one in group.sessions:
        one.commands = {str(number): SENTENCE for number in range(commands)}
    frames = frames_of(images, cameras)
    group.step(next(frames))
    fill_windows(group)
    for frame in itertools.islice(frames, workload.warm_up):
        group.step(frame)
    spans: list[float] = []
    while len(spans) < MIN_FRAMES or (sum(spans) < workload.seconds and len(spans) < MAX_FRAMES):
        frame = next(frames)
        began = time.perf_counter()
        group.step(frame)
        spans.append(time.perf_counter() - began)
    return spans


def frames_of(images: Sequence[np.ndarray], cameras: int) -> Iterator[tuple[np.ndarray, ...]]:
    """An endless sequence of frames, in which cameras are one image apart."""
    endless = [itertools.islice(itertools.cycle(images), camera, None) for camera in range(cameras)]
    return zip(*endless, strict=True)


def compare_predictions(session: rd.Session, workload: Workload) -> tuple[bool, str]:
    """Whether predictions in one batch agree with the CPU's in fp32 one by one, and how closely.

    On the bundled scene: on noise, near ties of queries would decide. In bf16 the differences may
    be larger, but not much larger than those of the CPU in bf16.
    """
    scene = recorded_scene.load(recorded_scene.BUNDLED)
    with open_source(str(scene.video)) as video:
        images = [frame.image for frame in itertools.islice(video, workload.compared)]
    streams = [images, [*images[1:], images[0]]]
    # A large object: of a small one, a pixel of the rim is some per cent of the mask.
    sentence = scene.commands[1].text
    expected = one_by_one(cpu_session(workload, "fp32"), streams, sentence)
    overlap, distance = agreement(predictions_of(session, streams, sentence), expected)
    least, most = MASK_OVERLAP, BOX_ERROR
    if workload.runtime.endswith("bf16"):
        own_overlap, own_distance = agreement(
            one_by_one(cpu_session(workload, "bf16"), streams, sentence), expected
        )
        least, most = own_overlap - BFLOAT16_SLACK, max(most, own_distance + BOX_ERROR)
    told = f"mask overlap {overlap:.3f} (at least {least:.3f}), boxes {distance:.2f} px off"
    return bool(overlap >= least and distance <= most), told


def cpu_session(workload: Workload, precision: str) -> rd.Session:
    """A session of the same model on the CPU."""
    reference = Workload(workload.model, f"torch-{precision}", "cpu")
    return open_session(model_of(workload.model, "cpu"), reference)


def predictions_of(
    session: rd.Session, streams: Sequence[Sequence[np.ndarray]], sentence: str
) -> list[rd.Target]:
    """Targets of one command on a group of cameras, camera by camera."""
    session.begin_stream()
    group = rd.CameraGroup(session, len(streams))
    for camera in group.sessions:
        camera.command(sentence)
    steps = [group.step(frame) for frame in zip(*streams, strict=True)]
    return [target for camera in zip(*steps, strict=True) for (target,) in camera]


def one_by_one(
    session: rd.Session, streams: Sequence[Sequence[np.ndarray]], sentence: str
) -> list[rd.Target]:
    """Targets of one command, with each camera processed alone."""
    return [target for stream in streams for target in predictions_of(session, [stream], sentence)]


def agreement(found: Sequence[rd.Target], expected: Sequence[rd.Target]) -> tuple[float, float]:
    """Median overlap of masks, and median box error in pixels."""
    overlaps, distances = [], [0.0]
    for target, reference in zip(found, expected, strict=True):
        union = (target.mask | reference.mask).sum()
        overlaps.append((target.mask & reference.mask).sum() / union if union else 1.0)
        if target.box and reference.box:
            distances.append(float(np.abs(np.subtract(target.box, reference.box)).max()))
    return float(np.median(overlaps)), float(np.median(distances))


def free_memory(device: str) -> int | None:
    """Free bytes of the GPU; None for the CPU."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else None


PARTS: Mapping[str, Callable[[Workload], list[Row]]] = {
    "machine": describe_machine,
    "kernel": build_kernel,
    "plugin": build_plugin,
    "stream": measure_streams,
}
