# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Optimization of the network for inference at one image size.

`referdino_core.network` follows the paper and is used for training. Here its blocks are replaced by
equivalent ones (cheaper order of matrix multiplications, precomputed constants, whole layers in a
few calls of `referdino_core.ops`), and the stages become functions from tensors to tensors, which
backends run and exports record.
"""
