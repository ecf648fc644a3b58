# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Hundreds of recordings: found, replayed by one or more workers, summed up, and resumed."""
