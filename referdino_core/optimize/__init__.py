# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The network made ready for inference at one image size: the same function, less work.

`referdino_core.network` reads like the paper and is what training uses. Here blocks are replaced
by equivalent ones (matrix multiplications in the cheaper order, constants computed once, whole
layers in a few calls of `referdino_core.ops`), and the stages become plain functions from tensors
to tensors, which runtimes run and exports record.
"""
