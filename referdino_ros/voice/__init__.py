# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node `voice`: spoken instructions for a follower."""
