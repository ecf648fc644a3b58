# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated GPU that counts what makes the host wait: it computes on the CPU.

Its tensors say that they are on the device `meta`, so that whatever reads their values has to copy
them first. As with a GPU, a tensor of the host cannot be mixed with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
ATEN = torch.ops.aten
READS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2")
"""Operators whose result the host, or the shape of the result, depends on."""
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")


class DeviceTensor(torch.Tensor):
    """A tensor of the simulated device; `values` holds what it holds."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> DeviceTensor:
        # A tensor of the inference mode could not be a view.
        with torch.inference_mode(False):
            tensor = torch.Tensor._make_wrapper_subclass(
                cls,
                values.shape,
                strides=values.stride(),
                storage_offset=values.storage_offset(),
                dtype=values.dtype,
                device=DEVICE,
            )
        tensor.values = values
        return tensor

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        raise RuntimeError(f"{function} outside of the simulation")


def values_of(entry: Any) -> Any:
    """A tensor's values where it is on the simulated device, anything else as it is."""
    return entry.values if isinstance(entry, DeviceTensor) else entry


def on_device(entry: Any) -> Any:
    """A tensor's values put on the device, anything else as it is."""
    return DeviceTensor(entry) if isinstance(entry, Tensor) else entry


class _Operators(TorchDispatchMode):
    """Runs operators on the values, and counts copies and reads."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = dict(options or {})
        with self:
            # In inference mode operators come whole that are made of others elsewhere.
            result = function.decompose(*arguments, **options)
        if result is not NotImplemented:
            return result
        name = function.overloadpacket.__name__
        tensors = [one for one in tree_leaves((arguments, options)) if isinstance(one, Tensor)]
        given = any(isinstance(one, DeviceTensor) for one in tensors)
        wanted = options.get("device")
        result_there = given if wanted is None else torch.device(wanted) == DEVICE
        if wanted is not None and result_there:
            options["device"] = torch.device("cpu")
        is_copy = name in ("_to_copy", "copy_")
        if given and not is_copy:
            self._check(function, name, arguments, tensors)
        if is_copy:
            result_there = self._count_copy(name, arguments, options, result_there)
        result = function(*tree_map(values_of, arguments), **tree_map(values_of, options))
        if (name.endswith("_") and not name.endswith("__")) or "out" in options:
            return arguments[0]
        return tree_map(on_device, result) if result_there else result

    def _check(self, function: Any, name: str, arguments: Any, tensors: list[Tensor]) -> None:
        if name in READS:
            self.counts["reads"] += 1
        indices = tree_leaves(arguments[1]) if name in INDEXING else []
        for index in indices:
            if isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8):
                self.counts["reads"] += 1
            elif isinstance(index, Tensor) and not isinstance(index, DeviceTensor):
                self.counts["blocking uploads"] += 1
        for tensor in tensors:
            is_host = not isinstance(tensor, DeviceTensor) and tensor.dim() > 0
            if is_host and not any(tensor is index for index in indices):
                raise RuntimeError(f"{function}: tensors of the host and of the device are mixed")

    def _count_copy(
        self, name: str, arguments: Any, options: Mapping[str, Any], result_there: bool
    ) -> bool:
        source = arguments[1] if name == "copy_" else arguments[0]
        if name == "copy_":
            result_there = isinstance(arguments[0], DeviceTensor)
            non_blocking = bool(arguments[2]) if len(arguments) > 2 else False
            is_scalar = source.dim() == 0
        else:
            non_blocking = bool(options.get("non_blocking", False))
            is_scalar = False
        if isinstance(source, DeviceTensor) and not result_there:
            self.counts["downloads"] += 1
        elif result_there and not isinstance(source, DeviceTensor) and not is_scalar:
            self.counts["uploads" if non_blocking else "blocking uploads"] += 1
        return result_there


class _Constructors(TorchFunctionMode):
    """Lets tensors that are made of numbers keep their values on the device."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = dict(options or {})
        there = options.get("device") is not None and torch.device(options["device"]) == DEVICE
        if function in (torch.tensor, torch.as_tensor) and there:
            del options["device"]
            return function(*arguments, **options).to(DEVICE)
        if function is torch.Tensor.tolist and isinstance(arguments[0], DeviceTensor):
            return arguments[0].cpu().tolist()
        if function is torch.Tensor.new_tensor and isinstance(arguments[0], DeviceTensor):
            like = arguments[0].values
            return like.new_tensor(*arguments[1:], **options).to(DEVICE)
        return function(*arguments, **options)


@contextmanager
def simulated_device() -> Iterator[Counter[str]]:
    """While it lasts, what is put on the device `meta` keeps its values there.

    Yields:
        Counts of downloads, reads (whose result the host waits for), uploads and blocking uploads.
    """
    counts: Counter[str] = Counter()
    with _Constructors(), _Operators(counts):
        yield counts


def waits(counts: Mapping[str, int]) -> int:
    """How often the host waited for the device."""
    return sum(counts.get(name, 0) for name in ("downloads", "reads", "blocking uploads"))


def put_on_device(model: nn.Module) -> None:
    """Move a model's weights to the simulated device, inside of the simulation."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                moved = DeviceTensor(weight.detach())
                module._parameters[name] = nn.Parameter(moved, requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = DeviceTensor(buffer)
