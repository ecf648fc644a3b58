# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes `targets_3d` and `follower`: from referred objects to 3-D targets to velocities."""
