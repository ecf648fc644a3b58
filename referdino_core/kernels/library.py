# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A shared library of the CPU kernels and the signatures of its functions."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from referdino_core.errors import ReferDINOError
from referdino_core.kernels.loading import open_library

_POINTER, _INDEX, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int

_SIGNATURES = {
    "referdino_deformable_attention_forward": (*[_POINTER] * 5, *[_INDEX] * 6, _INT),
    "referdino_deformable_attention_backward": (*[_POINTER] * 8, *[_INDEX] * 6, _INT),
    "referdino_deformable_inference": (*[_POINTER] * 5, *[_INDEX] * 8, *[_INT] * 2),
    "referdino_window_attention": (*[_POINTER] * 6, *[_INDEX] * 6, *[_INT] * 2),
    "referdino_multiplies_fast": (),
    "referdino_packed_size": (_INDEX, _INDEX),
    "referdino_pack_linear": (_POINTER, _INDEX, _INDEX, _POINTER),
    "referdino_linear": (
        _POINTER, _INDEX, _INDEX, *[_POINTER] * 2, _INDEX, _POINTER, _INT, _POINTER, _INT,
    ),
    "referdino_layer_norm": (*[_POINTER] * 4, *[_INDEX] * 2, ctypes.c_float, _POINTER, _INT),
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
    "referdino_fusion_attention": (*[_POINTER] * 6, *[_INDEX] * 6, _INT),
    "referdino_group_norm": (*[_POINTER] * 4, *[_INDEX] * 4, ctypes.c_float, *[_INT] * 2),
    "referdino_sine_embedding": (*[_POINTER] * 2, *[_INDEX] * 2, _POINTER),
    "referdino_box_embedding": (*[_POINTER] * 2, *[_INDEX] * 2, _POINTER),
    "referdino_pruning_scores": (*[_POINTER] * 3, *[_INDEX] * 3, _INT),
    "referdino_refine_boxes": (*[_POINTER] * 3, _INDEX, ctypes.c_float),
    "referdino_token_similarity": (
        *[_POINTER] * 3, *[ctypes.c_float] * 2, _POINTER, *[_INDEX] * 5, _INT,
    ),
    "referdino_attention": (*[_POINTER] * 6, *[_INDEX] * 9, _INT),
}  # fmt: skip
# What gives no status: what is asked of the library itself.
_ANSWERS = {"referdino_multiplies_fast": _INT, "referdino_packed_size": _INDEX}

# ``Status`` of exports.h.
_DONE, _TOO_MANY_SAMPLES, _OUT_OF_MEMORY = 0, 1, 2


class KernelError(ReferDINOError):
    """A CPU kernel gave up; what it was to compute is worthless, and the next call works."""


class KernelMemoryError(KernelError, MemoryError):
    """A CPU kernel was refused the memory that it needs between its steps."""


class KernelLibrary:
    """The loaded library.

    Every function raises KernelMemoryError where memory runs out, and KernelError where anything
    else fails.
    """

    def __init__(self, path: Path) -> None:
        """Load the library at ``path``.

        Raises:
            OtherProcessorError: it is built for another processor.
            OSError: it cannot be loaded, or is built from other sources.
        """
        library = open_library(path)
        try:
            for name, arguments in _SIGNATURES.items():
                function = getattr(library, name)
                function.argtypes = arguments
                function.restype = _ANSWERS.get(name, _INT)
                if name not in _ANSWERS:
                    function.errcheck = _check_status
        except AttributeError as error:
            raise OSError(f"{path.name} is no library of referdino's kernels") from error
        self._library = library
        self.path = path
        self.has_fast_matmul = bool(library.referdino_multiplies_fast())
        """Whether its matrix products are faster than PyTorch's: it has fused multiply-adds."""


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
