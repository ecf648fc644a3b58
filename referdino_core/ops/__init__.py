# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Operators with custom kernels: one file each, with formula, kernels and ONNX form.

The C++ and CUDA sources are in ``csrc``. The CPU kernels are built several times, for any processor
and for newer ones; the fastest library that the processor supports is used. Libraries are optional:
without one PyTorch computes the formula, and the log says so in one line.
"""

BUILD_COMMAND = "python -m referdino_core.ops.build"
