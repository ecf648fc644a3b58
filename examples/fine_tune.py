# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Fine-tune the bundled model on forty clips of a changed world, and see what that brings.

    python examples/fine_tune.py --out runs/fine_tune

In the changed world, objects are pink, brown and turquoise, colours that `nano` has never seen and
has no words for. The clips are written as clips of one's own are (folders of images and of label
images, and one JSON file), `referdino train` learns from them, with the words added to the
vocabulary, and unseen clips are scored before and after. For clips of your own, leave `write_clips`
out.

Needs MuJoCo, for the clips.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import referdino_core as rd
from referdino_core.argument_types import positive_integer
from referdino_core.building import usable_device
from referdino_core.cli import main as referdino
from referdino_core.errors import ReferDINOError
from referdino_core.evaluation.world_clips import (
    STATIC_KINDS,
    SentenceScore,
    score_sentence,
    stream_clip,
)
from referdino_core.files import create_folder
from referdino_core.training.stages import precision_of
from referdino_core.world import Clip, Expression, WorldRenderer
from referdino_core.world.scene import COLOURS

NEW_COLOURS = {
    "purple": ("pink", (0.98, 0.45, 0.70)),
    "orange": ("brown", (0.42, 0.24, 0.10)),
    "blue": ("turquoise", (0.15, 0.78, 0.75)),
}
"""Colours of the world, with the word and the RGB values (0 to 1) that replace them."""
WORDS = tuple(word for word, _ in NEW_COLOURS.values())
SENTENCES = 12
"""Most sentences of a clip to learn from."""
SCORED = 2
"""Most sentences of a clip that are scored in each group."""


def recoloured(clip: Clip) -> Clip:
    """The clip with other colours of its objects, and other words in its sentences."""
    frames = clip.frames.copy()
    for number, item in enumerate(clip.objects, start=1):
        shown = clip.segmentation == number
        if item.colour in NEW_COLOURS and shown.any():
            repaint(frames, shown, item.colour)
    words = {old: new for old, (new, _) in NEW_COLOURS.items()}
    expressions = tuple(
        replace(one, text=" ".join(words.get(word, word) for word in one.text.split()))
        for one in clip.expressions
    )
    return replace(clip, frames=frames, expressions=expressions)


def repaint(frames: np.ndarray, mask: np.ndarray, colour: str) -> None:
    """Replace a colour of the world in the masked pixels (T, H, W); light and shade remain."""
    old = np.array(colorsys.rgb_to_hsv(*COLOURS[colour]))
    new = np.array(colorsys.rgb_to_hsv(*NEW_COLOURS[colour][1]))
    pixels = frames[mask][None].astype(np.float32) / 255
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * (new[0] - old[0])) % 360
    hsv[..., 1:] = np.clip(hsv[..., 1:] * (new[1:] / old[1:]), 0, 1)
    frames[mask] = (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0] * 255).round().astype(np.uint8)


def names_a_new_colour(expression: Expression) -> bool:
    """Whether the sentence has a word that the model does not know."""
    return bool(set(WORDS) & set(expression.text.split()))


def write_clips(folder: Path, clips: Iterable[Clip]) -> None:
    """Write clips as `referdino train` reads them: images, label images and clips.json."""
    described = {}
    for clip in clips:
        name = f"clip_{clip.index:03d}"
        for kind in ("images", "masks"):
            (folder / kind / name).mkdir(parents=True, exist_ok=True)
        for index, (frame, labels) in enumerate(zip(clip.frames, clip.segmentation, strict=True)):
            file = f"{index:03d}.png"
            cv2.imwrite(str(folder / "images" / name / file), frame[:, :, ::-1])
            cv2.imwrite(str(folder / "masks" / name / file), labels)
        described[name] = {
            "source": f"images/{name}",
            "frame_rate": 10.0,
            "masks": f"masks/{name}",
            "sentences": [
                {"text": one.text, "objects": list(one.targets)}
                for one in drawn(clip, SENTENCES, (True, False))
            ],
        }
    (folder / "clips.json").write_text(json.dumps({"clips": described}), encoding="utf-8")


def drawn(clip: Clip, most: int, groups: Sequence[bool]) -> list[Expression]:
    """Random static sentences of a clip, in turn of each group: with a new colour, without."""
    generator = np.random.default_rng([clip.index, 11])
    static = [one for one in clip.expressions if one.kind in STATIC_KINDS]
    shares = [[one for one in static if names_a_new_colour(one) is group] for group in groups]
    chosen = []
    for share in shares:
        order = generator.permutation(len(share))[: most // len(groups)]
        chosen += [share[place] for place in order]
    return chosen


def score(model: str | Path, clips: Sequence[Clip], with_new_colour: bool) -> list[SentenceScore]:
    """Scores of sentences about clips, streamed frame by frame as on a robot."""
    session = rd.Session(model)
    scores = []
    for clip in clips:
        sentences = drawn(clip, SCORED, (with_new_colour,))
        if sentences:
            masks = stream_clip(session, clip, sentences)
            pairs = zip(sentences, masks, strict=True)
            scores += [score_sentence(clip, sentence, found) for sentence, found in pairs]
    return [one for one in scores if one.region is not None]


def table(before: Path | str, after: Path | str, changed: list[Clip], same: list[Clip]) -> str:
    """A table of J and of how often the right object was found, before and after."""
    logging.getLogger("referdino").setLevel(logging.ERROR)  # unknown words, clip by clip
    rows = [
        "| sentences of unseen clips | number | J before | J after | right object before | after |",
        "|---|---|---|---|---|---|",
    ]
    for name, clips, new in (
        ("new colour", changed, True),
        ("changed world, other words", changed, False),
        ("world as it was", same, False),
    ):
        columns = [score(model, clips, new) for model in (before, after)]
        regions = [f"{np.mean([one.region for one in column]):.3f}" for column in columns]
        right = [f"{np.mean([one.right for one in column]):.1%}" for column in columns]
        rows.append(f"| {' | '.join([name, str(len(columns[0])), *regions, *right])} |")
    return "\n".join(rows)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of clips and weights")
    parser.add_argument("--clips", type=positive_integer, default=40, help="clips to learn from")
    parser.add_argument("--unseen", type=positive_integer, default=60, help="clips to score")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of `referdino train`"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the clips, fine-tune, and print what it brought."""
    options = parse(arguments)
    data, run = options.out / "clips", options.out / "run"
    try:
        create_folder(data)
    except ReferDINOError as error:
        print(f"fine_tune: error: {error}", file=sys.stderr)
        return 1
    with WorldRenderer() as renderer:
        write_clips(data, (recoloured(renderer.clip("train", i)) for i in range(options.clips)))
        same = [renderer.clip("test", index) for index in range(options.unseen)]
    changed = [recoloured(clip) for clip in same]
    command = ["train", "--recipe", "own_nano", "--data", str(data), "--out", str(run)]
    precision = precision_of(usable_device("auto"))
    settings = [f"words={','.join(WORDS)}", f"precision={precision}", "hold_back=20"]
    settings += ["validation_clips=10", *options.set]
    print("referdino", *command, "--set", *settings, flush=True)
    status = referdino([*command, "--set", *settings])
    if status == 0:
        print(table("nano", run / "last.safetensors", changed, same))
    return status


if __name__ == "__main__":
    sys.exit(main())
