"""Pretraining: one readable loop on Lightning Fabric.

A run is its recipe: data order, masks, diffusion steps and noise of step n come from (seed, n), so that a resumed run
continues with the same losses and ends with the same bytes as one that was never stopped (same machine and threads).
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from channelfm.checkpoints import is_checkpoint_of, save_checkpoint
from channelfm.errors import InputError
from channelfm.models.zoo import build
from channelfm.pretraining.objectives import Batch, diffusion_loss, draw_batch
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.state import TrainingState, load_state, save_state
from channelfm.tasks.diffusion_predictor import DiffusionPredictor
from channelfm.tasks.extrapolation import examples, usable_snapshots
from channelfm.tasks.predictor import fold_frequency

STATE = "state.safetensors"
VALIDATION_RATIOS = (0.5, 0.75, 0.9)
_VALIDATION_SAMPLES = 64


def pretrain(
    recipe: PretrainRecipe,
    train_grid: NDArray[np.complex64],
    validation_grid: NDArray[np.complex64],
    out: str | Path,
) -> Path:
    """Train a network on channels complex64 [snapshot, row, column, frequency]; returns the checkpoint folder.

    ``out`` receives ``checkpoint/`` (weights of the moving average, configuration, provenance), ``logs/``
    (TensorBoard) and, while the run lasts, its state, from which an interrupted run goes on. A finished run of the
    same recipe on the same data is returned as it is. Snapshots without a path are left out.

    Raises InputError when no channel is left, or when ``out`` holds an unfinished run of another recipe or data.
    """
    out = Path(out)
    train, validation = usable_snapshots(train_grid), usable_snapshots(validation_grid)
    if not len(train):
        raise InputError("no training channel has any path: generate a data set with links that do")
    identity = {"recipe_sha256": recipe.content_hash(), "data_sha256": _data_hash(train)}
    if is_checkpoint_of(out / "checkpoint", identity):
        return out / "checkpoint"
    fabric = Fabric(
        accelerator=recipe.accelerator,
        devices=recipe.devices,
        precision=recipe.precision,
        loggers=TensorBoardLogger(root_dir=out / "logs", name="", version=""),
    )
    fabric.launch()
    state = _fresh_state(recipe, fabric.device)
    load_state(out / STATE, state, identity)
    _train(fabric, recipe, state, fold_frequency(train), out, identity)
    scores = validate(state.average, recipe, validation)
    if fabric.is_global_zero:
        fabric.log_dict({f"validation/nmse_db_{ratio}": score for ratio, score in scores.items()}, recipe.steps)
        provenance = identity | {"recipe": recipe.model_dump(mode="json"), "validation_nmse_db": scores}
        save_checkpoint(out / "checkpoint", state.average, recipe.predictor, provenance)
        (out / STATE).unlink(missing_ok=True)
    fabric.logger.finalize("success")
    fabric.barrier()
    return out / "checkpoint"


def validate(network: torch.nn.Module, recipe: PretrainRecipe, grid: NDArray[np.complex64]) -> dict[str, float]:
    """NMSE in dB (of the linear mean) at fixed masks of each validation ratio; empty without validation channels."""
    predictor = DiffusionPredictor(copy.deepcopy(network).cpu(), recipe.predictor)
    scores = {}
    for ratio in VALIDATION_RATIOS if len(grid) else ():
        task = examples(grid[:_VALIDATION_SAMPLES], ratio, recipe.seed)
        error = np.abs(predictor.predict(task.observed, task.mask) - task.target) ** 2
        nmse = error.sum((1, 2, 3)) / (np.abs(task.target) ** 2).sum((1, 2, 3))
        scores[str(ratio)] = round(float(10 * np.log10(nmse.mean())), 3)
    return scores


def learning_rate(recipe: PretrainRecipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _train(
    fabric: Fabric,
    recipe: PretrainRecipe,
    state: TrainingState,
    channels: NDArray[np.complex64],
    out: Path,
    identity: dict[str, str],
) -> None:
    """Run the remaining steps on ``channels`` [N, rows, cols], saving the state every so often."""
    network, optimizer = fabric.setup(state.network, state.optimizer)
    with _progress(recipe.steps, state.step, shown=fabric.is_global_zero) as advance:
        while state.step < recipe.steps:
            batch = _batch(recipe, channels, state.step, fabric)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, state.step)
            loss = diffusion_loss(network, recipe.predictor.diffusion, batch)
            optimizer.zero_grad()
            fabric.backward(loss)
            norm = fabric.clip_gradients(network, optimizer, max_norm=recipe.gradient_clip)
            optimizer.step()
            _update_average(state, recipe)
            fabric.log_dict({"train/loss": loss.detach(), "train/gradient_norm": norm}, state.step)
            state.step += 1
            advance(loss.item())
            if state.step % recipe.save_every == 0 and fabric.is_global_zero:
                save_state(out / STATE, state, identity)


def _fresh_state(recipe: PretrainRecipe, device: torch.device) -> TrainingState:
    """Network initialised from the recipe's seed, without touching the global generator; its average; optimizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build(recipe.predictor.model, **recipe.predictor.model_options).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98), fused=True
    )
    return TrainingState(network, copy.deepcopy(network).requires_grad_(False), optimizer)


def _batch(recipe: PretrainRecipe, channels: NDArray[np.complex64], step: int, fabric: Fabric) -> Batch:
    """The batch of a step; every process of a larger run draws its own."""
    batch = draw_batch(
        channels,
        recipe.batch_size,
        recipe.mask_ratio,
        recipe.predictor.frame,
        recipe.predictor.diffusion,
        recipe.mirror,
        (recipe.seed, step, fabric.global_rank),
    )
    return Batch(*(tensor.to(fabric.device) for tensor in vars(batch).values()))


@torch.no_grad()
def _update_average(state: TrainingState, recipe: PretrainRecipe) -> None:
    """Exponential moving average, shorter in the first steps so that it forgets the initialisation."""
    decay = min(recipe.ema_decay, (1 + state.step) / (10 + state.step))
    torch._foreach_lerp_(list(state.average.parameters()), list(state.network.parameters()), 1 - decay)


def _data_hash(channels: NDArray[np.complex64]) -> str:
    """SHA-256 over shape and values."""
    return hashlib.sha256(repr(channels.shape).encode() + np.ascontiguousarray(channels).tobytes()).hexdigest()


@contextmanager
def _progress(total: int, done: int, shown: bool) -> Iterator[Any]:
    """A progress bar; yields a function of the latest loss that advances it by one step."""
    columns = (TextColumn("pretraining"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"))
    with Progress(*columns, TimeRemainingColumn(), disable=not shown) as bar:
        task = bar.add_task("", total=total, completed=done, loss=float("nan"))
        yield lambda loss: bar.update(task, advance=1, loss=loss)
