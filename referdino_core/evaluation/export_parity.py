# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Parity of an export with its network.

ONNX Runtime runs the export on the CPU, and PyTorch runs the original network in float32. There are
two exceptions: in an export with the plugin's node, every such node is lowered first, and an export
in bfloat16, which opset 17 does not support in all operators, is represented by the PyTorch stages
that it was recorded from.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from referdino_core.backends.backend import Backend
from referdino_core.backends.torch_backend import TorchBackend
from referdino_core.download.checksums import compute
from referdino_core.export.exported_set import ExportedSet
from referdino_core.export.exporting import require, write_graph
from referdino_core.export.stage_io import GROUNDER, IMAGE_ENCODER, READOUT, StageSpec
from referdino_core.network.grounder import Grounding
from referdino_core.network.image_encoder import ImageFeatures
from referdino_core.network.image_geometry import Shape
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.object_memory import Window, stack_windows
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.precision import PRECISIONS

MASK_LIMIT = 1e-3
"""Largest difference of mask logits in a float32 export that keeps the same queries."""
RELATIVE_LIMITS = {"fp16": 0.005, "bf16": 0.05}
"""Largest difference of features in low precision, relative to the features (both RMS)."""
SAME_QUERY = 0.05
"""Largest distance between matching queries, relative to their norm."""
FRAMES, COMMANDS = 3, 2


@dataclass(frozen=True)
class OutputDifference:
    """Difference of one output of a stage: the largest, and relative to the output (RMS)."""

    stage: str
    output: str
    largest: float
    relative: float


@dataclass(frozen=True)
class CheckReport:
    """Result of a parity check.

    Attributes:
        precision: precision of the export.
        outputs: differences of every output of every stage, and of the masks.
        kept: fraction of the network's surviving queries that the export also keeps.
    """

    precision: str
    outputs: tuple[OutputDifference, ...]
    kept: float

    @property
    def passed(self) -> bool:
        """Whether the export computes what the network computes, within its precision."""
        errors = {entry.output: entry for entry in self.outputs}
        if self.precision == "fp32":
            return self.kept == 1.0 and errors["masks"].largest <= MASK_LIMIT
        # Low precision may change the selection of queries, but not the computed features.
        checked = ("tokens", "finest", "mask_features", "mask_embeddings")
        return all(errors[name].relative <= RELATIVE_LIMITS[self.precision] for name in checked)

    def table(self) -> str:
        """The report as a Markdown table."""
        rows = ["| stage | output | largest error | RMS error / RMS |", "|---|---|---|---|"]
        rows += [
            f"| {entry.stage} | {entry.output} | {entry.largest:.1e} | {entry.relative:.1e} |"
            for entry in self.outputs
        ]
        verdict = "passed" if self.passed else "FAILED"
        return "\n".join([*rows, "", f"Same queries kept: {self.kept:.1%}. Check {verdict}."])


class RecordedBackend(TorchBackend):
    """The stages that exports are recorded from, on PyTorch."""

    def prepare(self, size: Shape) -> None:
        """Prepare for images of that size."""
        from referdino_core.export.recording import exportable_stages

        dtype = PRECISIONS[self.precision].dtype
        self.use(exportable_stages(self.model, size, dtype))


@contextmanager
def open_for_check(model: ReferDINO, exported: ExportedSet) -> Iterator[Backend]:
    """A backend that runs an export on this machine's CPU.

    Args:
        model: the exported model, on the CPU.
        exported: its export.
    """
    if exported.precision == "bf16":
        yield RecordedBackend(model, "bf16")
        return
    require("onnx", "onnxruntime")
    from referdino_core.backends.onnx_backend import OnnxRuntimeBackend

    class BackendOfAnyPrecision(OnnxRuntimeBackend):
        """ONNX Runtime in any precision, including float16, which is slow on a CPU."""

        def check_precision(self) -> None:
            """Allow every precision."""

    with tempfile.TemporaryDirectory() as folder:
        if exported.deformable_attention == "plugin":
            exported = without_plugin(exported, "gather", Path(folder))
        yield BackendOfAnyPrecision(model, exported.precision, exported.folder)


def without_plugin(exported: ExportedSet, variant: str, folder: Path) -> ExportedSet:
    """The export with every node of the plugin lowered in another variant."""
    import onnx

    from referdino_core.export.lowering import lower

    files = {name: folder / path.name for name, path in exported.files.items()}
    for name, path in files.items():
        write_graph(lower(onnx.load(exported.files[name]), variant), path, check=False)
    replaced = dataclasses.replace(
        exported,
        folder=folder,
        deformable_attention=variant,
        files=files,
        checksums={name: compute(path) for name, path in files.items()},
    )
    replaced.write_description(folder)
    return replaced


