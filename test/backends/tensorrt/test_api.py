# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What we use of TensorRT, held to the real bindings of two releases; no GPU, no library needed."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest
from real_tensorrt import require_library
from real_tensorrt_bindings import RELEASES, Bindings, open_bindings
from repository import REPOSITORY
from simulated_tensorrt import Simulation
from tensorrt_use import check

pytestmark = pytest.mark.slow

SOURCES = REPOSITORY / "referdino_core" / "backends" / "tensorrt"

ONLY_FOR_RTX = SOURCES / "rtx.py"

if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
    pytest.skip("there are no TensorRT bindings for this machine", allow_module_level=True)

# Without each of these no engine is built or run: that they are found shows that the check sees.
ESSENTIAL = {
    "Builder.build_serialized_network",
    "Builder.create_network",
    "IBuilderConfig.progress_monitor",
    "IBuilderConfig.set_memory_pool_limit",
    "IBuilderConfig.set_timing_cache",
    "ICudaEngine.create_execution_context",
    "ICudaEngine.get_tensor_profile_shape",
    "IExecutionContext.execute_async_v3",
    "IExecutionContext.set_input_shape",
    "IExecutionContext.set_tensor_address",
    "ILogger.log",
    "IOptimizationProfile.set_shape",
    "IPluginRegistry.load_library",
    "IProgressMonitor.phase_finish",
    "IProgressMonitor.phase_start",
    "IProgressMonitor.step_complete",
    "ITimingCache.serialize",
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    "OnnxParser.parse_from_file",
    "ParserError.desc",
    "Runtime.deserialize_cuda_engine",
    "trt.MemoryPoolType",
}

# The same for what only TensorRT for RTX has.
ESSENTIAL_TO_RTX = {
    "trt.ComputeCapability",
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "ICudaEngine.create_runtime_config",
    "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.set_runtime_cache",
}

_MYPY_SETTINGS = """
[mypy]
check_untyped_defs = True
disallow_untyped_defs = True
warn_redundant_casts = True
follow_imports = skip
ignore_missing_imports = True
[mypy-tensorrt.*,tensorrt_bindings.*,referdino_core.backends.*]
follow_imports = silent
"""


@pytest.fixture(scope="module", params=RELEASES)
def bindings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    return open_bindings(request.param, tmp_path_factory.mktemp("libraries"))


@pytest.fixture(scope="module")
def api(bindings: Bindings) -> dict:
    return bindings.describe()


def test_the_bindings_are_those_of_the_release(bindings: Bindings, api: dict) -> None:
    assert api["version"].startswith(f"{bindings.release}.")


def test_every_use_of_tensorrt_exists(api: dict) -> None:
    found = set()
    for path in sorted(set(SOURCES.glob("*.py")) - {ONLY_FOR_RTX}):
        use = check(path.read_text(), api)
        assert use.complaints == [], f"{path.name}, TensorRT {api['version']}"
        found |= use.found
    assert found >= ESSENTIAL


def test_every_use_of_tensorrt_exists_in_tensorrt_for_rtx(tmp_path: Path) -> None:
    require_library()
    rtx = Bindings("1", tmp_path, tmp_path, "tensorrt_rtx_bindings").describe()
    found = set()
    for path in sorted(SOURCES.glob("*.py")):
        use = check(path.read_text(), rtx)
        assert use.complaints == [], f"{path.name}, TensorRT for RTX {rtx['version']}"
        found |= use.found
    assert found >= ESSENTIAL | ESSENTIAL_TO_RTX
    wrong = check("def f(cache: trt.IRuntimeCache):\n    cache.nonsense()", rtx)
    assert wrong.complaints == ["line 2: trt.IRuntimeCache.nonsense does not exist"]


