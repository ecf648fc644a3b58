# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Contents of ROS messages, for rclpy and for bags alike."""
