# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The shared library of the CPU kernels and the signatures of its functions."""

from __future__ import annotations

import ctypes
from pathlib import Path

# PyTorch comes first on purpose: its OpenMP runtime is then the one that the library resolves to,
# and both share one pool of threads.
import torch  # noqa: F401

VERSION = 5

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
_RESULTS = {
    "referdino_deformable_block": _INT,
    "referdino_deformable_inference": _INT,
    "referdino_multiplies_fast": _INT,
    "referdino_packed_size": _INDEX,
}


class KernelLibrary:
    """The loaded library."""

    def __init__(self, path: Path) -> None:
        """Load the library at ``path``; OSError where it cannot be, or is of another version."""
        library = ctypes.CDLL(str(path))
        try:
            version = library.referdino_kernels_version()
            if version != VERSION:
                raise OSError(f"{path.name} was built from version {version} of its sources")
            for name, arguments in _SIGNATURES.items():
                function = getattr(library, name)
                function.argtypes = arguments
                function.restype = _RESULTS.get(name)
        except AttributeError as error:
            raise OSError(f"{path.name} is no library of referdino's kernels") from error
        self._library = library
        self.multiplies_fast = bool(library.referdino_multiplies_fast())
        """Whether its matrix products are faster than PyTorch's: it is built for this processor."""
