# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The workflows and hooks of contributors say what the rest of the repository says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from repository import REPOSITORY

yaml = pytest.importorskip("yaml")

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def jobs(name: str) -> dict[str, Any]:
    """The jobs of a workflow."""
    return yaml.safe_load((REPOSITORY / ".github" / "workflows" / name).read_text())["jobs"]


def steps(path: Path) -> list[dict[str, Any]]:
    """The steps of all jobs of a workflow."""
    return [step for job in jobs(path.name).values() for step in job["steps"]]


def test_actions_are_pinned_to_commits() -> None:
    assert {path.stem for path in WORKFLOWS} == {"docs", "lint", "ros", "test"}
    for path in WORKFLOWS:
        for line in re.findall(r"uses: (.+)$", path.read_text(), re.MULTILINE):
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_workflows_only_read_the_repository() -> None:
    for path in WORKFLOWS:
        content = yaml.safe_load(path.read_text())
        assert content["permissions"] == {"contents": "read"}
        for step in steps(path):
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_workflows_run_targets_of_the_makefile() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    commands = [step.get("run", "") for path in WORKFLOWS for step in steps(path)]
    called = {target for run in commands for target in re.findall(r"\bmake ([a-z-]+)", run)}
    assert called == {"docs", "lint", "test", "test-fast"}
    assert called <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_every_supported_python_is_tested() -> None:
    tested = jobs("test.yml")["fast"]["strategy"]["matrix"]["python"]
    set_up = (REPOSITORY / "setup" / "prepare.py").read_text()
    [oldest, newest] = re.findall(
        r"OLDEST_PYTHON, NEWEST_PYTHON = \(3, (\d+)\), \(3, (\d+)\)", set_up
    )[0]
    assert tested == [f"3.{minor}" for minor in range(int(oldest), int(newest) + 1)]


def test_robots_packages_are_those_of_the_readme() -> None:
    told = re.search(r'^pip install ("numpy<2" torch .+?)(?: +#.*)?$', readme(), re.MULTILINE)
    assert told is not None
    [run] = [step["run"] for step in steps(WORKFLOWS[2]) if "pip install" in step.get("run", "")]
    assert run.rstrip().endswith(told[1])


def readme() -> str:
    return (REPOSITORY / "README.md").read_text()


def test_hooks_have_the_releases_that_the_package_declares() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0][
        "hooks"
    ]
    pinned = [one for hook in hooks for one in hook.get("additional_dependencies", [])]
    assert all(re.fullmatch(r"[\w\[\]-]+==[\d.]+", one) for one in pinned)
    declared = re.findall(r'"ruff~=(\d+\.\d+)\.(\d+)"', (REPOSITORY / "pyproject.toml").read_text())
    assert declared
    for series, least in declared:
        for one in pinned:
            if one.startswith("ruff=="):
                release, patch = one.removeprefix("ruff==").rsplit(".", 1)
                assert release == series and int(patch) >= int(least)


def test_packages_carry_their_types() -> None:
    for package in ("referdino_core", "referdino_ros"):
        assert (REPOSITORY / package / "py.typed").is_file()
    assert '"py.typed"' in (REPOSITORY / "pyproject.toml").read_text()
