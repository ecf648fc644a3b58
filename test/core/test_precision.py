# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The table of precisions, and that every part of the program takes its names from there."""

from __future__ import annotations

import argparse

import pytest
import torch

from referdino_core.cli import export
from referdino_core.cli.arguments import add_session_arguments
from referdino_core.configuration import RUNTIMES
from referdino_core.precision import PRECISIONS, precisions_of


def test_element_types_are_those_of_pytorch() -> None:
    assert {name: precision.dtype for name, precision in PRECISIONS.items()} == {
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
    }


@pytest.mark.parametrize(
    ("runtime", "on_cpu", "on_gpu"),
    [
        ("torch", ("fp32", "bf16"), ("fp32", "bf16", "fp16")),
        ("onnxruntime", ("fp32",), ("fp32", "fp16")),
        ("tensorrt", (), ("fp32", "fp16")),
    ],
)
def test_runtimes_compute_in_their_precisions(
    runtime: str, on_cpu: tuple[str, ...], on_gpu: tuple[str, ...]
) -> None:
    assert runtime in RUNTIMES
    assert precisions_of(runtime, "cpu") == on_cpu
    assert precisions_of(runtime, "cuda") == on_gpu


def test_commands_offer_all_precisions() -> None:
    parser = argparse.ArgumentParser()
    add_session_arguments(parser)
    commands = argparse.ArgumentParser().add_subparsers()
    export.add_command(commands, argparse.ArgumentParser(add_help=False))
    for one in (parser, commands.choices["export"]):
        (option,) = [action for action in one._actions if action.dest == "precision"]
        assert tuple(option.choices or ()) == tuple(PRECISIONS)
