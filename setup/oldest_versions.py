# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Runs tests of the core with the releases of Ubuntu 22.04 and the oldest PyTorch, for
`make test-oldest`.

The environment is made in `build/oldest` with the Python that $OLDEST_PYTHON names, by default
python3.10. TORCH_INDEX is as for set-up.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from running import REPOSITORY, SCRIPTS, SetUpError, output_of, run, say

FOLDER = REPOSITORY / "build" / "oldest"
PYTHON = FOLDER / "bin" / "python"
OPERATORS = REPOSITORY / "referdino_core" / "ops"
# What Ubuntu 22.04 installs for ROS 2 Humble, and the oldest PyTorch that pyproject.toml takes.
RELEASE = "3.10"
RELEASES = {
    "numpy": "1.21.5",
    "opencv-python-headless": "4.5.4.60",
    "scipy": "1.8.0",
    "torch": "2.4.0",
}
# What the oldest environment lacks, as patterns below test/; all other tests run.
LEFT_OUT = {
    "ROS": (
        "ros/* ros/*/* demo/* repository/test_packaging.py replay/test_clocks.py "
        "replay/test_run.py backends/test_exported_backend.py"
    ),
    "other runtimes": (
        "export/* ops/test_cuda_* repository/test_gpu_benchmark.py backends/tensorrt/* "
        "backends/test_selection.py backends/test_fallback.py backends/test_cuda_graph_* "
        "backends/test_onnx_*"
    ),
    "the world and training": (
        "evaluation/benchmarks/* evaluation/ground_truth/test_annotations.py "
        "evaluation/test_hidden_targets.py evaluation/test_whole_clip.py "
        "optimize/test_precision.py network/test_single_frame.py session/test_frame_rates.py "
        "training/test_training.py training/test_video_training.py world/*"
    ),
    "the report and many recordings at once": (
        "report/* batch/test_batches.py batch/test_recordings.py batch/test_workers.py"
    ),
    "an installed program": (
        "cli/* core/test_installation.py repository/test_set_up.py session/test_start_up.py"
    ),
    "a build of the kernels for each test": (
        "ops/test_kernels.py ops/test_kernel_build.py ops/test_kernel_memory.py"
    ),
}


def main() -> int:
    """Make the environment and run the tests; the exit status is theirs."""
    try:
        install(interpreter())
        build_kernels()
    except SetUpError as error:
        print(f"test-oldest: {error}", file=sys.stderr)
        return 1
    return subprocess.run([PYTHON, "-m", "pytest", *tests()], cwd=REPOSITORY).returncode


def tests() -> list[str]:
    """The files of the tests that need nothing of what is left out, one argument each."""
    folder = REPOSITORY / "test"
    left_out = {
        file
        for patterns in LEFT_OUT.values()
        for pattern in patterns.split()
        for file in folder.glob(pattern)
    }
    files = sorted(set(folder.rglob("test_*.py")) - left_out)
    return [str(file.relative_to(REPOSITORY)) for file in files]


def interpreter() -> str:
    """The Python that the environment is made with.

    Raises:
        SetUpError: there is none of the right release.
    """
    python = os.environ.get("OLDEST_PYTHON") or f"python{RELEASE}"
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        found = subprocess.run([python, "-c", program], capture_output=True, text=True)
    except OSError as error:
        found = subprocess.CompletedProcess([], 1, "", str(error))
    if found.returncode != 0 or found.stdout.strip() != RELEASE:
        raise SetUpError(
            f"not run: {python} is no Python {RELEASE} that works here; install one, or name it "
            "with OLDEST_PYTHON="
        )
    return python


def install(python: str) -> None:
    """Create the environment, unless it is there, and install the releases into it."""
    if not PYTHON.exists():
        say(f"creating the virtual environment {FOLDER} (Python {RELEASE})")
        run([python, "-m", "venv", "--clear", FOLDER], "Python cannot create virtual environments")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    updated = [*pip, "--requirement", REPOSITORY / "requirements" / "pip.txt"]
    run(updated, "pip could not be updated: see its message above")
    declared = output_of(
        [PYTHON, SCRIPTS / "declared_dependencies.py", REPOSITORY / "pyproject.toml", "replay"]
    )
    others = [line for line in declared.splitlines() if name_of(line) not in RELEASES]
    exact = [f"{name}=={version}" for name, version in RELEASES.items()]
    if os.environ.get("TORCH_INDEX"):
        pip += ["--extra-index-url", os.environ["TORCH_INDEX"]]
    say(f"installing {', '.join(exact)} and the rest ...")
    run(
        [*pip, *exact, *others, "pytest", "pytest-timeout"],
        "pip could not install the oldest releases: see its message above",
    )


def build_kernels() -> None:
    """Build the fused kernels unless they are there: tests need them."""
    if any(OPERATORS.glob("libreferdino_kernels*.so")):
        return
    say("building the fused kernels ...")
    run(
        [PYTHON, "-m", "referdino_core.ops.build"],
        "the kernels could not be built: see the compiler's message above",
    )


def name_of(requirement: str) -> str:
    """The package that a requirement is about."""
    return re.split(r"[^\w-]", requirement)[0]


if __name__ == "__main__":
    sys.exit(main())
