"""Pretraining: one readable loop on Lightning Fabric.

A run is its recipe: data, masks, diffusion steps and noise of step n come from (seed, n), so that a resumed run
continues with the same losses and ends with the same bytes as one that was never stopped (same machine and threads).
The last moving average is the result; validation only watches.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from channelfm.checkpoints import CHECKPOINT, CONFIG, STATE, WEIGHTS, load_checkpoint, read_config, save_checkpoint
from channelfm.datasets.claim import at_work
from channelfm.errors import ChannelfmError, InputError
from channelfm.files import remove_leftovers
from channelfm.pretraining.feed import feed
from channelfm.pretraining.identity import Identity
from channelfm.pretraining.journal import HISTORY, Journal
from channelfm.pretraining.learner import NETWORK, Learner, launch, rate_factor, update_average
from channelfm.pretraining.objectives import OBJECTIVES, fresh_networks
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import ArraySource, TrainingSource
from channelfm.pretraining.state import load_state, save_state
from channelfm.pretraining.utilisation import Meter
from channelfm.pretraining.validation import validate
from channelfm.pretraining.views import Batch

SMALLEST_WEIGHT = 1e-12  # of a batch on average; all zero where nothing was received


class StoppedError(ChannelfmError):
    """The time that a run was given is over; its state is kept."""


def pretrain(
    recipe: PretrainRecipe,
    train_grid: NDArray[np.complex64],
    validation_grid: NDArray[np.complex64],
    out: str | Path,
) -> Path:
    """:func:`pretrain_from` channels complex64 [snapshot, row, column, frequency] in memory."""
    return pretrain_from(recipe, ArraySource(train_grid), validation_grid, out)


def pretrain_from(
    recipe: PretrainRecipe,
    source: TrainingSource,
    validation_grid: NDArray[np.complex64],
    out: str | Path,
    max_seconds: float | None = None,
) -> Path:
    """Train a network on a source's links or sequences; returns the checkpoint folder.

    ``validation_grid`` complex64 [snapshot, row, column, frequency], or [sequence, frame, row, column, frequency], may
    be empty; snapshots without a path are left out. ``out`` receives ``checkpoint/`` (weights of the moving average,
    configuration, provenance), ``history.json`` and ``logs/`` (TensorBoard) and, while the run lasts, its state, from
    which an interrupted run goes on. A finished run of the same recipe on the same data is returned as it is.

    Raises InputError when the source cannot give what the recipe asks for, when ``out`` holds a run of another recipe
    or data (it names what differs), when another run is at work there, or when training breaks down; OSError, before
    the first step, where ``out`` cannot be written; StoppedError after ``max_seconds``.
    """
    out = Path(out)
    source.check(recipe)
    identity, checkpoint = Identity.of(recipe, source), out / CHECKPOINT
    if (checkpoint / CONFIG).is_file():
        kept = read_config(checkpoint).provenance
        identity.refuse_another(f"{out}: holds a finished run that", kept, kept.get("recipe", {}))
        load_checkpoint(checkpoint)  # a damaged one is no result
        return checkpoint
    fabric = launch(recipe)
    with claimed(out) if fabric.is_global_zero else nullcontext():
        learner = Learner(fabric, recipe, fresh_networks(recipe))
        load_state(out / STATE, learner.state, identity)
        run = _Run(fabric, learner, out, identity, validation_grid)
        run.train(source, max_seconds)
        run.finish()
    return checkpoint


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The folder for one run alone, without what killed runs left of files that they were writing."""
    out.mkdir(parents=True, exist_ok=True)
    with at_work(out):
        for file in (STATE, HISTORY, *(f"{CHECKPOINT}/{name}" for name in (WEIGHTS, CONFIG))):
            remove_leftovers(out / file)
        yield


