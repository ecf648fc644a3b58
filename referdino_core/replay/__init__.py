# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings through the very session that the node runs, deterministically."""
