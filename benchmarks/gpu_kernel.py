# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Check and benchmark of deformable attention on an NVIDIA GPU: portable version and CUDA kernel.

    python benchmarks/gpu_kernel.py

It needs PyTorch with CUDA, and the kernel built by ``python -m referdino_core.ops.build --cuda``;
it takes about a minute. Each time is the median of several rounds of many replays of one CUDA
graph, without the overhead of Python and PyTorch between launches. Both versions include the
softmax.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from referdino_core.ops.cuda import cuda_deformable_attention, cuda_kernel, cuda_kernel_status
from referdino_core.ops.deformable_attention import SpatialShapes, portable_deformable_attention

PYRAMID: SpatialShapes = ((45, 80), (23, 40), (12, 20), (6, 10))
SMALL_PYRAMID: SpatialShapes = ((15, 20), (8, 10), (4, 5), (2, 3))
REPLAYS = 20
# Relative to the largest result: rounding of the output, and rounding errors of sums in float32.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 4e-3}


@dataclass(frozen=True)
class Layer:
    """One call; without ``queries``, every token of every level is a query."""

    name: str
    images: int
    spatial_shapes: SpatialShapes
    channels: int
    points: int = 4
    heads: int = 8
    queries: int | None = None


LAYERS = (
    Layer("encoder, 360x640", 1, PYRAMID, 32),
    Layer("encoder, 360x640, 8 images", 8, PYRAMID, 32),
    Layer("decoder, 900 queries", 1, PYRAMID, 32, queries=900),
    Layer("mask decoder, 1 level", 1, PYRAMID[:1], 32, points=16, queries=900),
    Layer("nano encoder, 8 images", 8, SMALL_PYRAMID, 16),
)


@dataclass(frozen=True)
class Inputs:
    """Inputs of ``cuda_deformable_attention``."""

    value: Tensor
    spatial_shapes: SpatialShapes
    locations: Tensor
    logits: Tensor

    def fused(self) -> Tensor:
        """The result of the CUDA kernel."""
        return cuda_deformable_attention(
            self.value, self.spatial_shapes, self.locations, self.logits
        )

    def portable(self) -> Tensor:
        """The result of PyTorch's operators."""
        weights = self.logits.softmax(-1).unflatten(-1, (len(self.spatial_shapes), -1))
        locations = self.locations.unflatten(3, (len(self.spatial_shapes), -1))
        return portable_deformable_attention(self.value, self.spatial_shapes, locations, weights)

    def expected(self) -> Tensor:
        """The result of PyTorch's operators in double precision."""
        doubled = Inputs(
            self.value.double(), self.spatial_shapes, self.locations.double(), self.logits.double()
        )
        return doubled.portable()


def layer_inputs(layer: Layer, precision: torch.dtype) -> Inputs:
    """Random inputs; locations deviate from the query's own by about 3 pixels."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.cat(
        [
            torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(-1)
            for h, w in layer.spatial_shapes
        ]
    )
    tokens = len(centres)
    if layer.queries is not None:
        centres = torch.rand(layer.queries, 2, generator=generator)
    shape = (layer.images, len(centres), layer.heads, len(layer.spatial_shapes), layer.points)
    sizes = torch.tensor([(width, height) for height, width in layer.spatial_shapes])
    offsets = torch.randn(*shape, 2, generator=generator) * 3 / sizes[:, None]
    value = torch.randn(layer.images, tokens, layer.heads, layer.channels, generator=generator)
    logits = torch.randn(*shape, generator=generator).flatten(3)
    locations = (centres[:, None, None, None] + offsets).flatten(3, 4)
    return Inputs(
        value.to("cuda", precision),
        layer.spatial_shapes,
        locations.cuda(),
        logits.to("cuda", precision),
    )


def error_of(found: Tensor, expected: Tensor) -> float:
    """The largest error, relative to the largest result."""
    return float((found.double() - expected).abs().max() / expected.abs().max())


def microseconds(operator: Callable[[], Tensor], rounds: int) -> float:
    """Microseconds of one call, replayed from a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            operator()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        operator()
    graph.replay()
    taken = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end) / REPLAYS * 1e3)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this machine has no GPU that PyTorch can use: nothing to time")
    if cuda_kernel() is None:
        raise SystemExit(cuda_kernel_status())
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, microseconds")
    print(f"{'layer':28}{'type':10}{'error':>10}{'portable':>10}{'fused':>10}{'ratio':>8}")
    wrong = False
    with torch.inference_mode():
        for layer in LAYERS:
            for precision, tolerance in TOLERANCE.items():
                inputs = layer_inputs(layer, precision)
                error = error_of(inputs.fused(), inputs.expected())
                is_wrong = not error <= tolerance
                wrong = wrong or is_wrong
                portable = microseconds(inputs.portable, arguments.rounds)
                fused = microseconds(inputs.fused, arguments.rounds)
                name = str(precision).removeprefix("torch.")
                print(
                    f"{layer.name:28}{name:10}{error:10.1e}{portable:10.1f}{fused:10.1f}"
                    f"{portable / fused:7.1f}x{'  WRONG' if is_wrong else ''}"
                )
    if wrong:
        raise SystemExit("the kernel does not agree with the portable version")


if __name__ == "__main__":
    main()