class _Run:
    """One run of the loop: what it works with, and what it writes."""

    def __init__(
        self,
        fabric: Fabric,
        learner: Learner,
        out: Path,
        identity: Identity,
        validation: NDArray[np.complex64],
    ) -> None:
        self.fabric, self.learner, self.recipe, self.state = fabric, learner, learner.recipe, learner.state
        self.out, self.identity, self.validation = out, identity, validation
        if self.recipe.batch_size % fabric.world_size:
            raise InputError(
                f"batch_size = {self.recipe.batch_size}: give a multiple of the {fabric.world_size} processes"
            )
        self.journal = Journal(out, self.state.step, writes=fabric.is_global_zero)
        patch = getattr(self.state.average, "patch", 1)
        self.meter = Meter(self.recipe.precision, patch, fabric.device, fabric.world_size)

    def train(self, source: TrainingSource, max_seconds: float | None) -> None:
        """The remaining steps. Raises StoppedError, its state saved, when the time is over."""
        recipe, state, fabric = self.recipe, self.state, self.fabric
        share = recipe.batch_size // fabric.world_size
        numbers = range(fabric.global_rank * share, (fabric.global_rank + 1) * share)
        self.save()  # a folder that cannot take it should not cost a step
        begin, losses = time.monotonic(), []
        self.meter.restart()
        with (
            feed(source, recipe, range(state.step, recipe.steps), numbers, fabric.device) as batches,
            _progress(recipe.steps, state.step, shown=fabric.is_global_zero) as advance,
        ):
            for batch in batches:
                losses.append(self.step(batch))
                advance(losses[-1])
                if state.step % recipe.log_every == 0 or state.step == recipe.steps:
                    self.log(loss=float(np.mean(losses)), **self.meter.read())
                    losses.clear()
                if recipe.validate_every and state.step % recipe.validate_every == 0 and state.step < recipe.steps:
                    self.validate()
                over = max_seconds is not None and fabric.broadcast(time.monotonic() - begin > max_seconds)
                if over or state.step % recipe.save_every == 0:
                    self.save()
                if over and state.step < recipe.steps:
                    raise StoppedError(f"stopped at step {state.step} of {recipe.steps}; run again to go on")

    def step(self, batch: Batch) -> float:
        """Train on one batch; returns the loss over all processes."""
        recipe, state = self.recipe, self.state
        # With weights whose mean over all processes is 1, the mean of gradients is that of one process.
        mean = self.learner.mean(batch.weight.mean()).clamp_min(SMALLEST_WEIGHT)
        self.learner.set_learning_rate(rate_factor(recipe, state.step))
        self.meter.add(self.learner, batch)
        values = OBJECTIVES[recipe.objective.kind].step(
            self.learner, dataclasses.replace(batch, weight=batch.weight / mean)
        )
        values = {name: self.learner.mean(value) for name, value in values.items()}
        update_average(state.average, state.trained[NETWORK].network, recipe.ema_decay, state.step)
        self.journal.scalars(state.step, {f"train/{name}": float(value) for name, value in values.items()})
        state.step += 1
        return float(values["loss"])

    def log(self, **values: Any) -> None:
        """Note values in the history and in TensorBoard."""
        self.journal.add(self.state.step, **values)
        speeds = {f"speed/{name}": value for name, value in values.items() if name != "loss"}
        self.journal.scalars(self.state.step, speeds)

    def validate(self) -> tuple[nn.Module, dict[str, float]]:
        """The moving average as a plain network, and its scores, noted; its time does not count as training's."""
        network, scores = self.learner.average(), dict[str, float]()
        if self.fabric.is_global_zero:
            scores = validate(network, self.recipe, self.validation)
            named = {f"validation/nmse_db_{case}": value for case, value in scores.items()}
            self.journal.scalars(self.state.step, named)
            self.journal.add(self.state.step, validation_nmse_db=scores)
        self.fabric.barrier()
        self.meter.restart()
        return network, scores

    def save(self) -> None:
        """Keep the state and the history."""
        save_state(self.out / STATE, self.state, self.identity, writes=self.fabric.is_global_zero)
        self.journal.save()

    def finish(self) -> None:
        """Write the checkpoint; the state is no longer needed."""
        network, scores = self.validate()
        if self.fabric.is_global_zero:
            provenance = self.identity.hashes | {"recipe": self.identity.settings, "validation_nmse_db": scores}
            save_checkpoint(self.out / CHECKPOINT, network, self.recipe.predictor, provenance)
            self.journal.save(last=True)
            (self.out / STATE).unlink(missing_ok=True)
        self.fabric.barrier()


@contextmanager
def _progress(total: int, done: int, shown: bool) -> Iterator[Any]:
    """A progress bar; yields a function of the latest loss that advances it by one step."""
    columns = (TextColumn("pretraining"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"))
    with Progress(*columns, TimeRemainingColumn(), disable=not shown) as bar:
        task = bar.add_task("", total=total, completed=done, loss=float("nan"))
        yield lambda loss: bar.update(task, advance=1, loss=loss)
