# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Media input and output: frame sources, overlays, video and image files, frame records."""
