# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node of referdino: topics, services, parameters and lifecycle around a Session."""
