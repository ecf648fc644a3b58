# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Training on referring video object segmentation: a run, its validation and its weights."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from referdino_core.building import add_words, build, load_checkpoint, tokenizer_of
from referdino_core.checkpoint import WORDS_KEY, added_words_of, save_weights, shorten
from referdino_core.configuration import CONFIGURATIONS
from referdino_core.errors import ReferDINOError
from referdino_core.files import AtomicFile
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import WordTokenizer
from referdino_core.training.boards import Boards, WandbPlan
from referdino_core.training.clip_outputs import clip_outputs
from referdino_core.training.clip_samples import ClipSamples, Draws, TrainingClip
from referdino_core.training.criterion import clip_losses
from referdino_core.training.data_sets import TrainingData
from referdino_core.training.frame_stage import clip_losses_by_frame
from referdino_core.training.learnt_parts import parameter_groups, prepare_for_training
from referdino_core.training.loop import LoopPlan, Source, StepLosses, TrainingLoop
from referdino_core.training.lora import lora_tensors, merged_tensors
from referdino_core.training.processes import Processes
from referdino_core.training.training_state import RunFiles
from referdino_core.training.validation import read_pictures, validate
from referdino_core.training.video_recipes import VideoRecipe

logger = logging.getLogger("referdino.training")


class TrainingStep(nn.Module):
    """The forward pass of a step: clips to losses. A module, so that processes can share it."""

    def __init__(self, model: ReferDINO, recipe: VideoRecipe) -> None:
        super().__init__()
        self.model, self.recipe = model, recipe

    def forward(self, clips: Sequence[TrainingClip]) -> StepLosses:
        """Losses of a batch of clips, each at its own size."""
        if self.recipe.assignment == "covering":
            terms = clip_losses_by_frame(self.model, clips)
            return StepLosses(torch.stack([term.float() for term in terms.values()]).sum(), terms)
        device = self.model.device
        outputs = [
            clip_outputs(
                self.model,
                clip.pixels.to(device, non_blocking=True),
                clip.input_ids.to(device, non_blocking=True),
            )
            for clip in clips
        ]
        truths = [clip.truth.to(device) for clip in clips]
        recipe = self.recipe
        losses = clip_losses(outputs, truths, recipe.weights, recipe.contrastive_weight)
        terms = dict(vars(losses.layers["final"]))
        if losses.contrastive is not None:
            terms["contrastive"] = losses.contrastive
        return StepLosses(losses.total, terms)


def build_model(recipe: VideoRecipe, start: Path | None, seed: int) -> ReferDINO:
    """The model of a recipe with the weights to start from, or random ones.

    Args:
        start: a checkpoint of ReferDINO or of GroundingDINO, which lacks what ReferDINO adds.

    Raises:
        ReferDINOError: the weights do not fit, or words cannot be added to the model's vocabulary.
    """
    torch.manual_seed(seed)
    overrides: dict[str, Any] = {"temporal_layers": 0} if recipe.clip_frames == 1 else {}
    if start is not None and CONFIGURATIONS[recipe.model].tokenizer == "words":
        overrides["added_words"] = added_words_of(start)
    model = build(recipe.model, **overrides)
    if start is not None:
        load_checkpoint(model, start, strict=False)
    model = add_words(model, recipe.words)
    prepare_for_training(model, recipe)
    return model


