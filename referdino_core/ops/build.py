# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Build of the fused kernels in `csrc`: ``python -m referdino_core.ops.build``.

By default the CPU kernels are built: one library for any processor of this kind and, if the
compiler supports them, some for newer processors, as declared in variants.json. They also run on
other machines. The compiler is ``$CXX``, else the first of c++, g++ and clang++.

With ``--cuda`` the kernels for NVIDIA GPUs are built. The compiler is ``$NVCC``, which may contain
options, else nvcc in ``$CUDA_HOME``, on the PATH or in /usr/local/cuda. The target is the machine's
GPU, or the common GPUs if it has none.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from referdino_core.errors import ReferDINOError

__all__ = ["KernelBuildError", "build", "build_cuda", "has_gpu", "main"]

_FOLDER = Path(__file__).resolve().parent
_SOURCES = _FOLDER / "csrc"
_COMPILERS = ("c++", "g++", "clang++")

_NATIVE_GPU = ("-arch=native",)
# Machine code for Ampere, Orin, Ada and Hopper, which also runs on related GPUs. Other GPUs since
# Turing compile the last one, which is PTX, when they load the library.
_COMMON_GPUS_BEFORE_BLACKWELL = (
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_87,code=sm_87",
    "-gencode=arch=compute_89,code=sm_89",
    "-gencode=arch=compute_90,code=sm_90",
    "-gencode=arch=compute_75,code=compute_75",
)
# For nvcc 12.8 and later.
_COMMON_GPUS = (*_COMMON_GPUS_BEFORE_BLACKWELL, "-gencode=arch=compute_120,code=sm_120")
# For an nvcc that is too old or too new for all of these.
_ALL_GPUS = ("-arch=all-major",)
_COMMON = (_COMMON_GPUS, _COMMON_GPUS_BEFORE_BLACKWELL, _ALL_GPUS)
_NVCC_PLACES = ("nvcc", "/usr/local/cuda/bin/nvcc")
# Location of nvcc in the packages of CUDA 13; nvidia-cuda-nvcc-cu12 has none.
_NVCC_PACKAGES = ("cu13",)
_DRIVER_TOOLS = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")
_DRIVER_SECONDS = 30
_MACHINE = Path("/proc/device-tree/compatible")
_JETSON = b"nvidia,tegra"


class KernelBuildError(ReferDINOError):
    """The fused kernels cannot be built; the portable version remains in use."""


@dataclass(frozen=True)
class _Target:
    """A library to build; tunings are tried in order until the compiler accepts one."""

    name: str
    sources: tuple[Path, ...]
    library_name: str
    flags: tuple[str, ...]
    tunings: tuple[tuple[str, ...], ...]

    def failure(self, reason: object) -> KernelBuildError:
        return KernelBuildError(f"{self.name} cannot be built: {reason}")


def _cpu_targets() -> tuple[_Target, ...]:
    declared = json.loads((_FOLDER / "variants.json").read_text(encoding="utf-8"))
    targets: list[_Target] = []
    for variant in declared["variants"]:
        processor = tuple(variant["flags"].split())
        # Not every compiler has OpenMP or supports the processor's flags: the library for any
        # processor is then built without them.
        processors = (processor,) if targets else (processor, ())
        targets.append(
            _Target(
                name="the fused CPU kernel",
                sources=tuple(sorted(_SOURCES.glob("*.cpp"))),
                library_name=f"lib{variant['library']}.so",
                flags=(*declared["flags"].split(), "-fPIC", "-shared"),
                tunings=tuple(
                    (*threads, *flags) for threads in (("-fopenmp",), ()) for flags in processors
                ),
            )
        )
    return tuple(targets)


