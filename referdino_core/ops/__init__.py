# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Operators that have kernels of their own: one file each, with formula, kernels and ONNX form.

The C++ and CUDA sources are in ``csrc``. The CPU's are built several times, for any processor and
for newer ones; the fastest library that this processor can run is used. Libraries are optional:
where there is none, PyTorch computes the formula, and one line in the log says so.
"""

BUILD_COMMAND = "python -m referdino_core.ops.build"
