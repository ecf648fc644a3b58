# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Loading of the peers' networks with transformers, and the images and texts that they take.

transformers is imported only when a peer is loaded. Images and texts are prepared here, not by its
processors, which need torchvision.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from referdino_core.errors import CheckpointError, RuntimeUnavailable, one_line

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INSTALL = 'pip install "referdino[peers]"'


@dataclass(frozen=True)
class NetworkClass:
    """A class of transformers, by the `model_type` of its configuration.

    Attributes:
        since: first version of transformers that has it.
        needs: another package that it imports; None if there is none.
    """

    name: str
    since: str
    needs: str | None = None


NETWORKS = {
    "grounding-dino": NetworkClass("GroundingDinoForObjectDetection", "4.40"),
    "sam2_video": NetworkClass("Sam2VideoModel", "4.56"),
    "edgetam_video": NetworkClass("EdgeTamVideoModel", "4.57", "timm"),
    "sam3_video": NetworkClass("Sam3VideoModel", "5.0"),
}


def network_class(model_type: str) -> Any:
    """The class of transformers for a `model_type` of `NETWORKS`.

    Raises:
        RuntimeUnavailable: transformers is missing or too old, or lacks another package.
    """
    wanted = NETWORKS[model_type]
    try:
        transformers = import_module("transformers")
    except ImportError as error:
        raise RuntimeUnavailable(
            f"{model_type} runs with transformers {wanted.since} or newer; install it with: "
            f"{INSTALL}"
        ) from error
    try:
        return getattr(transformers, wanted.name)
    except ImportError as error:
        raise _also_needs(model_type, error) from error
    except AttributeError as error:
        raise RuntimeUnavailable(
            f"transformers {transformers.__version__} has no {wanted.name}; version "
            f"{wanted.since} or newer has it: pip install --upgrade transformers"
        ) from error


def _also_needs(model_type: str, error: ImportError) -> RuntimeUnavailable:
    """The error that names the package that transformers could not import for a network."""
    package = NETWORKS[model_type].needs or "torchvision"
    cause: BaseException | None = error
    while cause is not None:
        name = getattr(cause, "name", None)
        if name and not name.startswith("transformers"):
            package = name
        cause = cause.__cause__ or cause.__context__
    return RuntimeUnavailable(
        f"{model_type} of this transformers also needs {package}; install it with: "
        f"pip install {package}"
    )


def model_type_of(folder: Path) -> str:
    """The `model_type` in a folder's config.json.

    Raises:
        CheckpointError: the folder is not in the layout of transformers.
    """
    try:
        configuration = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(configuration["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is not a model in the layout of transformers: its config.json is missing or "
            "names no model_type."
        ) from error


def load_network(folder: Path, device: torch.device) -> nn.Module:
    """A network with the weights of a folder, on a device, in evaluation mode.

    Args:
        folder: config.json and *.safetensors, as transformers saves them.

    Raises:
        CheckpointError: files are missing, or weights do not fit.
        RuntimeUnavailable: transformers, or what it needs for this network, is missing.
    """
    model_type = model_type_of(folder)
    if model_type not in NETWORKS:
        raise CheckpointError(
            f"{folder} holds a {model_type} model; choose one of {', '.join(NETWORKS)}."
        )
    found = network_class(model_type)
    try:
        with _quiet():
            network, loaded = found.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are named below
                output_loading_info=True,
            )
    except ImportError as error:
        raise _also_needs(model_type, error) from error
    except Exception as error:  # the classes of transformers raise errors of many libraries
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"The weights in {folder} cannot be loaded: {reason}") from error
    for kind in ("missing_keys", "mismatched_keys"):
        names = sorted(one if isinstance(one, str) else str(one[0]) for one in loaded[kind])
        if names:
            raise CheckpointError(
                f"The weights in {folder} do not fit: {len(names)} {kind.replace('_', ' ')}, such "
                f"as {names[0]}."
            )
    network.to(device).eval()
    assert isinstance(network, nn.Module)
    return network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of transformers, which are reported as one error instead."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def weight_files(folder: Path) -> list[Path]:
    """The weights of a folder, in the order of their names."""
    return sorted(folder.glob("*.safetensors"))


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, a `tokenizers.Tokenizer`.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; download it with the model.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more specific
        raise CheckpointError(
            f"{path} is not a readable tokenizer ({one_line(error)}); download it again."
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def image_tensor(
    image: np.ndarray,
    size: tuple[int, int],
    device: torch.device,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Tensor:
    """An (H, W, 3) uint8 image as (1, 3, h, w) float32, resized bilinearly and normalised."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    pixels = pixels.permute(2, 0, 1)[None].float()
    if pixels.shape[-2:] != size:
        pixels = nn.functional.interpolate(
            pixels, size=size, mode="bilinear", antialias=True, align_corners=False
        )
    scale = pixels.new_tensor([255.0 * value for value in std])[:, None, None]
    shift = pixels.new_tensor([255.0 * value for value in mean])[:, None, None]
    return (pixels - shift) / scale


def size_between(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """(height, width) whose short side is `shortest`, unless the long one exceeds `longest`.

    Sides are rounded as in the preprocessing that Grounding DINO was released with.
    """
    low, high = min(height, width), max(height, width)
    short = float(shortest)
    if high / low * short > longest:
        short = longest * low / high
    sides = max(1, round(short)), max(1, int(short * high / low))
    return sides if height <= width else (sides[1], sides[0])


def masks_at(logits: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) bool masks at the image's size from (N, h, w) mask logits."""
    enlarged = nn.functional.interpolate(
        logits[:, None].float(), size=size, mode="bilinear", align_corners=False
    )
    return (enlarged[:, 0] > 0).cpu().numpy()


@contextlib.contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """Inference without gradients, in mixed precision unless it is fp32."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32),
    ):
        yield


def tensor_bytes(value: object) -> int:
    """Bytes of all tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(tensor_bytes(entry) for entry in value.values())
    if isinstance(value, (list, tuple)):
        return sum(tensor_bytes(entry) for entry in value)
    return 0
