# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of `python -m referdino_core.cli`, equivalent to `referdino`."""

import sys

from referdino_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
