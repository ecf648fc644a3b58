# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which library of CPU kernels is loaded, and that one for another processor never runs."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from deformable_attention_cases import CASES, make_inputs
from kernel_packages import (
    assert_falls_back,
    call_twice,
    compile_library,
    library_of,
    package_without_libraries,
)

from referdino_core.ops import loading
from referdino_core.ops.deformable_attention import portable_deformable_attention
from referdino_core.ops.library import KernelLibrary, kernel_library, kernel_status
from referdino_core.ops.loading import (
    ANY_PROCESSORS_LIBRARY,
    FOLDER,
    OtherProcessorError,
    libraries,
    requirements,
)

pytestmark = pytest.mark.slow

only_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="libraries are for x86-64")
V3, V4 = (FOLDER / f"libreferdino_kernels_x86-64-{level}.so" for level in ("v3", "v4"))
EMULATOR = shutil.which("qemu-x86_64")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that has no libraries."""
    return package_without_libraries(tmp_path)


def known_features() -> list[str]:
    """The features that the library can be asked for, on processors of any kind."""
    return re.findall(r'\{"(\w+)", REFERDINO_USES', (FOLDER / "csrc" / "processor.cpp").read_text())


# ---- Which libraries there are ----


@only_x86
def test_the_libraries_for_newer_processors_come_first() -> None:
    declared = json.loads((FOLDER / "variants.json").read_text(encoding="utf-8"))
    names = [f"lib{variant['library']}.so" for variant in declared["variants"]]
    assert [path.name for path in libraries()] == names[::-1]


@only_x86
def test_libraries_say_what_they_need() -> None:
    assert requirements(ANY_PROCESSORS_LIBRARY) == ()
    assert {"avx2", "fma"} < set(requirements(V3)) < set(requirements(V4))
    assert not [feature for feature in requirements(V3) if feature.startswith("avx512")]
    assert set(requirements(V4)) - set(requirements(V3)) == {
        "avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl",
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("nm") is None, reason="there are no binutils here")
@pytest.mark.parametrize("library", libraries(), ids=lambda path: path.stem)
def test_libraries_share_no_symbol_and_run_nothing_when_they_are_loaded(library: Path) -> None:
    """A function of one library must not stand in for another's, which may be for any processor."""
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", "-f", "posix", library],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.split()[0] for line in listing.stdout.splitlines()]
    assert "referdino_processor_has" in names
    assert [name for name in names if not name.startswith("referdino_")] == []
    everything = subprocess.run(["nm", library], capture_output=True, text=True, check=True).stdout
    assert "_GLOBAL__sub_I" not in everything


# ---- What the processor has ----


def linux_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


@pytest.mark.skipif(not linux_flags(), reason="there is no /proc/cpuinfo with flags")
def test_detected_cpu_features_match_those_that_linux_reports() -> None:
    assert len(known_features()) > 50
    found = {feature for feature in known_features() if loading._processor_has(feature)}
    assert found == linux_flags() & set(known_features())


def test_a_feature_that_nobody_knows_is_not_there() -> None:
    assert not loading._processor_has("avx4096")


# ---- Which one is chosen ----


@only_x86
@pytest.mark.parametrize(
    ("lacking", "chosen"),
    [
        ((), V4),
        (("avx512bw",), V3),
        (("avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "movbe"), None),
        (("avx2",), None),
    ],
    ids=["nothing", "a part of AVX-512", "a part of v3", "AVX2"],
)
def test_on_a_simulated_processor_that_lacks_something_the_next_library_is_chosen(
    lacking: tuple[str, ...], chosen: Path | None, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    here = loading._processor_has
    best = libraries()[-1] if chosen is None else chosen
    if not all(map(here, requirements(best))):
        pytest.skip(f"this processor cannot run {best.name}")
    monkeypatch.setattr(loading, "_processor_has", lambda name: name not in lacking and here(name))
    kernel = kernel_library.__wrapped__()
    assert kernel is not None
    assert kernel.path == best
    assert caplog.records == []


def test_the_status_names_the_library() -> None:
    kernel = kernel_library()
    assert kernel is not None
    assert kernel_status() == f"fused ({kernel.path.name})"


# ---- What is refused ----


def test_missing_library_falls_back_with_one_line(package: Path) -> None:
    assert_falls_back(package, "is not built", "not built")


def test_broken_library_falls_back_with_one_line(package: Path) -> None:
    library_of(package).write_bytes(b"\x7fELF" + bytes(500))
    assert_falls_back(package, "cannot be loaded", "cannot be loaded")


def test_another_library_replaces_a_broken_one_with_one_warning(package: Path) -> None:
    shutil.copy(ANY_PROCESSORS_LIBRARY, library_of(package))
    broken = package / "ops" / "libreferdino_kernels_broken.so"
    broken.write_bytes(b"\x7fELF" + bytes(500))
    is_portable, status, [line] = call_twice(package)
    assert (is_portable, status) == (False, f"fused ({ANY_PROCESSORS_LIBRARY.name})")
    assert f"({broken.name} is not a library" in line
    assert f"using {ANY_PROCESSORS_LIBRARY.name} (build it again" in line


# No processor has both.
FEATURES_THAT_FEW_HAVE = {
    "amx_tile": ("-mamx-tile", "_tile_release()"),
    "xop": ("-mxop", "number = _mm_cvtsi128_si32(_mm_macc_epi32(four, four, four))"),
}
ENDS_WHERE_IT_IS_LOADED = """
#include <x86intrin.h>
volatile int number = 1;
__attribute__((constructor)) void begin() {{
  [[maybe_unused]] const __m128i four = _mm_set1_epi32(number);
  {instruction};
}}
"""


def build_for(package: Path, feature: str) -> Path:
    """A library that uses a feature in the very moment in which it is loaded."""
    flag, instruction = FEATURES_THAT_FEW_HAVE[feature]
    source = ENDS_WHERE_IT_IS_LOADED.format(instruction=instruction)
    library = package / "ops" / f"libreferdino_kernels_{feature}.so"
    if not compile_library(
        library, source, flag, "-I", FOLDER / "csrc", FOLDER / "csrc" / "processor.cpp"
    ):
        pytest.skip(f"the compiler does not know {flag}")
    assert feature in requirements(library)
    return library


def a_feature_that_is_not_here() -> str:
    return next(name for name in FEATURES_THAT_FEW_HAVE if not loading._processor_has(name))


@only_x86
def test_a_library_for_a_feature_that_the_processor_lacks_is_refused_with_one_line(
    package: Path,
) -> None:
    feature = a_feature_that_is_not_here()
    library = build_for(package, feature)
    loaded = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(library)!r})"], check=False
    )
    assert loaded.returncode == -signal.SIGILL, "the library is no danger: nothing is tested"
    built_for = "is built for a processor with "
    assert_falls_back(package, f"({library.name} {built_for}", "cannot be loaded")
    by_hand = library.replace(library_of(package))
    assert_falls_back(package, f"({by_hand.name} {built_for}", "cannot be loaded")


