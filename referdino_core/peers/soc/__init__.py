# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC: Semantic-Assisted Object Cluster (Luo et al., NeurIPS 2023, arXiv 2305.17011).

One file per block of the paper, in the order of the forward pass: `video_swin`, `text_encoder`,
`fusion`, `deformable_transformer`, `semantic_cluster`, `mask_head`. `soc` is the whole network,
`checkpoint` loads released weights, `tokenizer` and `reading` are pre- and postprocessing.
"""
