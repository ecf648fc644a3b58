# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The error of everything that can go wrong while files are fetched."""

from referdino_core.errors import ReferDINOError


class DownloadError(ReferDINOError):
    """A file cannot be fetched, cannot be stored, or is not the file it was before."""
