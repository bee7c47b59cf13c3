"""The recipe of a pretraining run."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from channelfm.config import Recipe
from channelfm.learned.network import PredictorRecipe
from channelfm.pretraining.sequence_recipe import MixtureObjective, SequenceObjective
from channelfm.pretraining.source import SourceRecipe

MaskKind = Literal["random", "rows", "columns", "block", "comb"]
Weight = Annotated[float, Field(ge=0)]


class DiffusionObjective(Recipe):
    """Denoising: the network predicts noise, sample or velocity (``predictor.diffusion``) of a noisy channel."""

    kind: Literal["diffusion"] = "diffusion"


class RegressionObjective(Recipe):
    """One shot to the clean channel, squared error: over hidden antennas only (masked channel modelling as LWM's) or
    over all (masked autoencoder)."""

    kind: Literal["regression"] = "regression"
    hidden_only: bool = False


class AdversarialObjective(Recipe):
    """A conditional GAN: the network generates, a ``critic`` of the zoo judges (hinge loss).

    The generator minimises ``-critic + reconstruction * mean |error|`` (pix2pix's form, Isola et al. 2017).
    """

    kind: Literal["adversarial"] = "adversarial"
    critic: str = "critic"
    critic_options: dict[str, int | bool] = Field(default_factory=dict)
    critic_learning_rate: float = Field(default=4e-4, gt=0)
    reconstruction: float = Field(default=100.0, ge=0)


class WavefieldObjective(Recipe):
    """The error of the whole field, for models that find waves themselves (``models.wavefield``)."""

    kind: Literal["wavefield"] = "wavefield"


class DistillationObjective(Recipe):
    """One step of the network's sampler learns to do what several of a finished ``teacher``'s do: 1, 2, 4, ... up to
    ``predictor.sampler.steps`` of them in turn, against ``teacher_steps`` (``pretraining.distillation``).

    ``teacher`` is a checkpoint's name or folder; ``start_from`` it, too, where the networks are alike.
    """

    kind: Literal["distillation"] = "distillation"
    teacher: str
    teacher_steps: int = Field(default=32, ge=1)


# A further objective: its recipe here, its loss in objectives.OBJECTIVES.
ObjectiveRecipe = Annotated[
    DiffusionObjective
    | RegressionObjective
    | AdversarialObjective
    | WavefieldObjective
    | DistillationObjective
    | SequenceObjective
    | MixtureObjective,
    Field(discriminator="kind"),
]
METHOD_OF = {
    "diffusion": "diffusion",
    "regression": "one-shot",
    "adversarial": "one-shot",
    "wavefield": "wavefield",
    "distillation": "diffusion",
    "masked-sequence": "sequence",
    "mixture": "mixture",
}

# Fields that say how the work is done, not what comes out of it.
HOW = (
    "accelerator",
    "strategy",
    "devices",
    "num_nodes",
    "workers",
    "compile",
    "save_every",
    "log_every",
    "validate_every",
    "validation_links",
)


class PretrainRecipe(Recipe):
    """What is trained (``predictor``), on what (``source``), towards what (``objective``), and how.

    ``mask_ratio`` is the range of the share of hidden antennas, ``mask_ratio_skew`` >= 1 draws more of the high ones
    (u^(1 / skew), u uniform), ``mask_kinds`` weighs the kinds of masks (the objective of sequences has its own, and
    needs no ``source``); ``batch_size`` is that of all processes
    together; ``start_from`` names a checkpoint whose weights training starts from; ``precision`` is Fabric's
    (bf16-mixed pays on GPUs; on CPUs without AMX it measured 2 times slower than 32-true).

    The fields of ``HOW`` say how the work is done and leave the result as it is, but for rounding: ``workers``
    processes prepare batches ahead (0: in line, on the device that trains); ``save_every`` steps the state is kept for
    resuming; ``validate_every`` steps (0: at the end only) ``validation_links`` links are predicted; ``log_every``
    steps loss and speed are noted; ``compile`` compiles the network (once for each array size; pays on GPUs).
    ``strategy``, ``devices`` and ``num_nodes`` are Fabric's; torchrun starts the processes of several machines.
    """

    predictor: PredictorRecipe = PredictorRecipe()
    source: SourceRecipe = SourceRecipe()
    objective: ObjectiveRecipe = DiffusionObjective()
    mask_ratio: tuple[float, float] = (0.0, 0.9)
    mask_ratio_skew: float = Field(default=1.0, ge=1)
    mask_kinds: dict[MaskKind, Weight] = Field(default={"random": 1.0})
    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=64, ge=1)
    start_from: str | None = None
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=40, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"] = "32-true"
    seed: int = Field(default=0, ge=0)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    devices: int = Field(default=1, ge=1)
    num_nodes: int = Field(default=1, ge=1)
    workers: int = Field(default=0, ge=0)
    compile: bool = False
    save_every: int = Field(default=50, ge=1)
    log_every: int = Field(default=50, ge=1)
    validate_every: int = Field(default=0, ge=0)
    validation_links: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.mask_ratio
        if not 0 <= low <= high <= 1:
            raise ValueError("mask_ratio: give [low, high] with 0 <= low <= high <= 1")
        if not sum(self.mask_kinds.values()) > 0:
            raise ValueError("mask_kinds: give at least one kind a weight above 0")
        needed = METHOD_OF[self.objective.kind]
        if self.predictor.method != needed:
            raise ValueError(
                f"objective.kind {self.objective.kind} trains predictors of method {needed}: set predictor.method to it"
            )
        if self.predictor.method == "mixture" and not self.predictor.candidates:
            raise ValueError("predictor.candidates: name the classical predictors of sequences that are mixed")
        if self.strategy == "fsdp" and self.objective.kind == "adversarial":
            raise ValueError("strategy: fsdp cannot spread a critic's spectral norms over processes; use ddp")
        return self

    def what(self) -> dict[str, Any]:
        """All values that the result depends on, as plain data.

        Checkpoints that a run builds on count by their weights (:func:`channelfm.pretraining.origins.origin_hashes`),
        not by where they lie.
        """
        values = self.model_dump(mode="json", exclude={*HOW, "start_from"})
        values["objective"].pop("teacher", None)
        return values

    def identity(self) -> str:
        """SHA-256 over :meth:`what`: runs of equal identity on equal data have the same result."""
        return hashlib.sha256(json.dumps(self.what(), sort_keys=True).encode()).hexdigest()
