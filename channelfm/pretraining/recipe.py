"""The recipe of a pretraining run."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from channelfm.config import Recipe
from channelfm.learned.recipe import DiffusionModel, ModelRecipe

MaskKind = Literal["random", "rows", "columns", "block", "comb"]
Weight = Annotated[float, Field(ge=0)]
FUTURE, ESTIMATE = "future", "estimate"  # masks of sequences beside those that hide tokens


class SourceRecipe(Recipe):
    """How stored links become training channels.

    ``arrays`` are the [rows, columns] that are trained on, one drawn for each batch with ``array_weights`` (alike if
    empty), at random places within the stored array and with its spacing; empty: the whole stored array. ``mirror``
    turns arrays around at random in rows and columns, which is again a channel of the same array, of the mirrored
    scene. For paths only: ``roll_deg`` turns the array about its boresight by up to that angle where it fits,
    ``bandwidth_hz`` draws the frequency within that band about the carrier, ``latest_s`` the time within that after
    the snapshot (Doppler). ``snr_db`` is the range of signal-to-noise ratios, mean power over the array to noise power
    per antenna, of noise that is added to the observed antennas of all samples but a share ``noiseless``; the target
    stays clean.
    """

    arrays: tuple[tuple[int, int], ...] = ()
    array_weights: tuple[float, ...] = ()
    mirror: bool = True
    roll_deg: float = Field(default=0.0, ge=0, le=180)
    bandwidth_hz: float = Field(default=0.0, ge=0)
    latest_s: float = Field(default=0.0, ge=0)
    snr_db: tuple[float, float] | None = None
    noiseless: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(min(size) < 1 for size in self.arrays):
            raise ValueError("arrays: give [rows, columns] of at least 1")
        if self.array_weights and len(self.array_weights) != len(self.arrays):
            raise ValueError("array_weights: give one for each of arrays, or none")
        if self.array_weights and (min(self.array_weights) < 0 or not sum(self.array_weights) > 0):
            raise ValueError("array_weights: give shares of at least 0, not all 0")
        if self.snr_db is not None and self.snr_db[0] > self.snr_db[1]:
            raise ValueError("snr_db: give [low, high] with low <= high")
        return self


class DiffusionObjective(Recipe):
    """Denoising: the network predicts noise, sample or velocity (``predictor.diffusion``) of a noisy channel."""

    method: ClassVar[str] = "diffusion"

    kind: Literal["diffusion"] = "diffusion"


class RegressionObjective(Recipe):
    """One shot to the clean channel, squared error: over hidden antennas only (masked channel modelling as LWM's) or
    over all (masked autoencoder)."""

    method: ClassVar[str] = "one-shot"

    kind: Literal["regression"] = "regression"
    hidden_only: bool = False


class AdversarialObjective(Recipe):
    """A conditional GAN: the network generates, a ``critic`` of the zoo judges (hinge loss).

    The generator minimises ``-critic + reconstruction * mean |error|`` (pix2pix's form, Isola et al. 2017).
    """

    method: ClassVar[str] = "one-shot"

    kind: Literal["adversarial"] = "adversarial"
    critic: str = "critic"
    critic_options: dict[str, int | bool] = Field(default_factory=dict)
    critic_learning_rate: float = Field(default=4e-4, gt=0)
    reconstruction: float = Field(default=100.0, ge=0)


class WavefieldObjective(Recipe):
    """The error of the whole field, for models that find waves themselves (``models.wavefield``)."""

    method: ClassVar[str] = "wavefield"

    kind: Literal["wavefield"] = "wavefield"


class DistillationObjective(Recipe):
    """One step of the network's sampler learns to do what several of a finished ``teacher``'s do: 1, 2, 4, ... up to
    ``predictor.sampler.steps`` of them in turn, against ``teacher_steps`` (``pretraining.distillation``).

    ``teacher`` is a checkpoint's name or folder; ``start_from`` it, too, where the networks are alike.
    """

    method: ClassVar[str] = "diffusion"

    kind: Literal["distillation"] = "distillation"
    teacher: str
    teacher_steps: int = Field(default=32, ge=1)


class SequenceObjective(Recipe):
    """Masked modelling of sequences (PI-MCM; seed 004, IV-A), which is prediction where ``mask_kinds`` is "future".

    ``frames`` are taken of each sequence. ``mask_kinds`` weighs the kinds, one drawn for each batch: those of the paper
    hide exactly floor(ratio * tokens) of the tokens, patches of ``mask_patch`` angles and taps; "future" hides the last
    ``horizon`` frames; "estimate" hides nothing and asks for all, without the noise. The ratio grows linearly from the
    first to the second ``mask_ratio`` over the share ``curriculum`` of the steps. ``loss``: the mean over the tokens
    that are asked for of their relative errors, ``epsilon`` added to their powers (eq. 12), or the relative error of
    all that is asked of a "sample", as benchmarks count, or, plus ``epsilon``, its logarithm ("decibel"), which gives
    easy samples as much weight as hard ones.

    Augmentations: a random phase always; ``mirror`` turns the array, or time, or angle, delay and time together into
    their mirror images, each again a channel; ``amplitude_db`` scales by up to as much; ``snr_db`` is the range of
    noise on what is observed, but for a share ``noiseless``; of the observed tokens up to ``dropout`` are lost.
    ``samples``: only so many sequences, evenly spaced, as few-shot tuning has them; null: all.
    """

    method: ClassVar[str] = "sequence"

    kind: Literal["masked-sequence"] = "masked-sequence"
    frames: int = Field(default=20, ge=2)
    horizon: int = Field(default=8, ge=1)
    mask_kinds: dict[Literal["random", "rect", "tube", "comb", "future", "estimate"], Weight] = Field(
        default={"rect": 0.3, "tube": 0.3, "comb": 0.3, "random": 0.1}
    )
    mask_patch: tuple[int, int] = (1, 1)
    mask_ratio: tuple[float, float] = (0.3, 0.6)
    curriculum: float = Field(default=0.5, ge=0, le=1)
    loss: Literal["token", "sample", "decibel"] = "token"
    epsilon: float = Field(default=1e-2, gt=0)
    mirror: bool = True
    amplitude_db: float = Field(default=3.0, ge=0)
    snr_db: tuple[float, float] | None = (0.0, 30.0)
    noiseless: float = Field(default=0.5, ge=0, le=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    samples: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 <= self.mask_ratio[0] <= self.mask_ratio[1] < 1:
            raise ValueError("objective.mask_ratio: give [first, last] with 0 <= first <= last < 1")
        if not sum(self.mask_kinds.values()) > 0:
            raise ValueError("objective.mask_kinds: give at least one kind a weight above 0")
        if self.horizon >= self.frames:
            raise ValueError(f"objective.horizon {self.horizon} leaves no past in {self.frames} frames")
        if min(self.mask_patch) < 1:
            raise ValueError("objective.mask_patch: give sides of at least 1")
        return self

    def ratio_at(self, share: float) -> float:
        """The mask ratio after a ``share`` of all steps."""
        first, last = self.mask_ratio
        grown = 1.0 if self.curriculum == 0 else min(share / self.curriculum, 1.0)
        return round(first + (last - first) * grown, 4)


class MixtureObjective(Recipe):
    """A mixture of linear predictors (``predictor.candidates``) learns whom to believe.

    Of each sequence of ``frames`` frames the last ``horizon`` are predicted, ``draws`` times with other noise: batches
    of sequences share an SNR from ``snr_db``, or are clean in a share ``noiseless``, and one of ``combs``. ``samples``:
    only so many sequences, evenly spaced; null: all.
    """

    method: ClassVar[str] = "mixture"

    kind: Literal["mixture"] = "mixture"
    frames: int = Field(default=18, ge=2)
    horizon: int = Field(default=8, ge=1)
    draws: int = Field(default=3, ge=1)
    snr_db: tuple[float, float] = (-3.0, 30.0)
    noiseless: float = Field(default=0.3, ge=0, le=1)
    combs: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 1, 2, 4), min_length=1)
    samples: int | None = Field(default=None, ge=1)


class ClusterObjective(Recipe):
    """The error of the whole channel, for models that find clusters (``models.clusters``), from pilots received through
    ``measurements`` random combinations of all antennas (one of these numbers for each batch), at an SNR from
    ``snr_db``."""

    method: ClassVar[str] = "clusters"

    kind: Literal["clusters"] = "clusters"
    measurements: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(32, 64, 128), min_length=1)
    snr_db: tuple[float, float] = (-10.0, 15.0)


class PriorObjective(Recipe):
    """Denoising of whole channels in angle and delay, at an SNR from ``snr_db`` (``models.filters``)."""

    method: ClassVar[str] = "prior"

    kind: Literal["prior"] = "prior"
    snr_db: tuple[float, float] = (-12.0, 33.0)


class MeanFlowObjective(Recipe):
    """As :class:`PriorObjective`, and where samples would flow on the way to less noise: a share ``averaged`` of the
    samples learns the average velocity (mean flow), towards the conditional mean."""

    method: ClassVar[str] = "prior"

    kind: Literal["mean-flow"] = "mean-flow"
    snr_db: tuple[float, float] = (-12.0, 33.0)
    averaged: float = Field(default=0.5, ge=0, le=1)


# A further objective: its recipe here, with the method of models that it trains; its views and loss in
# objectives.OBJECTIVES.
ObjectiveRecipe = Annotated[
    DiffusionObjective
    | RegressionObjective
    | AdversarialObjective
    | WavefieldObjective
    | DistillationObjective
    | SequenceObjective
    | MixtureObjective
    | ClusterObjective
    | PriorObjective
    | MeanFlowObjective,
    Field(discriminator="kind"),
]

OF_WHOLE_CHANNELS = (ClusterObjective, PriorObjective, MeanFlowObjective)
OF_LINKS = ("source", "mask_ratio", "mask_ratio_skew", "mask_kinds")  # fields that sequences do without
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
    (u^(1 / skew), u uniform), ``mask_kinds`` weighs the kinds of masks; objectives of sequences and of whole channels
    have their own, and no ``source``. ``batch_size`` is that of all processes together; ``start_from`` names a
    checkpoint whose weights training starts from; ``precision`` is Fabric's (bf16-mixed pays on GPUs; on CPUs without
    AMX it measured 2 times slower than 32-true).

    The fields of ``HOW`` say how the work is done and leave the result as it is, but for rounding: ``workers``
    processes prepare batches ahead (0: in line, on the device that trains); ``save_every`` steps the state is kept for
    resuming; ``validate_every`` steps (0: at the end only) ``validation_links`` links are predicted; ``log_every``
    steps loss and speed are noted; ``compile`` compiles the network (once for each array size; pays on GPUs).
    ``strategy``, ``devices`` and ``num_nodes`` are Fabric's; torchrun starts the processes of several machines.
    """

    predictor: ModelRecipe = DiffusionModel()
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
        if self.predictor.method != self.objective.method:
            raise ValueError(
                f"objective.kind {self.objective.kind} trains predictors of method {self.objective.method}: "
                "set predictor.method to it"
            )
        whole = self.predictor.of_sequences or isinstance(self.objective, OF_WHOLE_CHANNELS)
        for name in OF_LINKS if whole else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: does not apply to objective.kind {self.objective.kind}; remove it")
        if self.strategy == "fsdp" and self.objective.kind == "adversarial":
            raise ValueError("strategy: fsdp cannot spread a critic's spectral norms over processes; use ddp")
        return self

    def what(self) -> dict[str, Any]:
        """All values that the result depends on, as plain data.

        Checkpoints that a run builds on count by their weights (:func:`channelfm.pretraining.identity.origin_hashes`),
        not by where they lie.
        """
        values = self.model_dump(mode="json", exclude={*HOW, "start_from"})
        values["objective"].pop("teacher", None)
        return values

    def identity(self) -> str:
        """SHA-256 over :meth:`what`: runs of equal identity on equal data have the same result."""
        return hashlib.sha256(json.dumps(self.what(), sort_keys=True).encode()).hexdigest()
