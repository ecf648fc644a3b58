# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Lets `python -m referdino_core.cli` do the same as `referdino`."""

import sys

from referdino_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
