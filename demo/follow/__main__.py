# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
import sys

from demo.follow.program import main

sys.exit(main())
