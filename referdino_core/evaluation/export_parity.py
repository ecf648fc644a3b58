# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whether an export computes what the network computes.

ONNX Runtime on the CPU runs the export, PyTorch the network as it is, in float32. Two exceptions:
an export with the plugin's node is run with every such node replaced by what it stands for (as
`lowering` writes it; all other nodes are the export's own), and one in bfloat16, which opset 17
does not know in all operators, is represented by the PyTorch stages that it was recorded from.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from referdino_core.download.checksums import compute
from referdino_core.export.exported_set import DESCRIPTION, PRECISIONS, ExportedSet
from referdino_core.export.exporting import write_graph
from referdino_core.export.requirements import require
from referdino_core.network.image_geometry import Shape
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.object_memory import stack_windows
from referdino_core.network.referdino import ReferDINO
from referdino_core.runtime.stages import Stages
from referdino_core.runtime.torch_stages import TorchStages

MASK_LIMIT = 1e-3
"""Most that mask logits of a float32 export may differ, once the same queries are kept."""
SPREAD_LIMITS = {"fp16": 0.005, "bf16": 0.05}
"""Most that features in low precision may differ, as a share of their own size (both RMS)."""
SAME_QUERY = 0.05
"""Distance, as a share of a query's length, up to which two queries are the same one."""
FRAMES, COMMANDS = 3, 2


@dataclass(frozen=True)
class OutputDifference:
    """How far one output of a stage is off: at most, and as a share of its own size (RMS)."""

    stage: str
    output: str
    largest: float
    share: float


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        precision: of the export. outputs: every output of every stage, and the masks.
        kept: share of the network's surviving queries that the export keeps as well.
    """

    precision: str
    outputs: tuple[OutputDifference, ...]
    kept: float

    @property
    def passed(self) -> bool:
        """Whether the export computes what the network computes, as far as its precision goes."""
        errors = {entry.output: entry for entry in self.outputs}
        if self.precision == "fp32":
            return self.kept == 1.0 and errors["masks"].largest <= MASK_LIMIT
        # What is selected may differ in low precision; what is computed may not.
        judged = ("tokens", "finest", "mask_features", "mask_embeddings")
        return all(errors[name].share <= SPREAD_LIMITS[self.precision] for name in judged)

    def table(self) -> str:
        """The report as a Markdown table."""
        rows = ["| stage | output | largest error | RMS error / RMS |", "|---|---|---|---|"]
        rows += [
            f"| {entry.stage} | {entry.output} | {entry.largest:.1e} | {entry.share:.1e} |"
            for entry in self.outputs
        ]
        verdict = "passed" if self.passed else "FAILED"
        return "\n".join([*rows, "", f"The same queries kept: {self.kept:.1%}. Check {verdict}."])


class RecordedStages(TorchStages):
    """The stages that are recorded, run by PyTorch."""

    def prepare(self, size: Shape) -> None:
        """Prepare for images of that size."""
        from referdino_core.export.recording import exportable_stages

        kind = getattr(torch, PRECISIONS[self.precision])
        self.use(exportable_stages(self.model, size, kind))


@contextmanager
def open_for_check(model: ReferDINO, exported: ExportedSet) -> Iterator[Stages]:
    """What computes an export on this machine's CPU.

    Args:
        model: that was exported, on the CPU.
    """
    if exported.precision == "bf16":
        yield RecordedStages(model, "bf16")
        return
    require("onnx", "onnxruntime")
    from referdino_core.runtime.onnx_stages import OnnxRuntimeStages

    class StagesOfAnyPrecision(OnnxRuntimeStages):
        """ONNX Runtime also in float16, which is slow on a CPU."""

        def check_precision(self) -> None:
            """Everything is allowed."""

    with tempfile.TemporaryDirectory() as folder:
        if exported.deformable_attention == "plugin":
            exported = without_plugin(exported, "gather", Path(folder))
        yield StagesOfAnyPrecision(model, exported.precision, exported.folder)


def without_plugin(exported: ExportedSet, form: str, folder: Path) -> ExportedSet:
    """The export with every node of the plugin replaced by what it stands for, in a form."""
    import onnx

    from referdino_core.export.lowering import lower

    files = {name: folder / path.name for name, path in exported.files.items()}
    for name, path in files.items():
        write_graph(lower(onnx.load(exported.files[name]), form), path, check=False)
    replaced = dataclasses.replace(
        exported,
        folder=folder,
        deformable_attention=form,
        files=files,
        checksums={name: compute(path) for name, path in files.items()},
    )
    (folder / DESCRIPTION).write_text(json.dumps(replaced.description()))
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
        model: that was exported, on the CPU.
        pixels: (T, 3, H, W) frames of the export's size; by default a drifting texture.
        sentences: (L_i,) int64 token ids each; by default two of different length.
    """
    size = (exported.height, exported.width)
    pixels = example_frames(size) if pixels is None else pixels
    text = model.text_encoder(sentences or example_sentences(model, exported.tokens))
    errors: list[OutputDifference] = []
    memories = [model.object_memory(exported.window) for _ in text.tokens]
    with open_for_check(model, exported) as stages:
        stages.prepare(size)
        for number, frame in enumerate(pixels):
            image = model.image_encoder(frame[None])
            grounding = model.grounder(image, text)
            for row, memory in enumerate(memories):
                tokens = grounding.text[row][~text.padding[row]]
                memory.update(
                    grounding.queries[row], grounding.references[row], tokens, 0.1 * number
                )
        window = stack_windows([memory.window for memory in memories])
        readings = model.readout(window, grounding.masks)
        features = grounding.masks.features

        encoded = stages.encode_image(frame[None])
        found = stages.ground(encoded, text)
        rows, kept = same_queries(grounding.queries, found.queries)
        fused = found.text[:, : text.tokens.shape[1]].masked_fill(text.padding[..., None], 0)
        read = stages.read(window, found.mask_features)
        masks = decode_masks(readings.mask_embeddings, features)
        for stage, output, expected, actual in (
            ("image_encoder", "tokens", image.tokens, encoded.tokens),
            ("image_encoder", "finest", image.finest, encoded.finest),
            ("grounder", "queries", grounding.queries, pick(found.queries, rows)),
            ("grounder", "references", grounding.references, pick(found.references, rows)),
            ("grounder", "fused_text",
             grounding.text.masked_fill(text.padding[..., None], 0), fused),
            ("grounder", "mask_features", features, found.mask_features),
            ("readout", "scores", readings.scores, read.scores),
            ("readout", "boxes", readings.boxes, read.boxes),
            ("readout", "mask_embeddings", readings.mask_embeddings, read.mask_embeddings),
            ("all", "masks", masks,
             decode_masks(read.mask_embeddings, found.mask_features.float())),
        ):  # fmt: skip
            errors.append(output_error(stage, output, expected, actual))
    return CheckReport(exported.precision, tuple(errors), kept)