class VideoTraining:
    """A training run in a folder, which goes on where it was stopped."""

    def __init__(
        self,
        model: ReferDINO,
        data: TrainingData,
        recipe: VideoRecipe,
        folder: Path,
        processes: Processes,
        *,
        seed: int = 0,
        workers: int = 0,
        wandb: str | None = None,
    ) -> None:
        """Set a run up, and take up its state where it has one.

        Args:
            model: see `build_model`.
            folder: of the state, the curve and the weights.
            workers: processes that read and augment clips; 0 does it in this one.
            wandb: project of Weights & Biases that shows the run; None for none.
        """
        self.model, self.data, self.recipe = model.to(processes.device), data, recipe
        self.folder, self.processes, self.seed, self.workers = folder, processes, seed, workers
        self.forward: nn.Module = TrainingStep(self.model, recipe)
        shared = None
        if processes.count > 1:
            shared = DistributedDataParallel(self.forward, find_unused_parameters=True)
            self.forward = shared
        optimiser = torch.optim.AdamW(
            parameter_groups(self.model, recipe), weight_decay=recipe.weight_decay
        )
        self.run_length = self._draws(0).steps
        plan = LoopPlan(
            steps=self.run_length,
            gradient_norm=recipe.gradient_norm,
            accumulation=recipe.accumulation,
            averaging=recipe.averaging,
            precision=recipe.precision,
            save_every=recipe.save_every,
        )
        settings = {**dataclasses.asdict(recipe), "seed": seed}
        self.loop = TrainingLoop(
            plan,
            self.model,
            (optimiser,),
            self.rate_at,
            RunFiles.of_run(folder),
            processes,
            shared,
            None if wandb is None else WandbPlan(wandb, folder, settings),
        )
        self.tokenizer = tokenizer_of(self.model.configuration)
        if processes.is_first and isinstance(self.tokenizer, WordTokenizer):
            warn_of_unknown_words(self.tokenizer, data)
        self.unreadable = 0

    def run(
        self,
        stop: threading.Event,
        bar: Callable[..., tqdm],
        most_steps: int | None = None,
    ) -> bool:
        """Train to the end, or until `stop` is set; the state is saved in either case.

        Args:
            bar: makes a progress bar.
            most_steps: end of a shorter run.

        Returns:
            Whether the run is complete.

        Raises:
            ReferDINOError: a loss is not finite, or nothing can be read.
        """
        draws = self._draws(self.loop.state.step)

        def end_epoch(step: int, boards: Boards) -> None:
            if step % draws.steps_per_epoch == 0:
                self._end_epoch(step // draws.steps_per_epoch, boards)

        return self.loop.run(
            Source(self._batches(draws), self._losses, _names),
            bar=bar,
            stop=stop,
            most_steps=most_steps,
            after_step=end_epoch,
        )

    def _draws(self, first: int) -> Draws:
        drawn = sum(self.data.mixture.draws)
        if drawn < self.recipe.clips_per_step * self.processes.count:
            raise ReferDINOError(
                f"{drawn} sentences are too few for {self.processes.count} "
                f"processes with {self.recipe.clips_per_step} clips each."
            )
        return Draws(
            self.data.mixture,
            self.recipe,
            self.seed,
            first,
            self.processes.rank,
            self.processes.count,
        )

    def _batches(self, draws: Draws) -> DataLoader[TrainingClip]:
        samples = ClipSamples(
            self.data,
            self.recipe,
            self.tokenizer,
            self.model.configuration.image_short_side,
        )
        return DataLoader(
            samples,
            batch_sampler=draws,
            num_workers=self.workers,
            collate_fn=list,
            pin_memory=self.processes.device.type == "cuda",
            persistent_workers=False,
        )

    def rate_at(self, step: int) -> float:
        """Factor of the learning rates at a step."""
        at_once = self.recipe.clips_per_step * self.processes.count * self.recipe.accumulation
        progress = step / self.run_length
        return at_once / 2 * (1.0 if progress < self.recipe.drop_at else 0.1)

    def _losses(self, clips: Sequence[TrainingClip]) -> StepLosses:
        for line in (line for clip in clips for line in clip.unreadable):
            self.unreadable += 1
            logger.warning("Replaced (%d so far): %s", self.unreadable, line)
        losses: StepLosses = self.forward(clips)
        return losses

    def _end_epoch(self, epoch: int, boards: Boards) -> None:
        """Validate with the averaged weights, and keep the weights that do best."""
        if self.processes.is_first:
            state = self.loop.state
            state.exchange_averaged()
            items = self.data.held_back[: self.recipe.validation_clips]
            pictures = self.folder / "validation" / f"epoch_{epoch:03d}"
            score = validate(self.model, self.tokenizer, items, pictures)
            logger.info("Epoch %d: J %.3f on %d sentences.", epoch, score, len(items))
            boards.add_figures(state.step, {"validation/J": score, "validation/epoch": epoch})
            boards.add_pictures(state.step, read_pictures(pictures))
            save_run_weights(self.model, self.folder, "last")
            if score > state.best:
                state.best = score
                save_run_weights(self.model, self.folder, "best")
            state.exchange_averaged()
        if self.loop.may_stop:
            self.loop.save()
        self.processes.wait()


def warn_of_unknown_words(tokenizer: WordTokenizer, data: TrainingData) -> None:
    """Log the words of the sentences that the vocabulary lacks, and how to add them."""
    sentences = {item.expression.sentence for item in data.learnt}
    unknown = sorted({word for one in sentences for word in tokenizer.unknown_words(one)})
    if unknown:
        logger.warning(
            "The model does not know %d words of the sentences: %s. --set words=%s adds them.",
            *(len(unknown), shorten(unknown, 20), ",".join(unknown[:20])),
        )


def _names(clips: Sequence[TrainingClip]) -> str:
    return f"its clips are {'; '.join(clip.name for clip in clips)}"


def save_run_weights(model: ReferDINO, folder: Path, name: str) -> None:
    """Write weights: merged as .pth and .safetensors, and the LoRA alone where there is one."""
    from safetensors.torch import save_file

    merged = {key: tensor.cpu().contiguous() for key, tensor in merged_tensors(model).items()}
    content: dict[str, Any] = {"model_state_dict": merged}
    if model.configuration.added_words:
        content[WORDS_KEY] = " ".join(model.configuration.added_words)
    writers: dict[str, Callable[[Path], object]] = {
        f"{name}.pth": lambda path: torch.save(content, path),
        f"{name}.safetensors": lambda path: save_weights(model, path),
    }
    lora = {key: tensor.cpu().contiguous() for key, tensor in lora_tensors(model).items()}
    if lora:
        writers[f"{name}_lora.safetensors"] = lambda path: save_file(lora, path)
    for file_name, write in writers.items():
        file = AtomicFile(folder / file_name)
        write(file.temporary_path)
        file.commit()
