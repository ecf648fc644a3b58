# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Backends that run the network: PyTorch, ONNX Runtime and TensorRT behind one interface."""
