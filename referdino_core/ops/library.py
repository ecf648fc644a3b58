# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The shared library of CPU kernels: signatures of its functions, and selection for tensors."""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from referdino_core.errors import ReferDINOError
from referdino_core.ops import BUILD_COMMAND
from referdino_core.ops.loading import OtherProcessorError, libraries, open_library

_log = logging.getLogger("referdino.kernels")

_POINTER, _INDEX, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int

_SIGNATURES = {
    "referdino_deformable_attention_forward": (*[_POINTER] * 5, *[_INDEX] * 6, _INT),
    "referdino_deformable_attention_backward": (*[_POINTER] * 8, *[_INDEX] * 6, _INT),
    "referdino_deformable_inference": (*[_POINTER] * 5, *[_INDEX] * 8, *[_INT] * 2),
    "referdino_window_attention": (*[_POINTER] * 6, *[_INDEX] * 6, *[_INT] * 2),
    "referdino_has_fast_matmul": (),
    "referdino_packed_size": (_INDEX, _INDEX),
    "referdino_pack_linear": (_POINTER, _INDEX, _INDEX, _POINTER),
    "referdino_linear": (
        _POINTER, _INDEX, _INDEX, *[_POINTER] * 2, _INDEX, _POINTER, _INT, _POINTER, _INT,
    ),
    "referdino_feed_forward": (*[_POINTER] * 2, _INDEX, _POINTER, _INT),
    "referdino_attention_block": (
        *[_POINTER] * 5, _INDEX, *[_POINTER] * 2, *[_INDEX] * 3, _INT,
    ),
    "referdino_deformable_block": (
        *[_POINTER] * 3, _INDEX, *[_POINTER] * 2, _INDEX, _POINTER, *[_INDEX] * 2, _POINTER,
        *[_INDEX] * 2, _INT,
    ),
    "referdino_window_block": (*[_POINTER] * 3, *[_INDEX] * 2, _INT),
    "referdino_convolution": (*[_POINTER] * 4, *[_INDEX] * 6, _INT),
    "referdino_group_norm": (*[_POINTER] * 4, *[_INDEX] * 4, ctypes.c_float, _INT),
    "referdino_fusion_attention": (*[_POINTER] * 6, *[_INDEX] * 6, _INT),
}  # fmt: skip
# Functions that return a value rather than a status.
_RETURN_TYPES = {"referdino_has_fast_matmul": _INT, "referdino_packed_size": _INDEX}

# ``Status`` of exports.h.
_DONE, _TOO_MANY_SAMPLES, _OUT_OF_MEMORY = 0, 1, 2


class KernelError(ReferDINOError):
    """A CPU kernel failed; its output is invalid, but later calls work."""


class KernelMemoryError(KernelError, MemoryError):
    """A CPU kernel could not allocate memory for intermediate results."""


class KernelLibrary:
    """A loaded library of CPU kernels.

    The modules of the operators call their functions through `functions`. Tensors are contiguous
    and on the CPU; the number of threads is ``torch.get_num_threads()`` at each call. Functions
    raise KernelMemoryError if memory runs out, and KernelError for any other failure.
    """

    def __init__(self, path: Path) -> None:
        """Load the library at ``path``.

        Raises:
            OtherProcessorError: it is built for another processor.
            OSError: it cannot be loaded, or is built from other sources.
        """
        self.functions = open_library(path)
        try:
            for name, arguments in _SIGNATURES.items():
                function = getattr(self.functions, name)
                function.argtypes = arguments
                function.restype = _RETURN_TYPES.get(name, _INT)
                if name not in _RETURN_TYPES:
                    function.errcheck = _check_status
        except AttributeError as error:
            raise OSError(f"{path.name} is not a library of referdino's kernels") from error
        self.path = path
        self.has_fast_matmul = bool(self.functions.referdino_has_fast_matmul())
        """Whether its matrix multiplications, with fused multiply-adds, outrun PyTorch's."""


@functools.cache
def kernel_library() -> KernelLibrary | None:
    """The CPU kernels; None, with one line in the log, if they are unavailable."""
    library: KernelLibrary | None = None
    damage: OSError | None = None
    refusal: OSError | None = None
    for path in libraries():
        try:
            library = KernelLibrary(path)
            break
        except OtherProcessorError as error:
            refusal = refusal or error
        except OSError as error:
            damage = damage or error
    complaint = damage or (None if library else refusal)
    if complaint is not None:
        _log.warning(
            "the fused CPU kernel cannot be loaded (%s): using %s (build it again with: %s)",
            " ".join(str(complaint).split()),
            library.path.name if library else "the slower portable version",
            BUILD_COMMAND,
        )
    elif library is None:
        _log.warning(
            "the fused CPU kernel is not built: using the slower portable version "
            "(build it with: %s)",
            BUILD_COMMAND,
        )
    return library


def kernel_status() -> str:
    """Status of the fused CPU kernels in one line, with how to build them if unavailable."""
    library = kernel_library()
    if library is not None:
        return f"fused ({library.path.name})"
    reason = "cannot be loaded" if libraries() else "not built"
    return f"portable (the fused kernel is {reason}; build it with: {BUILD_COMMAND})"


def is_recorded() -> bool:
    """Whether a graph is being recorded for another runtime, which cannot call the kernels."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def kernels_for(
    *tensors: Tensor, types: tuple[torch.dtype, ...] = (torch.float32,)
) -> KernelLibrary | None:
    """The CPU kernels if they support these tensors; None if PyTorch has to compute the formula.

    It is None for tensors of another device or type, without a library, and while a graph is
    recorded.
    """
    for tensor in tensors:
        if not tensor.is_cpu or tensor.dtype not in types:
            return None
    return None if is_recorded() else kernel_library()


def matmul_kernels_for(*tensors: Tensor) -> KernelLibrary | None:
    """`kernels_for`, or None if PyTorch's matrix multiplications are faster."""
    library = kernels_for(*tensors)
    return library if library is not None and library.has_fast_matmul else None


def _check_status(status: int, function: Any, arguments: tuple[Any, ...]) -> int:
    if status in (_DONE, _TOO_MANY_SAMPLES):
        return status
    name = str(function.__name__).removeprefix("referdino_").replace("_", " ")
    if status == _OUT_OF_MEMORY:
        raise KernelMemoryError(
            f"The CPU kernel for {name} ran out of memory: "
            "use smaller images or fewer commands, or free memory."
        )
    raise KernelError(f"The CPU kernel for {name} failed.")
