# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Training on referring video object segmentation: the loop, its state, its outputs."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from referdino_core.building import build, load_checkpoint, tokenizer_of
from referdino_core.checkpoint import save_weights
from referdino_core.errors import InferenceError, ReferDINOError
from referdino_core.files import AtomicFile
from referdino_core.network.referdino import ReferDINO
from referdino_core.precision import PRECISIONS
from referdino_core.training.clip_outputs import clip_outputs
from referdino_core.training.clip_samples import ClipSamples, Draws, TrainingClip, TrainingItem
from referdino_core.training.criterion import TrainingLosses, clip_losses
from referdino_core.training.learnt_parts import parameter_groups, prepare_for_training
from referdino_core.training.loop import forget_curve
from referdino_core.training.lora import lora_tensors, merged_tensors
from referdino_core.training.processes import Processes
from referdino_core.training.training_state import TrainingState
from referdino_core.training.validation import validate
from referdino_core.training.video_recipes import VideoRecipe

logger = logging.getLogger("referdino.training")

CURVE = "curve"


@dataclass(frozen=True)
class TrainingData:
    """Items to learn from, and items of other videos for validation."""

    learnt: Sequence[TrainingItem]
    held_back: Sequence[TrainingItem]


class TrainingStep(nn.Module):
    """The forward pass of a step: clips to losses. A module, so that processes can share it."""

    def __init__(self, model: ReferDINO, recipe: VideoRecipe) -> None:
        super().__init__()
        self.model, self.weights = model, recipe.weights

    def forward(self, clips: Sequence[TrainingClip]) -> TrainingLosses:
        """Losses of a batch of clips, each at its own size."""
        device = self.model.device
        outputs = [
            clip_outputs(self.model, clip.pixels.to(device), clip.input_ids.to(device))
            for clip in clips
        ]
        return clip_losses(outputs, [clip.truth.to(device) for clip in clips], self.weights)


