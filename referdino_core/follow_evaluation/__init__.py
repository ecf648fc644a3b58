# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Does the robot get there? Seeded episodes in simulation, scored, beside two other followers."""
