# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures in and out: frame sources, run lengths of masks, overlays, video and image files."""