def output_error(stage: str, output: str, expected: Tensor, actual: Tensor) -> OutputDifference:
    """How far `actual` is from `expected`."""
    difference = actual.float() - expected.float()
    share = difference.pow(2).mean().sqrt() / expected.float().pow(2).mean().sqrt()
    return OutputDifference(stage, output, float(difference.abs().max()), float(share))


def same_queries(expected: Tensor, actual: Tensor) -> tuple[Tensor, float]:
    """Which of the actual queries is which of the expected ones, (N, Q) both, and how many are.

    Queries that survive with almost the same score may come in another order.
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
    """(N, Q, ...) entries in the order of (N, Q) `rows`."""
    return torch.stack([entries[order] for entries, order in zip(tensor, rows, strict=True)])


def example_frames(size: Shape) -> Tensor:
    """(T, 3, H, W) frames over which a smooth texture drifts; always the same."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    coarse = torch.randn(1, 3, height // 8 + 8, width // 8 + 8, generator=generator)
    texture = F.interpolate(coarse, scale_factor=8, mode="bicubic")[0]
    views = [texture[:, 3 * t : 3 * t + height, 5 * t : 5 * t + width] for t in range(FRAMES)]
    return torch.stack(views)


def example_sentences(model: ReferDINO, tokens: int) -> list[Tensor]:
    """Token ids of sentences of different length, that fit `tokens`."""
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