def test_the_simulation_of_other_tests_has_only_what_tensorrt_has(api: dict) -> None:
    simulated = vars(Simulation().module())
    names = {name for name in simulated if name == "__version__" or not name.startswith("__")}
    assert names <= set(api["names"])
    for name in names & set(api["classes"]):
        members = {
            member
            for base in simulated[name].__mro__[:-1]
            for member, value in vars(base).items()
            if not member.startswith("_") and (callable(value) or isinstance(value, property))
        }
        # Enumerations and shapes of ours have methods of Python's own.
        if not issubclass(simulated[name], Enum | tuple):
            assert members <= set(api["classes"][name]), name


def test_only_this_package_uses_tensorrt() -> None:
    for package in ("referdino_core", "referdino_ros"):
        for path in (REPOSITORY / package).rglob("*.py"):
            if SOURCES not in path.parents:
                imports = re.search(r"^\s*(import|from) tensorrt\b", path.read_text(), re.MULTILINE)
                assert not imports, path


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("trt.Nonsense", "trt.Nonsense does not exist"),
        ("trt.BuilderFlag.NONSENSE", "trt.BuilderFlag.NONSENSE does not exist"),
        (
            "def f(builder: trt.Builder):\n    builder.nonsense()",
            "trt.Builder.nonsense does not exist",
        ),
        (
            "def f(b: trt.Builder):\n    n = b.create_network()\n    n.nonsense",
            "trt.INetworkDefinition.nonsense does not exist",
        ),
        (
            "class A:\n    def __init__(self):\n        self.c: trt.IExecutionContext | None = x\n"
            "    def f(self):\n        self.c.execute_async_v9(1)",
            "trt.IExecutionContext.execute_async_v9 does not exist",
        ),
        ("trt.Builder(loggr=1)", "trt.Builder(loggr=1) fits none of"),
        ("trt.Builder(1, 2)", "trt.Builder(1, 2) fits none of"),
        (
            "def f(p: trt.IOptimizationProfile):\n    p.set_shape('x', min=1, opt=2, maximum=3)",
            "fits none of",
        ),
        (
            "class M(trt.IProgressMonitor):\n    def phase_begin(self, phase_name): pass",
            "IProgressMonitor.phase_begin is never called",
        ),
        (
            "class M(trt.IProgressMonitor):\n    def phase_finish(self, name): pass",
            "IProgressMonitor.phase_finish takes other arguments",
        ),
    ],
)
def test_a_made_up_use_is_reported(api: dict, source: str, complaint: str) -> None:
    complaints = check(source, api).complaints
    assert len(complaints) == 1
    assert complaint in complaints[0]


def test_precision_flags_are_reported_where_they_are_gone(api: dict) -> None:
    complaints = check("trt.BuilderFlag.FP16", api).complaints
    gone = not api["version"].startswith("10.")
    assert complaints == (["line 1: trt.BuilderFlag.FP16 does not exist"] if gone else [])


def test_types_agree_with_stubs_of_the_bindings(bindings: Bindings, tmp_path: Path) -> None:
    stubs = bindings.make_type_stubs(tmp_path / "stubs")
    sources = tmp_path / "referdino_core"
    shutil.copytree(
        REPOSITORY / "referdino_core", sources, ignore=shutil.ignore_patterns("models", "*.so")
    )
    package = sources / "backends" / "tensorrt"
    (package / "mistakes.py").write_text(
        "from referdino_core.backends.tensorrt.library import trt\n\n\n"
        "def mistakes(builder: trt.Builder, config: trt.IBuilderConfig) -> None:\n"
        "    builder.create_network(flags='strong')\n"
        "    config.set_flag(trt.BuilderFlag.FP16)\n"
        "    trt.Nonsense()\n"
    )
    errors = mypy(package, stubs, tmp_path)
    wrong = {error.split(":")[1] for error in errors if "/mistakes.py:" in error}
    assert wrong == ({"5", "7"} if bindings.release.startswith("10.") else {"5", "6", "7"})
    assert [error for error in errors if "/mistakes.py:" not in error] == []


