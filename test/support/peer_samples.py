# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Small random networks of transformers' real classes, and followers and images to run them on.

Random networks find nothing in particular. What they find is steered by the thresholds of the
settings, and by the biases of the heads that say whether an object is visible.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from referdino_core.peers.following import PeerSettings
from referdino_core.peers.grounded_sam2 import GroundedSAM2
from referdino_core.peers.grounding_dino import GroundingDINO, GroundingDINOFollower
from referdino_core.peers.sam3 import SAM3
from referdino_core.peers.video_segmenter import VideoSegmenter
from referdino_core.session.peer_session import PeerSession

SIDE = 128  # pixels, of SAM 2 and EdgeTAM
SAM3_SIDE, SAM3_CELLS = 112, 8  # pixels, patches
SIZES = (96, 160)  # pixels of an image's sides in Grounding DINO
SENTENCE = "the red blue green ball box cup dog left of on table a two that jumps"
WORDS = tuple(SENTENCE.split())
_HEADS = {"mask_decoder": {"mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}}


def bert_tokenizer() -> Tokenizer:
    """A small vocabulary with BERT's numbers of [CLS], [SEP], "." and "?"."""
    words = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
    words |= {word: 200 + place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    return tokenizer


def clip_tokenizer() -> Tokenizer:
    """A small vocabulary with CLIP's marks of start and end."""
    words = {"[UNK]": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}
    words |= {word: 3 + place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(
        ("<|endoftext|>", 2), ("<|startoftext|>", 1)
    )
    return tokenizer


@functools.cache
def grounding_dino_network() -> Any:
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        SwinConfig,
    )

    torch.manual_seed(1)
    configuration = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            image_size=64,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(
            vocab_size=1030,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=10,
        max_text_len=64,
    )
    return GroundingDinoForObjectDetection(configuration).eval()


def _sam2_parts() -> dict[str, Any]:
    from transformers import Sam2HieraDetConfig, Sam2VisionConfig

    hiera = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 2, 3, 2],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        global_attention_blocks=[4],
    )
    return {
        "vision_config": Sam2VisionConfig(
            backbone_config=hiera,
            backbone_channel_list=[64, 32, 16, 8],
            backbone_feature_sizes=[[SIDE // stride] * 2 for stride in (4, 8, 16)],
            fpn_hidden_size=128,
        ),
        "prompt_encoder_config": {"hidden_size": 128, "image_size": SIDE},
        "mask_decoder_config": {"hidden_size": 128, **_HEADS["mask_decoder"]},
        "image_size": SIDE,
        **_memory(SIDE // 16),
    }


def _memory(cells: int) -> dict[str, Any]:
    return {
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 1,
        "memory_attention_rope_feat_sizes": [cells, cells],
        "memory_encoder_hidden_size": 128,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 16,
    }


@functools.cache
def sam2_network() -> Any:
    from transformers import Sam2VideoConfig, Sam2VideoModel

    torch.manual_seed(2)
    parts = _sam2_parts() | {"memory_attention_feed_forward_hidden_size": 32}
    return Sam2VideoModel(Sam2VideoConfig(**parts)).eval()


@functools.cache
def edgetam_network() -> Any:
    """EdgeTAM with its own memory, and SAM 2's image encoder: its own needs timm."""
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel

    torch.manual_seed(3)
    configuration = EdgeTamVideoConfig(
        **_sam2_parts(),
        memory_attention_mlp_hidden_size=32,
        memory_attention_rope_k_sizes=[4, 4],
        perceiver_resampler_num_latents=16,
        perceiver_resampler_num_latents_2d=16,
        perceiver_resampler_mlp_intermediate_size=16,
    )
    return EdgeTamVideoModel(configuration).eval()


def sam3_network() -> Any:
    """A new network every time, since followers set its thresholds and limits."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    torch.manual_seed(4)
    vision = {
        "model_type": "sam3_vision_model",
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SAM3_SIDE,
            "window_size": 4,
            "global_attn_indexes": [1],
            "pretrain_image_size": SAM3_SIDE,
        },
        "fpn_hidden_size": 128,
        "backbone_feature_sizes": [[SAM3_CELLS * scale] * 2 for scale in (4, 2, 1)],
    }
    small = {"hidden_size": 128, "num_attention_heads": 2}
    layer = {**small, "num_layers": 1, "intermediate_size": 64}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        "geometry_encoder_config": layer,
        "detr_encoder_config": layer,
        "detr_decoder_config": {**layer, "num_queries": 2},
        "mask_decoder_config": small,
    }
    tracker = {
        "model_type": "sam3_tracker_video",
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 128, "image_size": SAM3_SIDE, "patch_size": 14},
        "mask_decoder_config": {"hidden_size": 128, **_HEADS["mask_decoder"]},
        "image_size": SAM3_SIDE,
        "memory_attention_feed_forward_hidden_size": 32,
        **_memory(SAM3_CELLS),
    }
    configuration = Sam3VideoConfig(
        detector_config=detector,
        tracker_config=tracker,
        low_res_mask_size=4 * SAM3_CELLS,
        score_threshold_detection=0.1,  # random scores are about 0.25
        new_det_thresh=0.9,
    )
    return Sam3VideoModel(configuration).eval()


def set_visibility(network: Any, bias: float) -> None:
    """Make SAM 2, EdgeTAM or SAM 3's tracker see every object (bias > 0) or none (bias < 0)."""
    decoder = getattr(network, "tracker_model", network).mask_decoder
    with torch.no_grad():
        decoder.pred_obj_score_head.proj_out.weight.zero_()
        decoder.pred_obj_score_head.proj_out.bias.fill_(bias)


def detector() -> GroundingDINO:
    return GroundingDINO(grounding_dino_network(), bert_tokenizer(), sizes=SIZES)


def floor(**settings: Any) -> PeerSession:
    return PeerSession(GroundingDINOFollower(detector(), PeerSettings(**settings)))


def grounded_sam2(network: Any = None, **settings: Any) -> PeerSession:
    """Grounded-SAM-2, or with EdgeTAM's network, whose objects are visible."""
    network = sam2_network() if network is None else network
    set_visibility(network, 4.0)
    segmenter = VideoSegmenter(network)
    return PeerSession(GroundedSAM2(detector(), segmenter, PeerSettings(**settings)))


def sam3(**settings: Any) -> PeerSession:
    network = sam3_network()
    set_visibility(network, 4.0)
    return PeerSession(SAM3(network, clip_tokenizer(), PeerSettings(**settings)))


def images(count: int, size: tuple[int, int] = (48, 64), seed: int = 0) -> list[np.ndarray]:
    """Noise with a bright square that moves, (H, W, 3) uint8."""
    height, width = size
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        image = generator.integers(0, 60, (height, width, 3), dtype=np.uint8)
        left = (4 * number) % (width // 2)
        image[height // 4 : height // 2, left : left + width // 4] = (250, 30, 30)
        found.append(image)
    return found


def save_folders(folder: Path) -> Path:
    """Save Grounding DINO and SAM 2 in the layout of transformers, below a folder."""
    for name, network in (("detector", grounding_dino_network()), ("tracker", sam2_network())):
        network.save_pretrained(folder / name)
    bert_tokenizer().save(str(folder / "detector" / "tokenizer.json"))
    return folder
