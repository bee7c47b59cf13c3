"""The recipe of training on sequences."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from channelfm.config import Recipe

FUTURE, ESTIMATE = "future", "estimate"
Weight = Annotated[float, Field(ge=0)]


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

    kind: Literal["mixture"] = "mixture"
    frames: int = Field(default=18, ge=2)
    horizon: int = Field(default=8, ge=1)
    draws: int = Field(default=3, ge=1)
    snr_db: tuple[float, float] = (-3.0, 30.0)
    noiseless: float = Field(default=0.3, ge=0, le=1)
    combs: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 1, 2, 4), min_length=1)
    samples: int | None = Field(default=None, ge=1)
