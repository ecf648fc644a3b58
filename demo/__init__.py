# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m demo`: camera, node and commander as three processes on a live graph."""
