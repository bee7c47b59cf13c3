"""Observations that several tasks and the training share, each drawn in one way only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from channelfm.checks import as_numbers, as_whole
from channelfm.config import Recipe
from channelfm.datasets.blocks import Blocks
from channelfm.errors import InputError
from channelfm.observation import Complex, Entries, Observation, RandomlyCombined, check_draw, observe
from channelfm.tokens.masks import MASKS
from channelfm.units import db_to_power

Ratio = Annotated[float, Field(gt=0, lt=1)]
# The paper's own range of noise (seed 000, VI-B2) lies well within.
Decibels = Annotated[float, Field(ge=-60, le=100)]
Count = Annotated[int, Field(ge=1)]
# From the nearest to the farthest user of a cell, path loss varies by less.
PowerSpread = Annotated[float, Field(ge=0, le=200)]


class MaskRecipe(Recipe):
    """One kind of mask (:data:`channelfm.tokens.masks.MASKS`) at some shares of hidden antennas."""

    kind: str = "random"
    ratios: tuple[Ratio, ...] = Field(min_length=1)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in MASKS:
            raise ValueError(f"no such mask; use one of: {', '.join(MASKS)}")
        return kind


class Partial(NamedTuple):
    """Antennas hidden by a kind of mask at a ratio; the others observed at an SNR (None: clean)."""

    mask_kind: str = "random"
    mask_ratio: float = 0.9
    snr_db: float | None = None

    def __str__(self) -> str:
        return f"{self.mask_kind} {self.mask_ratio:g}{_noise(self.snr_db)}"


class Pilots(NamedTuple):
    """``slots`` pilots received through ``chains`` RF chains, at an SNR (None: clean)."""

    chains: int = 4
    slots: int = 32
    snr_db: float | None = 10.0

    def __str__(self) -> str:
        return f"{self.chains} chains, {self.slots} slots{_noise(self.snr_db)}"


def partial_cases(masks: Sequence[MaskRecipe], snr_db: Sequence[float | None]) -> list[Partial]:
    """Every kind of mask at each of its ratios, at every SNR."""
    return [Partial(mask.kind, ratio, decibels) for decibels in snr_db for mask in masks for ratio in mask.ratios]


def partial(blocks: Blocks, case: Partial, seed: int) -> Observation:
    """Some antennas of every link, the same at all times and frequencies.

    Masks depend on the seed, the ratio, the kind and the number of links, so that every estimator meets the same ones;
    noise on the seed and that number alone, scaled to the SNR. Raises InputError for an unknown kind, a ratio outside
    [0, 1], or one so small that the kind hides nothing of an array of this size.
    """
    if case.mask_kind not in MASKS:
        raise InputError(f"mask kind '{case.mask_kind}': use one of: {', '.join(MASKS)}")
    if as_numbers(case.mask_ratio, "mask ratio").ndim:
        raise InputError(f"mask ratio {str(case.mask_ratio)[:40]}: give one number between 0 and 1")
    check_draw(seed, case.snr_db)
    count, (_, rows, cols, _) = len(blocks), blocks.grid.shape
    # SeedSequence takes non-negative integers only: an invalid ratio gets as far as the mask, which refuses it.
    millionths = round(case.mask_ratio * 1_000_000) if 0 <= case.mask_ratio <= 1 else 0
    generator = np.random.default_rng((seed, millionths, *case.mask_kind.encode()))
    mask = MASKS[case.mask_kind](generator, count, rows, cols, case.mask_ratio)
    if count and mask.all(axis=(1, 2, 3)).any():
        raise InputError(
            f"mask '{case.mask_kind}' at ratio {case.mask_ratio:g} hides nothing of {rows} x {cols} antennas: "
            "raise the ratio"
        )
    noise = np.random.default_rng((seed, *b"noise"))
    return observe(heard(blocks.channel), Entries(mask[:, None]), blocks.grid, case.snr_db, noise)


def pilots(blocks: Blocks, case: Pilots, seed: int, users: int = 1) -> Observation:
    """Pilots through RF chains whose phase shifters are random, other ones in every slot.

    Each ``users`` links in turn are the users of a cell, whose orthogonal pilots pass the same phase shifters; noise is
    everybody's own. Weights and noise of a link do not depend on links after it. Raises InputError without any pilot.
    """
    check_draw(seed, case.snr_db)
    measurements = as_whole(case.chains, "chains") * as_whole(case.slots, "slots")
    _, rows, cols, _ = blocks.grid.shape
    cells = np.arange(len(blocks)) // as_whole(users, "users")
    operator = RandomlyCombined(seed, cells, measurements, rows, cols)
    noise = np.random.default_rng((seed, *b"pilot noise"))
    return observe(heard(blocks.channel), operator, blocks.grid, case.snr_db, noise)


def of_random_power(blocks: Blocks, spread_db: float, seed: int) -> Blocks:
    """The same links of users whose transmit power nobody knows, or power would give their distance away: each link's
    channel is stronger by a factor drawn evenly, in dB, from +- ``spread_db`` / 2."""
    factor_db = np.random.default_rng((seed, *b"power")).uniform(-spread_db / 2, spread_db / 2, len(blocks))
    factor = np.sqrt(db_to_power(factor_db)).astype(np.float32).reshape(-1, *[1] * (blocks.channel.ndim - 1))
    return replace(blocks, channel=blocks.channel * factor)


def heard(channel: Complex) -> Complex:
    """The channels; InputError where one is zero everywhere, of which nothing can be asked."""
    silent = np.flatnonzero(~np.any(channel != 0, axis=tuple(range(1, channel.ndim))))
    if len(silent):
        raise InputError(f"link {silent[0]} has no path: leave such links out")
    return channel


def _noise(snr_db: float | None) -> str:
    return "" if snr_db is None else f", {snr_db:g} dB"