@only_x86
def test_beside_a_library_for_another_processor_the_best_other_one_serves(package: Path) -> None:
    library = build_for(package, a_feature_that_is_not_here())
    for path in libraries():
        shutil.copy(path, package / "ops")
    with pytest.raises(OtherProcessorError, match=f"^{library.name} is built for a processor with"):
        KernelLibrary(library)
    assert call_twice(package) == (False, kernel_status(), [])


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("referdino kernels, version 77, need:;", "was built from version 77"),
        ("referdino kernels, version 8, need:;", "is not a library of referdino's kernels"),
        ("something else", "is not a library of referdino's kernels"),
    ],
    ids=["another version", "no functions", "another library"],
)
def test_library_of_other_sources_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    library = tmp_path / "other.so"
    assert compile_library(library, f'extern const char text[];\nconst char text[] = "{text}";\n')
    with pytest.raises(OSError, match=complaint):
        KernelLibrary(library)


# ---- On an older processor, which an emulator stands in for ----

PROCESSORS = {
    "Nehalem": ANY_PROCESSORS_LIBRARY,  # without AVX
    "Haswell,-xsave": ANY_PROCESSORS_LIBRARY,  # with AVX2, but a system that saves no such register
    "Haswell": V3,
}
HAS = """
import ctypes, sys
has = ctypes.CDLL(sys.argv[1]).referdino_processor_has
print(*[name for name in sys.argv[2:] if has(name.encode())])
"""
NORMALISE = """
import ctypes, sys
grid, output = (ctypes.c_float * 1024)(*range(1024)), (ctypes.c_float * 1024)()
scale = (ctypes.c_float * 32)(*[1.0] * 32)
ctypes.CDLL(sys.argv[1]).referdino_group_norm(
    grid, scale, scale, output, *map(ctypes.c_int64, (1, 32, 32, 4)), ctypes.c_float(1e-5), 1)
"""
# PyTorch's grid_sample is no judge here: under some emulators it is wrong.
ATTEND = """
import logging, sys, torch
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
from referdino_core.ops.library import kernel_status
from referdino_core.ops.deformable_attention import multi_scale_deformable_attention
*inputs, expected = torch.load(sys.argv[1])
torch.testing.assert_close(multi_scale_deformable_attention(*inputs), expected)
print(kernel_status())
"""

emulated = pytest.mark.skipif(
    EMULATOR is None or platform.machine() != "x86_64",
    reason="there is no emulator of x86-64: apt install qemu-user",
)


def emulate(processor: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Python on another processor.

    The site's start-up files are left out: they may start Python anew, outside of the emulator.
    """
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    assert EMULATOR is not None
    return subprocess.run(
        [EMULATOR, "-cpu", processor, interpreter, "-S", "-c", *arguments],
        cwd=FOLDER.parent.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


@emulated
@pytest.mark.parametrize("processor", PROCESSORS)
def test_an_emulated_processor_has_what_the_chosen_library_needs_and_no_other_one_does(
    processor: str,
) -> None:
    outcome = emulate(processor, HAS, ANY_PROCESSORS_LIBRARY, *known_features())
    here = set(outcome.stdout.split())
    for library in libraries():
        runs = emulate(processor, NORMALISE, library).returncode == 0
        assert runs == (set(requirements(library)) <= here)
    fitting = [library for library in libraries() if set(requirements(library)) <= here]
    assert fitting[0] == PROCESSORS[processor]


@emulated
@pytest.mark.parametrize("processor", ["Nehalem", "Haswell"])
def test_on_an_emulated_processor_the_fitting_library_computes(
    processor: str, tmp_path: Path
) -> None:
    inputs = make_inputs(*CASES["nano-like"])
    file = tmp_path / "inputs.pt"
    torch.save((*inputs, portable_deformable_attention(*inputs)), file)
    outcome = emulate(processor, ATTEND, file)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == f"fused ({PROCESSORS[processor].name})\n"
    assert "referdino" not in outcome.stderr