@torch.inference_mode()
def check_export(
    exported: ExportedSet,
    model: ReferDINO,
    pixels: Tensor | None = None,
    sentences: list[Tensor] | None = None,
) -> CheckReport:
    """Compare an export with its network.

    Args:
        exported: an export.
        model: the exported model, on the CPU.
        pixels: (T, 3, H, W) frames of the export's size; by default a drifting texture.
        sentences: (L_i,) int64 token ids each; by default two of different length.
    """
    pixels = example_frames(exported.size) if pixels is None else pixels
    text = model.text_encoder(sentences or example_sentences(model, exported.tokens))
    image, grounding, window = run_network(model, pixels, text, exported.window)
    readings = model.readout(window, grounding.masks)
    with open_for_check(model, exported) as backend:
        backend.prepare(exported.size)
        encoded = backend.encode_image(pixels[-1:])
        found = backend.ground(encoded, text)
        read = backend.read(window, found.mask_features)
    rows, kept = match_queries(grounding.queries, found.queries)
    padded, features = text.padding[..., None], grounding.masks.features
    outputs = [
        *stage_differences(
            IMAGE_ENCODER, (image.tokens, image.finest), (encoded.tokens, encoded.finest)
        ),
        *stage_differences(
            GROUNDER,
            (
                grounding.queries,
                grounding.references,
                grounding.text.masked_fill(padded, 0),
                features,
            ),
            (
                pick(found.queries, rows),
                pick(found.references, rows),
                found.text[:, : text.tokens.shape[1]].masked_fill(padded, 0),
                found.mask_features,
            ),
        ),
        *stage_differences(
            READOUT,
            (readings.scores, readings.boxes, readings.mask_embeddings),
            (read.scores, read.boxes, read.mask_embeddings),
        ),
        output_difference(
            "all",
            "masks",
            decode_masks(readings.mask_embeddings, features),
            decode_masks(read.mask_embeddings, found.mask_features.float()),
        ),
    ]
    return CheckReport(exported.precision, tuple(outputs), kept)


def run_network(
    model: ReferDINO, pixels: Tensor, text: TextFeatures, frames: int
) -> tuple[ImageFeatures, Grounding, Window]:
    """Features and grounding of the last of (T, 3, H, W) frames, and windows of all frames."""
    memories = [model.object_memory(frames) for _ in text.tokens]
    for number, frame in enumerate(pixels):
        image = model.image_encoder(frame[None])
        grounding = model.grounder(image, text)
        for row, memory in enumerate(memories):
            tokens = grounding.text[row][~text.padding[row]]
            memory.update(grounding.queries[row], grounding.references[row], tokens, 0.1 * number)
    return image, grounding, stack_windows([memory.window for memory in memories])


def stage_differences(
    stage: StageSpec, expected: tuple[Tensor, ...], actual: tuple[Tensor, ...]
) -> list[OutputDifference]:
    """Differences of a stage's outputs, both in the stage's order."""
    return [
        output_difference(stage.name, *entry)
        for entry in zip(stage.output_names, expected, actual, strict=True)
    ]


def output_difference(
    stage: str, output: str, expected: Tensor, actual: Tensor
) -> OutputDifference:
    """Difference between `actual` and `expected`."""
    difference = actual.float() - expected.float()
    relative = difference.pow(2).mean().sqrt() / expected.float().pow(2).mean().sqrt()
    return OutputDifference(stage, output, float(difference.abs().max()), float(relative))


def match_queries(expected: Tensor, actual: Tensor) -> tuple[Tensor, float]:
    """Match actual to expected queries, (N, Q, d) both.

    Queries with almost equal scores may be in a different order.

    Returns:
        (N, Q) indices of the actual queries in the order of the expected ones, and the fraction of
        those that have a match.
    """
    rows, kept = [], []
    for ours, theirs in zip(expected, actual, strict=True):
        distances = torch.cdist(ours, theirs)
        _, columns = linear_sum_assignment(distances.numpy())
        order = torch.as_tensor(columns)
        matched = distances.gather(1, order[:, None])[:, 0]
        rows.append(order)
        kept.append((matched <= SAME_QUERY * ours.norm(dim=-1)).float().mean())
    return torch.stack(rows), float(torch.stack(kept).mean())


def pick(tensor: Tensor, rows: Tensor) -> Tensor:
    """Entries (N, Q, ...) in the order of (N, Q) `rows`."""
    return torch.stack([entries[order] for entries, order in zip(tensor, rows, strict=True)])


def example_frames(size: Shape) -> Tensor:
    """Frames (T, 3, H, W) of a smooth drifting texture; always the same."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    coarse = torch.randn(1, 3, height // 8 + 8, width // 8 + 8, generator=generator)
    texture = F.interpolate(coarse, scale_factor=8, mode="bicubic")[0]
    views = [texture[:, 3 * t : 3 * t + height, 5 * t : 5 * t + width] for t in range(FRAMES)]
    return torch.stack(views)


def example_sentences(model: ReferDINO, tokens: int) -> list[Tensor]:
    """Token ids of sentences of different lengths, at most `tokens`."""
    bert = model.configuration.bert
    generator = torch.Generator().manual_seed(1)
    begin, end = bert.sentence_ends[:2]
    first_word = max(bert.sentence_ends) + 1
    sentences = []
    for length in [min(tokens, length) for length in (9, 6)][:COMMANDS]:
        words = torch.randint(first_word, bert.vocabulary, (length,), generator=generator)
        words[0], words[-1] = begin, end
        sentences.append(words)
    return sentences
