"""The recipe of a pretraining run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from channelfm.config import Recipe
from channelfm.tasks.diffusion_predictor import PredictorRecipe


class PretrainRecipe(Recipe):
    """What is trained (``predictor``) and how.

    ``mask_ratio`` is the range of the share of hidden antennas; ``batch_size`` is per process; ``mirror`` turns arrays
    around at random; ``precision`` is Fabric's (bf16-mixed pays on GPUs; on CPUs without AMX it measured 2 times
    slower than 32-true); ``save_every`` steps the state is kept for resuming.
    """

    predictor: PredictorRecipe = PredictorRecipe()
    mask_ratio: tuple[float, float] = (0.0, 0.9)
    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=40, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    mirror: bool = True
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(default=1, ge=1)
    save_every: int = Field(default=50, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _ratios_in_order(self) -> Self:
        low, high = self.mask_ratio
        if not 0 <= low <= high <= 1:
            raise ValueError("mask_ratio: give [low, high] with 0 <= low <= high <= 1")
        return self
