# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Training: the paper's losses and matching, and the recipe of the small model."""
