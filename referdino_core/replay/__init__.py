# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Deterministic replay of recordings through the session that the node runs."""
