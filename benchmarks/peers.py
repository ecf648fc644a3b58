# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Time per image and peak memory of referdino and of other published models, with random weights.

    python benchmarks/peers.py
    python benchmarks/peers.py --device cuda --precisions fp32 bf16 --rounds 20

Every engine runs in a process of its own, which holds its own peak memory, and the processes take
turns image by image, so that other programs affect all of them alike. The sizes are those of the
published configurations; random weights change no shape. Peers run in mixed precision where bf16 or
fp16 is chosen, as their users run them.

Grounded-SAM-2 does two kinds of work: in an image that it only tracks, SAM 2 runs; in one that it
detects, Grounding DINO runs before it. Both are measured, and the mean over 20 images, one of which
it detects, as in its camera demo. Its memory is full before the measurement.

Grounding DINO enlarges images to 800 pixels on the short side, as published; the row "unscaled"
gives it the images as they are, which is how our networks take them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

SENTENCES = (
    "the red ball left of the blue box",
    "a dog that runs to the door",
    "the tall man in a green shirt",
    "the white cup on the round table",
)
TRACK, DETECT = "track", "detect"
UNSCALED = "unscaled"
ENGINES = (
    "swint",
    "swinb",
    "grounded-sam2 tiny",
    "grounded-sam2 small",
    "grounding-dino tiny",
    f"grounding-dino tiny {UNSCALED}",
)
SAM2_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"blocks_per_stage": [1, 2, 7, 2], "global_attention_blocks": [5, 7, 9]},
    "small": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
}
"""What distinguishes SAM 2.1's published sizes (sam2.1_hiera_t.yaml, sam2.1_hiera_s.yaml)."""
IMAGES_PER_DETECTION = 20
WARM_UP = 8
"""Images that fill SAM 2's memory of 7 images and settle the allocators."""


@dataclass(frozen=True)
class Turn:
    """What a worker is asked to do with one image: the number of commands, and the kind of work."""

    commands: int
    kind: str = TRACK


def words_tokenizer() -> Any:
    """A replacement of BERT's tokenizer, whose vocabulary is a download: one token per word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {"[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
    words = dict.fromkeys(word for sentence in SENTENCES for word in sentence.split())
    vocabulary |= {word: 2000 + place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    return tokenizer


class OwnTokenizer:
    """The same tokenizer for our networks."""

    def __init__(self) -> None:
        self._tokenizer = words_tokenizer()

    def encode(self, sentence: str) -> Any:
        """Token ids of a sentence, (L,)."""
        import torch

        return torch.tensor(self._tokenizer.encode(f"{sentence}.").ids)

    def unknown_words(self, sentence: str) -> list[str]:
        """None."""
        return []


def own_session(name: str, device: str, precision: str) -> Any:
    """A session of our network with random weights, which finds an object in every image."""
    import referdino_core as rd
    from referdino_core.session import session as module

    module.tokenizer_of = lambda configuration: OwnTokenizer()  # type: ignore[assignment]
    settings = rd.SessionSettings(accept=0.0, keep=0.0)
    return rd.Session(rd.build(name), settings=settings, device=device, precision=precision)


def peer_session(name: str, device: str, precision: str, size: tuple[int, int]) -> Any:
    """A session of a peer with random weights, whose detector finds a box and whose objects are
    visible; `size` is the height and width of the images.
    """
    import torch
    from transformers import (
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        Sam2HieraDetConfig,
        Sam2VideoConfig,
        Sam2VideoModel,
        Sam2VisionConfig,
    )

    from referdino_core.peers.following import PeerSettings
    from referdino_core.peers.grounded_sam2 import GroundedSAM2
    from referdino_core.peers.grounding_dino import GroundingDINO, GroundingDINOFollower
    from referdino_core.peers.video_segmenter import VideoSegmenter
    from referdino_core.session.peer_session import PeerSession

    family, variant, *scale = name.split()
    settings = PeerSettings(
        box_threshold=0.0, text_threshold=0.0, detect_images=10**9, detect_interval=1e9, max_gap=0.0
    )
    network = GroundingDinoForObjectDetection(GroundingDinoConfig()).eval().to(device)
    sides = {"sizes": (min(size), max(size))} if UNSCALED in scale else {}
    detector = GroundingDINO(network, words_tokenizer(), **sides)
    if family == "grounding-dino":
        return PeerSession(GroundingDINOFollower(detector, settings, precision))
    vision = Sam2VisionConfig(backbone_config=Sam2HieraDetConfig(**SAM2_SIZES[variant]))
    sam2 = Sam2VideoModel(Sam2VideoConfig(vision_config=vision)).eval()
    with torch.no_grad():
        head = sam2.mask_decoder.pred_obj_score_head.proj_out
        head.weight.zero_()
        head.bias.fill_(4.0)
    segmenter = VideoSegmenter(sam2.to(device), precision=precision)
    return PeerSession(GroundedSAM2(detector, segmenter, settings, precision))


def peak_bytes(device: str) -> int:
    """Highest use of memory so far: of a GPU, or resident in main memory."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def serve(
    connection: Connection, name: str, device: str, precision: str, size: tuple[int, int]
) -> None:
    """A worker: builds its engine, then answers each turn with seconds and peak bytes."""
    import torch

    torch.manual_seed(0)
    if " " in name:
        session = peer_session(name, device, precision, size)
    else:
        session = own_session(name, device, precision)
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    connection.send("ready")
    while True:
        turn = connection.recv()
        connection.send((take(session, image, turn, device), peak_bytes(device)))