def mypy(package: Path, stubs: Path, folder: Path) -> list[str]:
    """The lines with errors that mypy prints for a package; those in the stubs do not count."""
    settings = folder / "mypy.ini"
    settings.write_text(_MYPY_SETTINGS)
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--no-error-summary"]
    command += ["--cache-dir", folder / "cache", package]
    outcome = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(stubs)},
        capture_output=True,
        text=True,
    )
    assert outcome.stderr == ""
    own = f"{package.relative_to(folder)}/"
    return [
        line for line in outcome.stdout.splitlines() if line.startswith(own) and ": error:" in line
    ]


def test_flags_for_strong_typing_follow_the_release(bindings: Bindings) -> None:
    printed = bindings.run(
        "from referdino_core.backends.tensorrt.builder import strong_typing_flags\n"
        "print(strong_typing_flags())\n"
        "print(1 << int(tensorrt_bindings.NetworkDefinitionCreationFlag.STRONGLY_TYPED))"
    )
    ours, flag = map(int, printed.split())
    assert ours == (flag if bindings.release.startswith("10.") else 0)
    assert flag > 0


def test_monitor_and_logger_are_accepted_by_the_bindings(bindings: Bindings) -> None:
    """Both are subclasses of the bindings' own classes; their methods work on real objects."""
    printed = bindings.run(
        """
import json, logging
from referdino_core.progress import ProgressMonitor
from referdino_core.backends.tensorrt.build_progress import BuildObserver
from referdino_core.backends.tensorrt.library import forwarding_logger, last_errors, trt
logging.getLogger("referdino").setLevel(logging.CRITICAL)
logger, told = forwarding_logger(), []
logger.log(trt.ILogger.Severity.ERROR, "first\\nline")
logger.log(trt.ILogger.Severity.WARNING, "harmless")
watched = ProgressMonitor(lambda progress: told.append((progress.fraction, progress.phase)))
monitor = BuildObserver(watched).for_tensorrt()
assert isinstance(monitor, trt.IProgressMonitor) and isinstance(logger, trt.ILogger)
monitor.phase_start("build", None, 2)
goes_on = [monitor.step_complete("build", 0)]
watched.cancelled.set()
goes_on.append(monitor.step_complete("build", 1))
monitor.phase_finish("build")
print(json.dumps([last_errors(logger), goes_on, told]))
"""
    )
    errors, goes_on, told = json.loads(printed)
    assert errors == "first line"
    assert goes_on == [True, False]
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert 0.9 < fractions[-1] <= 1.0
    assert {phase for _, phase in told} == {"build"}


def test_a_library_that_gives_nothing_is_one_clear_error(bindings: Bindings) -> None:
    """The stand-in libraries return no builder and no runtime, as real ones do without a GPU."""
    printed = bindings.run(
        """
from pathlib import Path
import torch
from referdino_core.backends.tensorrt.builder import BuilderOptions, build_engine
from referdino_core.backends.tensorrt.engine import _make_runtime
from referdino_core.errors import BuildError, EngineError
from referdino_core.backends.tensorrt.library import forwarding_logger
from referdino_core.export.stage_io import STAGES
logger = forwarding_logger()
try:
    build_engine(
        Path("x.onnx"), STAGES["readout"], {}, BuilderOptions(), logger, low_precision=torch.float16
    )
except BuildError as error:
    print(error)
try:
    _make_runtime(logger)
except EngineError as error:
    print(error)
"""
    )
    assert printed.splitlines() == [
        "TensorRT cannot start building: TensorRT gave no reason.",
        "TensorRT cannot start: TensorRT gave no reason.",
    ]


def test_types_of_tensors_are_those_of_torch(bindings: Bindings) -> None:
    printed = bindings.run(
        """
from referdino_core.backends.tensorrt.networks import torch_type
from referdino_core.backends.tensorrt.library import trt
for name in ("FLOAT", "HALF", "BF16", "INT32", "BOOL", "INT8"):
    print(torch_type(getattr(trt.DataType, name)))
"""
    )
    assert printed.split() == [
        *("torch.float32", "torch.float16", "torch.bfloat16", "torch.int32", "torch.bool", "None")
    ]
