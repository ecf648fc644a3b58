# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Prints registers, spills and occupancy of the CUDA kernel, as the compiler reports them.

    python trt_plugins/register_report.py                  # for sm_87, sm_89, sm_90 and sm_120
    python trt_plugins/register_report.py sm_86 --all      # other GPUs, every variant of the kernel

No GPU is needed, only nvcc: that of the machine, or that of the packages nvidia-cuda-nvcc,
nvidia-cuda-crt, nvidia-nvvm, nvidia-cuda-runtime and nvidia-cuda-cccl, all of one release.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from referdino_core.errors import ReferDINOError
from referdino_core.ops import build

ARCHITECTURES = ("sm_87", "sm_89", "sm_90", "sm_120")
SOURCE = Path(build.__file__).parent / "csrc" / "deformable_attention.cu"
REGISTERS_PER_MULTIPROCESSOR = 1 << 16
THREADS_PER_MULTIPROCESSOR = {"sm_80": 2048, "sm_90": 2048, "sm_100": 2048}
USUAL_THREADS_PER_MULTIPROCESSOR = 1536
THREADS_PER_WARP = 32
REGISTERS_PER_ALLOCATION = 256  # for a warp

# An entry function's name: types of values and logits, channels per thread, type of indices.
_NAME = re.compile(
    r"Compiling entry function '\w+?N9referdino\d+(?P<value>[A-Z]\w*?\d+)E"
    r"(?:NS\d_\d+(?P<logits>[A-Z]\w*?\d+)E|S\d_)Li(?P<lanes>\d)E(?P<index>[jm])E\w+' "
    r"for '(?P<gpu>\w+)'"
)
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_BLOCK = re.compile(r"kThreadsPerBlock = (\d+);")


@dataclass(frozen=True)
class Variant:
    """One compiled variant of the kernel.

    value, logits: element types. lanes: channels per thread. index_bits: 32, or 64 for calls with
    2**32 threads and more. spills: bytes per thread stored to and loaded from local memory.
    """

    gpu: str
    value: str
    logits: str
    lanes: int
    index_bits: int
    registers: int
    spills: int

    def occupancy(self, threads_per_block: int) -> float:
        """Fraction of a multiprocessor's threads that can run at once given its registers, 0..1."""
        per_warp = self.registers * THREADS_PER_WARP
        per_warp += -per_warp % REGISTERS_PER_ALLOCATION
        warps = threads_per_block // THREADS_PER_WARP
        most = THREADS_PER_MULTIPROCESSOR.get(self.gpu, USUAL_THREADS_PER_MULTIPROCESSOR)
        blocks = min(REGISTERS_PER_MULTIPROCESSOR // (per_warp * warps), most // threads_per_block)
        return blocks * threads_per_block / most


def compile_variants(architectures: Sequence[str] = ARCHITECTURES) -> list[Variant]:
    """Compile the kernel and parse the compiler's report.

    Raises:
        KernelBuildError: nvcc is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="referdino-kernel-") as folder:
        command = [*build.find_nvcc(), "-std=c++17", "-O3", "-c", "-Xptxas=-v", str(SOURCE)]
        for name in architectures:
            command.append(f"-gencode=arch={name.replace('sm_', 'compute_')},code={name}")
        outcome = subprocess.run(
            [*command, "-o", f"{folder}/kernel.o"], capture_output=True, text=True, check=False
        )
    if outcome.returncode != 0:
        lines = outcome.stderr.strip().splitlines() or [f"exit status {outcome.returncode}"]
        reason = next((line for line in lines if "error" in line), lines[-1])
        raise build.KernelBuildError(f"nvcc failed: {reason.strip()}")
    return list(read_variants(outcome.stdout + outcome.stderr))


def read_variants(report: str) -> Iterator[Variant]:
    """Variants listed in a report of ptxas."""
    name, spills = None, 0
    for line in report.splitlines():
        name = _NAME.search(line) or name
        if found := _SPILLS.search(line):
            spills = int(found[1]) + int(found[2])
        if name and (found := _REGISTERS.search(line)):
            yield Variant(
                gpu=name["gpu"],
                value=name["value"],
                logits=name["logits"] or name["value"],
                lanes=int(name["lanes"]),
                index_bits=32 if name["index"] == "j" else 64,
                registers=int(found[1]),
                spills=spills,
            )
            name = None


def threads_per_block() -> int:
    """Number of threads per block that the kernel is launched with."""
    found = _BLOCK.search(SOURCE.read_text(encoding="utf-8"))
    assert found, f"{SOURCE} does not say how many threads a block has"
    return int(found[1])


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit status is 1 if no nvcc works."""
    parser = argparse.ArgumentParser(description="Registers and spills of the CUDA kernel.")
    parser.add_argument("architectures", nargs="*", default=ARCHITECTURES, metavar="SM")
    parser.add_argument("--all", action="store_true", help="also single channels, 64-bit indices")
    chosen = parser.parse_args(list(arguments))
    try:
        variants = compile_variants(chosen.architectures)
    except ReferDINOError as error:
        print(error, file=sys.stderr)
        return 1
    block = threads_per_block()
    print(f"{block} threads a block; occupancy as far as registers limit it")
    print("| GPU | value | logits | channels a thread | index | registers | spills | occupancy |")
    print("|---|---|---|---|---|---|---|---|")
    order = {name: position for position, name in enumerate(chosen.architectures)}
    for one in sorted(variants, key=lambda one: (order[one.gpu], one.value, one.logits)):
        if chosen.all or (one.lanes > 1 and one.index_bits == 32):
            print(
                f"| {one.gpu} | {one.value} | {one.logits} | {one.lanes} | {one.index_bits} bits "
                f"| {one.registers} | {one.spills} B | {one.occupancy(block):.0%} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
