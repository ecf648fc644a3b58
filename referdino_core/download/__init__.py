# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Resumable, verified downloads of released checkpoints and BERT's files."""

from referdino_core.download.catalogue import ASSETS, Asset, locate
from referdino_core.download.fetching import Fetched, Outcome, fetch
from referdino_core.errors import DownloadError
from referdino_core.user_files import cache_directory

__all__ = [
    "ASSETS",
    "Asset",
    "DownloadError",
    "Fetched",
    "Outcome",
    "cache_directory",
    "fetch",
    "locate",
]
