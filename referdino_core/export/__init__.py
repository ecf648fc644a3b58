# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The network as three ONNX files: written, described, checked and linted."""
