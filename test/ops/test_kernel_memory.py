# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""CPU kernels that are refused memory: an error, not the process's end, and the next call works."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import SUPPORT

import referdino_core
from referdino_core.errors import ReferDINOError
from referdino_core.ops.library import _RETURN_TYPES, _SIGNATURES, KernelMemoryError
from referdino_core.ops.loading import FOLDER

pytestmark = pytest.mark.slow

SOURCES = FOLDER / "csrc"
WALKS = sorted(SUPPORT.glob("inference_*_walk.cpp"))


def test_no_exception_leaves_an_exported_function() -> None:
    """Those that give no status must not throw; all others turn what is thrown into one."""
    heads = {}
    for source in SOURCES.glob("*.cpp"):
        pattern = r"^REFERDINO_EXPORT \w+ (referdino_\w+)\(([^)]*)\)(.*?) \{$"
        for name, _, guard in re.findall(pattern, source.read_text(), re.MULTILINE | re.DOTALL):
            heads[name] = guard.strip()
        text = source.read_text()
        assert text.count(") try {\n") == text.count("\n}\nREFERDINO_CATCH\n")
    questions = {*_RETURN_TYPES, "referdino_processor_has"}
    assert heads == {
        name: "noexcept" if name in questions else "try" for name in {*_SIGNATURES, *questions}
    }


def test_every_kernel_that_is_refused_any_of_its_allocations_says_so(tmp_path: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None, "this test needs a C++ compiler"
    called = set(re.findall(r"referdino_\w+", "".join(walk.read_text() for walk in WALKS)))
    assert {*_SIGNATURES} - {*_RETURN_TYPES} <= called
    program = tmp_path / "walk"
    flags = ["-std=c++17", "-O1", "-fopenmp", "-DREFERDINO_FAILING_ALLOCATIONS", "-Wno-psabi"]
    sources = [*sorted(SOURCES.glob("*.cpp")), *WALKS]
    command = [compiler, *flags, "-I", SOURCES, *sources, "-o", program]
    subprocess.run(command, check=True, timeout=200)
    outcome = subprocess.run([program], capture_output=True, text=True, check=False, timeout=100)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    [refused] = re.findall(r"^walked, refusing (\d+) allocations$", outcome.stdout)
    assert int(refused) > 10_000


FUSE_WITH_LITTLE_MEMORY = """
import resource, torch
from referdino_core.ops.fusion_attention import fusion_attention
from referdino_core.ops.library import kernel_library
from referdino_core.ops.library import KernelMemoryError

kernel = kernel_library()
torch.manual_seed(0)
cells, width, tokens, heads = 20_000, 8, 500, 8  # logits of 320 MB
image, folded = torch.randn(1, cells, width), torch.randn(1, tokens, heads * (2 * width + 1))
padding, bias = torch.zeros(1, tokens, dtype=torch.bool), torch.zeros(width)
few = folded[:, :5].contiguous()
before = fusion_attention(kernel, image, few, padding[:, :5], bias, heads)

_, most = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, most))
for _ in range(2):
    try:
        fusion_attention(kernel, image, folded, padding, bias, heads)
    except KernelMemoryError as error:
        print(error)
after = fusion_attention(kernel, image, few, padding[:, :5], bias, heads)
print(all(torch.equal(one, other) for one, other in zip(before, after)))
resource.setrlimit(resource.RLIMIT_AS, (most, most))
fused, seen = fusion_attention(kernel, image, folded, padding, bias, heads)
print(bool(fused.isfinite().all() and seen.isfinite().all()))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits are for Linux")
def test_a_process_whose_memory_runs_out_gets_an_error_and_goes_on() -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", FUSE_WITH_LITTLE_MEMORY],
        cwd=Path(referdino_core.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    complaint = (
        "The CPU kernel for fusion attention ran out of memory: "
        "use smaller images or fewer commands, or free memory."
    )
    assert outcome.returncode == 0, f"{outcome.returncode}: {outcome.stderr}"
    assert outcome.stdout.splitlines() == [complaint, complaint, "True", "True"]


def test_the_error_is_one_for_either_kind_of_handler() -> None:
    assert issubclass(KernelMemoryError, ReferDINOError)
    assert issubclass(KernelMemoryError, MemoryError)
