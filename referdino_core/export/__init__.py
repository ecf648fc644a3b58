# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Export of the network to ONNX files, their cache and their lint."""
