# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion between ROS messages and arrays, the same for rclpy and for bags."""
