# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Batch replay of many recordings: search, workers, resumption and summary."""
