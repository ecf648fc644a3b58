# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Live demo of following, `python -m demo.follow`: a simulated robot obeys a script."""
