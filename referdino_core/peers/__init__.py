# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Other published models for the same task; the core needs neither them nor transformers."""

from referdino_core.peers.soc.configuration import SOC_CONFIGURATIONS

PEER_NAMES = tuple(SOC_CONFIGURATIONS)
"""Names of the models that process whole clips only."""
STREAMING_PEER_NAMES = ("grounded-sam2", "sam3", "grounding-dino")
"""Names of the models that process streams, image by image."""