def take(session: Any, image: np.ndarray, turn: Turn, device: str) -> float:
    """Seconds of one image."""
    import torch

    commands = dict(enumerate(SENTENCES[: turn.commands]))
    session.commands = {str(key): text for key, text in commands.items()}
    follower = getattr(session, "follower", None)
    detections = getattr(follower, "detection_count", None)
    if turn.kind == DETECT and follower is not None:
        follower.forget()
    began = time.perf_counter()
    targets = session.step(image)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    assert len(targets) == turn.commands
    if detections is not None:
        ran = follower.detection_count > detections
        assert ran == (turn.kind == DETECT), f"the detector ran: {ran}, in a turn to {turn.kind}"
    return seconds


class Worker:
    """A process with one engine in one precision."""

    def __init__(self, name: str, device: str, precision: str, size: tuple[int, int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, name, device, precision, size)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # or the end of the worker would go unnoticed
        self.name, self.precision, self.peak = name, precision, 0
        assert self._connection.recv() == "ready"
        self.seconds: dict[Turn, list[float]] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of work of this engine."""
        return (TRACK, DETECT) if self.name.startswith("grounded-sam2") else (TRACK,)

    def ask(self, turn: Turn) -> float:
        """Seconds of one image."""
        self._connection.send(turn)
        seconds, self.peak = self._connection.recv()
        return float(seconds)

    def warm_up(self, commands: int) -> None:
        """Start the commands, and fill the memory."""
        self.ask(Turn(commands, self.kinds[-1]))
        for _ in range(WARM_UP if DETECT in self.kinds else 1):
            self.ask(Turn(commands))

    def measure(self, turn: Turn) -> None:
        """Take a turn and keep its time."""
        self.seconds.setdefault(turn, []).append(self.ask(turn))

    def median(self, commands: int, kind: str = TRACK) -> float:
        """Median seconds."""
        return statistics.median(self.seconds[Turn(commands, kind)])

    def mean(self, commands: int) -> float:
        """Seconds per image, with one detection in 20 images where the two differ."""
        tracked = self.median(commands)
        if DETECT not in self.kinds:
            return tracked
        detected = self.median(commands, DETECT)
        return tracked + (detected - tracked) / IMAGES_PER_DETECTION

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def measure_all(workers: list[Worker], counts: list[int], rounds: int) -> None:
    """Let all engines take turns, image by image."""
    for commands in counts:
        for worker in workers:
            worker.warm_up(commands)
        for kind in (TRACK, DETECT):
            for _ in range(rounds):
                for worker in workers:
                    if kind in worker.kinds:
                        worker.measure(Turn(commands, kind))


def table(workers: list[Worker], counts: list[int]) -> str:
    """The table in Markdown."""
    heads = [f"{count} {'command' if count == 1 else 'commands'}: ms per image" for count in counts]
    lines = [
        f"| engine | precision | {' | '.join(heads)} | peak memory (GB) |",
        f"|---|---|{'---:|' * len(counts)}---:|",
    ]
    for worker in workers:
        cells = [_cell(worker, count) for count in counts]
        lines.append(
            f"| {worker.name} | {worker.precision} | {' | '.join(cells)} "
            f"| {worker.peak / 1e9:.2f} |"
        )
    return "\n".join(lines)


def _cell(worker: Worker, commands: int) -> str:
    mean = f"{1000 * worker.mean(commands):.0f}"
    if DETECT not in worker.kinds:
        return mean
    tracked, detected = (1000 * worker.median(commands, kind) for kind in (TRACK, DETECT))
    return f"{mean} ({tracked:.0f} tracking, {detected:.0f} detecting)"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="640x360", help="of the images (default: 640x360)")
    parser.add_argument("--commands", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    workers = [
        Worker(name, options.device, precision, (height, width))
        for precision in options.precisions
        for name in options.engines
    ]
    try:
        measure_all(workers, options.commands, options.rounds)
    finally:
        for worker in workers:
            worker.close()
    print(f"{width}x{height} pixels, {options.device}, medians of {options.rounds} rounds\n")
    print(table(workers, options.commands))


if __name__ == "__main__":
    main()
