# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Other published networks for the same task, for offline use; the core does not need them."""

from referdino_core.peers.soc.configuration import SOC_CONFIGURATIONS

PEER_NAMES = tuple(SOC_CONFIGURATIONS)
"""Names of the models that process whole clips only."""
