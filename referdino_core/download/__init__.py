# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Released checkpoints and BERT's files: fetched from their public home, resumed, and checked."""

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
