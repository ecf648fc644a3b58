# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The backend of TensorRT: engines are built, cached, loaded and run here.

TensorRT itself is imported when it is first used; if it is missing, that raises
`referdino_core.errors.TensorRTUnavailable`.
"""