def build_model(recipe: VideoRecipe, start: Path | None, seed: int) -> ReferDINO:
    """The model of a recipe with the weights to start from, or random ones.

    Args:
        start: a checkpoint of ReferDINO or of GroundingDINO, which lacks what ReferDINO adds.
    """
    torch.manual_seed(seed)
    layers = {"temporal_layers": 0} if recipe.clip_frames == 1 else {}
    model = build(recipe.model, **layers)
    if start is not None:
        load_checkpoint(model, start, strict=False)
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
    ) -> None:
        """Set a run up, and take up its state where it has one.

        Args:
            model: see `build_model`.
            folder: of the state, the curve and the weights.
            workers: processes that read and augment clips; 0 does it in this one.
        """
        self.model, self.data, self.recipe = model.to(processes.device), data, recipe
        self.folder, self.processes, self.seed, self.workers = folder, processes, seed, workers
        step = TrainingStep(self.model, recipe)
        self.forward: nn.Module = step
        if processes.count > 1:
            self.forward = DistributedDataParallel(step, find_unused_parameters=True)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, recipe), weight_decay=recipe.weight_decay
        )
        self.scaler = torch.amp.GradScaler(
            processes.device.type, enabled=recipe.precision == "fp16"
        )
        self.state = TrainingState(self.model, self.optimiser, self.scaler, recipe)
        if self.state.load(folder, processes.device):
            logger.info("Going on at step %d.", self.state.step)
        self.tokenizer = tokenizer_of(self.model.configuration)
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
        draws = self._draws(self.state.step)
        last = min(draws.steps, most_steps or draws.steps)
        saved = self.state.step
        with self._curve() as curve, bar(total=last, initial=self.state.step, unit="step") as shown:
            for clips in self._batches(draws):
                stopped = self.state.step >= last or self.processes.any(stop.is_set())
                if stopped and self._may_stop:
                    break
                losses = self._step(clips, draws)
                self._note(curve, shown, losses)
                if self._may_stop and self.state.step - saved >= self.recipe.save_every:
                    self._save()
                    saved = self.state.step
                if self.state.step % draws.steps_per_epoch == 0:
                    self._end_epoch(self.state.step // draws.steps_per_epoch)
        self._save()
        return self.state.step >= last

    @property
    def _may_stop(self) -> bool:
        """Whether no gradients are being accumulated, which a saved state would not hold."""
        return self.state.step % self.recipe.accumulation == 0

    def _draws(self, first: int) -> Draws:
        if len(self.data.learnt) < self.recipe.clips_per_step * self.processes.count:
            raise ReferDINOError(
                f"{len(self.data.learnt)} sentences are too few for {self.processes.count} "
                f"processes with {self.recipe.clips_per_step} clips each."
            )
        return Draws(
            len(self.data.learnt),
            self.recipe,
            self.seed,
            first,
            self.processes.rank,
            self.processes.count,
        )

    def _batches(self, draws: Draws) -> DataLoader[TrainingClip]:
        samples = ClipSamples(
            self.data.learnt,
            self.recipe,
            self.tokenizer,
            self.model.configuration.image_short_side,
        )
        return DataLoader(
            samples,
            batch_sampler=draws,
            num_workers=self.workers,
            collate_fn=list,
            persistent_workers=False,
        )

    def _step(self, clips: Sequence[TrainingClip], draws: Draws) -> TrainingLosses:
        """One forward and backward pass; every `accumulation` of them a step of the optimiser."""
        state, recipe = self.state, self.recipe
        steps_now = (state.step + 1) % recipe.accumulation == 0
        quiet: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if isinstance(self.forward, DistributedDataParallel) and not steps_now:
            quiet = self.forward.no_sync()
        self.model.train()
        low = torch.autocast(
            self.processes.device.type,
            PRECISIONS[recipe.precision].dtype,
            enabled=recipe.precision != "fp32",
        )
        with quiet:
            with low:
                losses = self._losses(clips)
            self.scaler.scale(losses.total / recipe.accumulation).backward()
        if steps_now:
            self.scaler.unscale_(self.optimiser)
            learnt = [p for group in self.optimiser.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(learnt, recipe.gradient_norm)
            for group in self.optimiser.param_groups:
                group["lr"] = group["highest"] * self.rate_at(state.step / draws.steps)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.optimiser.zero_grad()
            state.average()
        state.step += 1
        return losses

    def rate_at(self, progress: float) -> float:
        """Factor of the learning rates at a fraction of the run."""
        at_once = self.recipe.clips_per_step * self.processes.count * self.recipe.accumulation
        return at_once / 2 * (1.0 if progress < self.recipe.drop_at else 0.1)

    def _losses(self, clips: Sequence[TrainingClip]) -> TrainingLosses:
        """Losses of a batch.

        Raises:
            ReferDINOError: they are not finite.
        """
        for line in (line for clip in clips for line in clip.unreadable):
            self.unreadable += 1
            logger.warning("Replaced (%d so far): %s", self.unreadable, line)
        with contextlib.suppress(InferenceError):
            losses: TrainingLosses = self.forward(clips)
            if bool(losses.total.detach().isfinite()):
                return losses
        names = "; ".join(clip.name for clip in clips)
        raise ReferDINOError(
            f"The loss of step {self.state.step} is not finite; its clips are {names}. The last "
            "saved state is kept: go on from it with a lower learning rate."
        )

    @contextlib.contextmanager
    def _curve(self) -> Iterator[Callable[[dict[str, float]], None]]:
        """A function that appends a line to the curve, and to TensorBoard where it is installed."""
        if not self.processes.is_first:
            yield lambda line: None
            return
        forget_curve(self.folder, CURVE, after=self.state.step)
        path = self.folder / f"{CURVE}.jsonl"
        with path.open("a", encoding="utf-8") as file, _tensorboard(self.folder) as write:

            def append(line: dict[str, float]) -> None:
                file.write(json.dumps(line) + "\n")
                file.flush()
                write(line)

            yield append

    def _note(
        self, curve: Callable[[dict[str, float]], None], shown: tqdm, losses: TrainingLosses
    ) -> None:
        total = self.processes.mean(losses.total)
        final = losses.layers["final"]
        terms = {name: float(value.detach()) for name, value in vars(final).items()}
        curve({"step": self.state.step, "total": total, **terms})
        shown.set_postfix(loss=f"{total:.3f}", refresh=False)
        shown.update()

    def _save(self) -> None:
        if self.processes.is_first:
            self.state.save(self.folder)
        self.processes.wait()

    def _end_epoch(self, epoch: int) -> None:
        """Validate with the averaged weights, and keep the weights that do best."""
        if self.processes.is_first:
            self.state.exchange_averaged()
            items = self.data.held_back[: self.recipe.validation_clips]
            pictures = self.folder / "validation" / f"epoch_{epoch:03d}"
            score = validate(self.model, self.tokenizer, items, pictures)
            logger.info("Epoch %d: J %.3f on %d sentences.", epoch, score, len(items))
            save_run_weights(self.model, self.folder, "last")
            if score > self.state.best:
                self.state.best = score
                save_run_weights(self.model, self.folder, "best")
            self.state.exchange_averaged()
        if self._may_stop:
            self._save()
        self.processes.wait()


@contextlib.contextmanager
def _tensorboard(folder: Path) -> Iterator[Callable[[dict[str, float]], None]]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("TensorBoard is not installed; the curve is in %s.", folder / f"{CURVE}.jsonl")
        yield lambda line: None
        return
    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def write(line: dict[str, float]) -> None:
            for name, value in line.items():
                if name != "step":
                    writer.add_scalar(f"loss/{name}", value, int(line["step"]))

        yield write


def save_run_weights(model: ReferDINO, folder: Path, name: str) -> None:
    """Write weights three times: merged as .pth and .safetensors, and the LoRA alone."""
    from safetensors.torch import save_file

    merged = {key: tensor.cpu().contiguous() for key, tensor in merged_tensors(model).items()}
    writers: dict[str, Callable[[Path], object]] = {
        f"{name}.pth": lambda path: torch.save({"model_state_dict": merged}, path),
        f"{name}.safetensors": lambda path: save_weights(model, path),
        f"{name}_lora.safetensors": lambda path: save_file(
            {key: tensor.cpu().contiguous() for key, tensor in lora_tensors(model).items()}, path
        ),
    }
    for file_name, write in writers.items():
        file = AtomicFile(folder / file_name)
        write(file.temporary_path)
        file.commit()
