# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The network: one file per block of the paper, composed into five stages."""
