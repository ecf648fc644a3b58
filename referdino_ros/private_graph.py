# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS graph that no process outside the demo sees, nor is seen by."""

from __future__ import annotations

import os
import socket

from referdino_ros.transport import use_roomy_shared_memory

NODE = "referdino"
IMAGE_TOPIC = "camera/image_raw"
COMMAND_TOPIC = f"{NODE}/command"
OBJECTS_TOPIC = f"{NODE}/objects"

# Each of these could connect the demo with a graph that the user works on.
_FOREIGN = ("ROS_DISCOVERY_SERVER", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS", "ROS_NAMESPACE")
_DOMAINS = range(60, 102)
"""Seldom used; from 102 on, a domain's ports are among those that Linux hands out."""
_FIRST_PORT, _PORTS_OF_A_DOMAIN, _UNICAST = 7400, 250, 10
"""RTPS: the first participant of domain d on a machine listens at 7400 + 250 d + 10."""


def join_private_graph() -> int:
    """Let this process, and those it starts from now on, use a domain of their own.

    Returns:
        The domain; nothing is heard or said beyond this machine.
    """
    domain = _free_domain(os.getpid())
    for variable in _FOREIGN:
        os.environ.pop(variable, None)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if os.environ.get("ROS_DISTRO") == "humble":  # knows only the older variable
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    use_roomy_shared_memory()
    return domain


def _free_domain(seed: int) -> int:
    """The first domain from a number derived from `seed` on in which nobody listens."""
    first = seed % len(_DOMAINS)
    candidates = [*_DOMAINS[first:], *_DOMAINS[:first]]
    for domain in candidates:
        port = _FIRST_PORT + _PORTS_OF_A_DOMAIN * domain + _UNICAST
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return domain
    return candidates[0]
