# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Prints, as JSON, the Python packages that the interpreter running this sees: the names to look
for, then their versions and folders. Also the interpreter's release, which decides who else can use
them.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys

found = {}
for name in sys.argv[1:]:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        continue
    found[name] = [distribution.version, str(distribution.locate_file(""))]
print(json.dumps({"release": sys.version_info[:2], "found": found}))