def _cuda_target() -> _Target:
    return _Target(
        name="the fused CUDA kernel",
        sources=tuple(sorted(_SOURCES.glob("*.cu"))),
        library_name="libreferdino_cuda_kernels.so",
        flags=("-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC,-fvisibility=hidden"),
        tunings=(*([_NATIVE_GPU] if has_gpu() else []), *_COMMON),
    )


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU: its driver lists one, or the machine is a Jetson.

    Device nodes and the driver's tools may exist without a GPU. The driver is queried through
    nvidia-smi, because loading CUDA creates device nodes.
    """
    for tool in _DRIVER_TOOLS:
        if shutil.which(tool) is None:
            continue
        try:
            listing = subprocess.run(
                [tool, "-L"], capture_output=True, text=True, check=False, timeout=_DRIVER_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if listing.returncode == 0 and listing.stdout.startswith("GPU "):
            return True
    try:
        return _JETSON in _MACHINE.read_bytes()
    except OSError:
        return False


def build(folder: Path = _FOLDER) -> dict[Path, str]:
    """Compile the CPU kernels into ``folder``.

    Libraries are replaced, not overwritten, so that running processes keep the one they loaded.
    Libraries for newer processors that the compiler cannot build are skipped; earlier builds of
    them are removed.

    Returns:
        The flags that the compiler accepted, for OpenMP and the processor, by library.

    Raises:
        KernelBuildError: there is no C++ compiler, it fails, or the folder cannot be written.
    """
    for_any, *for_newer = _cpu_targets()
    compiler = _find_compiler(for_any)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        building = {target: pool.submit(_build, target, compiler, folder) for target in for_newer}
        built = dict([_build(for_any, compiler, folder)])
    for target, outcome in building.items():
        try:
            built.update([outcome.result()])
        except KernelBuildError:
            (folder / target.library_name).unlink(missing_ok=True)
    return built


def build_cuda(folder: Path = _FOLDER) -> tuple[Path, str]:
    """Compile the kernel for NVIDIA GPUs into ``folder``, some seconds per GPU generation.

    Returns:
        The library's path and the GPU flags that nvcc accepted.

    Raises:
        KernelBuildError: there is no nvcc, it fails, or the folder cannot be written.
    """
    target = _cuda_target()
    return _build(target, find_nvcc(), folder)


def _build(target: _Target, compiler: list[str], folder: Path) -> tuple[Path, str]:
    library = folder / target.library_name
    try:
        with tempfile.TemporaryDirectory(prefix=".kernels-", dir=folder) as workspace:
            fresh = Path(workspace) / target.library_name
            tuning = _compile(target, compiler, fresh)
            os.replace(fresh, library)
    except OSError as error:
        raise target.failure(error) from error
    return library, " ".join(tuning)


def _find_compiler(target: _Target) -> list[str]:
    chosen = _chosen_compiler(target, "CXX")
    if chosen:
        return chosen
    for name in _COMPILERS:
        if shutil.which(name) is not None:
            return [name]
    raise target.failure(
        "no C++ compiler found (install one, for example with: sudo apt install g++; or set CXX)"
    )


def find_nvcc() -> list[str]:
    """The compiler for NVIDIA GPUs with its options: as chosen, the machine's, or a package's.

    Raises:
        KernelBuildError: no compiler is found.
    """
    target = _cuda_target()
    chosen = _chosen_compiler(target, "NVCC")
    if chosen:
        return chosen
    home = os.environ.get("CUDA_HOME")
    packages = (
        f"{folder}/nvidia/{name}/bin/nvcc" for folder in sys.path for name in _NVCC_PACKAGES
    )
    for place in (*([f"{home}/bin/nvcc"] if home else []), *_NVCC_PLACES, *packages):
        if shutil.which(place) is not None:
            return [place]
    raise target.failure(
        "nvcc is not found (install the CUDA toolkit; or set CUDA_HOME to where it is)"
    )


def _chosen_compiler(target: _Target, variable: str) -> list[str]:
    chosen = shlex.split(os.environ.get(variable, ""))
    if chosen and shutil.which(chosen[0]) is None:
        raise target.failure(f"{variable} names {chosen[0]!r}, which is not found")
    return chosen


def _compile(target: _Target, compiler: list[str], library: Path) -> tuple[str, ...]:
    complaint = ""
    for tuning in target.tunings:
        command = [*compiler, *target.flags, *tuning, *map(str, target.sources), "-o", str(library)]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        # Without a GPU nvcc only warns, and builds for a default one.
        is_native = tuning != _NATIVE_GPU or "native" not in outcome.stderr
        if outcome.returncode == 0 and is_native:
            return tuning
        lines = [line.strip() for line in outcome.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line]
        complaint = (errors or lines or [f"exit status {outcome.returncode}"])[0]
    raise target.failure(f"{shlex.join(compiler)} failed: {complaint}")


def main(arguments: Sequence[str] = ()) -> int:
    """Build in place and print the libraries; returns 1 after one line on stderr on failure."""
    parser = argparse.ArgumentParser(
        prog="python -m referdino_core.ops.build", description="Build the fused kernels."
    )
    parser.add_argument(
        "--cuda", action="store_true", help="build the kernel for NVIDIA GPUs, not the CPU's"
    )
    cuda = parser.parse_args(list(arguments)).cuda
    print(f"building the fused {'CUDA' if cuda else 'CPU'} kernel ...", flush=True)
    try:
        built = dict([build_cuda()]) if cuda else build()
    except KernelBuildError as error:
        print(error, file=sys.stderr)
        return 1
    for library, tuning in built.items():
        has_threads = cuda or "-fopenmp" in tuning
        print(f"built {library} ({tuning if has_threads else f'no OpenMP: one thread {tuning}'})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
