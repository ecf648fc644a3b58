# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT plugin's own code, called in TensorRT's order, with the kernel's threads on the CPU.

It is compiled against declarations of TensorRT's interfaces, and against TensorRT's own headers
where TENSORRT_ROOT names them. What calls it is a driver, since a real library runs plugins only
on GPUs; backends/tensorrt/test_builder.py has a real library build with it.
"""

from __future__ import annotations

import ctypes

import pytest
import torch
from cuda_kernel_cases import (
    DECLARED,
    PAIRS,
    PLUGINS,
    Call,
    assert_agrees,
    compile_library,
    judge,
    make_call,
)
from real_tensorrt import header_folders
from torch import Tensor

HEADERS = dict(zip(("declared", "real"), header_folders(), strict=False))
DATA_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 7}
"""TensorRT's numbers of them."""


@pytest.fixture(scope="module", params=HEADERS.values(), ids=HEADERS)
def plugin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The plugin with the kernel's threads on the CPU, and calls in TensorRT's order."""
    library = compile_library(
        tmp_path_factory.mktemp("plugin") / "plugin.so",
        *request.param,
        "-Wall",
        "-Werror",
        PLUGINS / "deformable_attention_plugin.cpp",
        DECLARED / "host_kernel.cpp",
        DECLARED / "plugin_driver.cpp",
    )
    loaded = ctypes.CDLL(str(library))
    loaded.last_complaint.restype = loaded.description.restype = ctypes.c_char_p
    loaded.creates.argtypes = (
        ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_char_p,
    )  # fmt: skip
    return loaded


def drive(plugin: ctypes.CDLL, call: Call) -> tuple[int, Tensor, list[int]]:
    """Status, output and announced shape of a whole life of the plugin."""
    value, shapes, locations, logits = call
    inputs = (value, locations, logits)
    sides = [side for shape in shapes for side in shape]
    extents = [extent for tensor in inputs for extent in (*tensor.shape, 0)[:5]]
    output = value.new_zeros(value.shape[0], locations.shape[1], value[0, 0].numel())
    announced = (ctypes.c_int64 * 3)()
    status = plugin.drive(
        (ctypes.c_int64 * len(sides))(*sides),
        len(sides),
        (ctypes.c_int64 * 15)(*extents),
        (ctypes.c_int32 * 3)(*[tensor.dim() for tensor in inputs]),
        (ctypes.c_int32 * 3)(*[DATA_TYPES[tensor.dtype] for tensor in inputs]),
        (ctypes.c_void_p * 3)(*[tensor.data_ptr() for tensor in inputs]),
        ctypes.c_void_p(output.data_ptr()),
        announced,
    )
    return status, output, list(announced)


@pytest.mark.parametrize("value_type, logits_type", PAIRS)
def test_plugin_called_by_a_driver_agrees_with_the_portable_version(
    plugin, value_type, logits_type
):
    call = make_call("encoder-like", value_type, logits_type)
    status, output, announced = drive(plugin, call)
    assert status == 0, plugin.last_complaint()
    assert announced == list(output.shape)
    assert_agrees(output, judge(call))


def test_plugin_called_by_a_driver_has_the_names_of_the_graph(plugin):
    expected = b"ReferdinoDeformableAttention 1 referdino spatial_shapes"
    assert plugin.description() == expected


def test_plugin_called_by_a_driver_refuses_tensors_that_do_not_fit(plugin):
    value, shapes, locations, logits = make_call("nano-like", torch.float32, torch.float32)
    configuring = 4
    assert drive(plugin, (value[:, 1:].contiguous(), shapes, locations, logits))[0] == configuring
    assert b"number of tokens differs" in plugin.last_complaint()
    assert drive(plugin, (value, shapes, locations, logits[..., 1:].contiguous()))[0] == configuring
    assert b"do not match" in plugin.last_complaint()
    assert drive(plugin, (value[..., 0].contiguous(), shapes, locations, logits))[0] == configuring
    assert b"takes value (N, S, M, D)" in plugin.last_complaint()


def test_plugin_called_by_a_driver_takes_the_types_that_it_says(plugin):
    single, half, brain, whole = 0, 1, 7, 3
    linear, packed = 0, 1
    taken = {
        (low, single, logits, low) for low in (single, half, brain) for logits in (low, single)
    }
    for types in [
        (value, locations, logits, output)
        for value in (single, half, brain, whole)
        for locations in (single, half)
        for logits in (single, half, brain, whole)
        for output in (single, half, brain, whole)
    ]:
        numbers = (ctypes.c_int32 * 4)(*types)
        assert plugin.supports(numbers, linear) == (types in taken), types
        assert plugin.supports(numbers, packed) == 0


def test_plugin_called_by_a_driver_refuses_attributes_that_are_no_levels(plugin):
    whole, wide, single = 5, 10, 1
    attributes = {
        b"": ([15, 20, 8, 10], whole, b"spatial_shapes"),
        b"not height, width": ([15, 20, 8], whole, b"spatial_shapes"),
        b"size that is not positive or too large": ([15, 2**40], wide, b"spatial_shapes"),
        b"not a list of integers": ([15, 20], single, b"spatial_shapes"),
        b"is missing": ([15, 20], whole, b"other"),
        b"1 to 16 levels": ([1] * 34, whole, b"spatial_shapes"),
    }
    for complaint, (numbers, type_number, name) in attributes.items():
        kind = ctypes.c_int64 if type_number == wide else ctypes.c_int32
        made = plugin.creates((kind * len(numbers))(*numbers), len(numbers), type_number, name)
        assert bool(made) == (complaint == b"")
        assert complaint in plugin.last_complaint()
