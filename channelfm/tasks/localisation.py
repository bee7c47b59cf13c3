"""Localisation: where a user is, from a few noisy antennas (seed 000, V-B3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from channelfm.datasets.blocks import Blocks
from channelfm.errors import InputError
from channelfm.estimator import POSITION, Examples
from channelfm.observation import Bool, Complex, Float, Observation
from channelfm.tasks.base import Measure, Task, link_groups, mean, median
from channelfm.tasks.observing import Decibels, MaskRecipe, Partial, of_random_power, partial, partial_cases
from channelfm.units import wrap_angle
from channelfm.waves.bounds import SphericalWaves
from channelfm.waves.geometry import wave_of
from channelfm.waves.joint import joint_waves
from channelfm.waves.places import loudest_sample, places_of, places_seen, views_of
from channelfm.waves.scale import scale_exponents, times_power_of_two
from channelfm.waves.source_bounds import place_bound

_NEAR_ENOUGH_M = 1.0
_GAUSSIAN_MEAN = np.sqrt(2 / np.pi)  # of the magnitude of a Gaussian, in its standard deviations
_WAVES, _ANTENNAS, _AT_ONCE = 4, 1024, 32  # fitted to an estimated channel, antennas it is looked at by, and links
_SAME_WAVE = 1.0  # sines in 1 / aperture, up to which the strongest wave comes from the user and not from a mirror


class Localisation(Task):
    """Where is the user? Kinds and ratios of ``masks``, crossed with ``snr_db`` (null: clean).

    The answer is float64 [N, 3]: places in metres in the array's own frame (boresight +x). Nobody knows the power that
    users transmit, so that links are made stronger or weaker at random, evenly over ``power_spread_db`` decibels: more
    than lie between near and far users, whose distance the amplitude would give away. With 0 all transmit alike.
    """

    kind: Literal["localisation"] = "localisation"
    masks: tuple[MaskRecipe, ...] = Field(default=(MaskRecipe(ratios=(0.8,)),), min_length=1)
    snr_db: tuple[Decibels | None, ...] = Field(default=(10.0,), min_length=1)
    power_spread_db: Annotated[float, Field(ge=0, le=120)] = 60.0

    gives: ClassVar[str] = POSITION
    trivial: ClassVar[str] = "mean-position"
    question: ClassVar[str] = (
        "A base station hears a user with a few noisy antennas, and does not know how strongly the user transmits. "
        "Each method below says where the user is."
    )
    beside: ClassVar[tuple[str, ...]] = ("masks", "snr_db")

    @property
    def measures(self) -> Sequence[Measure]:
        """See :class:`Task`."""
        return (
            Measure("distance_m", "error of the distance, mean", "distance", mean, "m"),
            Measure("distance_median_m", "error of the distance, median", "distance", median, "m"),
            Measure("azimuth_deg", "error of the azimuth, mean", "azimuth", mean, "degrees"),
            Measure("elevation_deg", "error of the elevation, mean", "elevation", mean, "degrees"),
            Measure("position_median_m", "error of the position, median", "position", median, "m"),
            Measure("position_m", "error of the position, mean", "position", mean, "m"),
            Measure("within_1_m", "positions within 1 m", "within", mean, more=True),
        )

    def cases(self) -> Sequence[Partial]:
        """See :class:`Task`."""
        return partial_cases(self.masks, self.snr_db)

    def examples(self, blocks: Blocks, case: Partial, seed: int) -> Examples:
        """See :class:`Task`; InputError where it is not known where users are, or one is at the array."""
        labels = blocks.labels
        views = np.stack([labels.distance_m, labels.azimuth_rad, labels.elevation_rad], axis=-1)
        strange = np.flatnonzero(~(np.isfinite(views).all(axis=1) & (views[:, 0] > 0)))
        if len(strange):
            raise InputError(
                f"{self.kind}: the place of link {strange[0]} is not known, or it is at the array: take a data set "
                "with labels, and leave such links out"
            )
        sent = of_random_power(blocks, self.power_spread_db, seed) if self.power_spread_db else blocks
        return Examples(partial(sent, case, seed), places_seen(views), sent)

    def from_channel(self, channel: Complex, observation: Observation) -> NDArray[np.float64]:
        """See :class:`Task`; where the strongest of several waves comes from, of the loudest frequency at the start."""
        array = observation.grid.array
        _, _, rows, cols, _ = channel.shape
        loudest = torch.from_numpy(channel[np.arange(len(channel)), 0, :, :, loudest_sample(channel)])
        field = times_power_of_two(loudest, -scale_exponents(loudest))
        seen = torch.from_numpy(_looked_at(rows, cols)).expand(field.shape)
        waves = [
            joint_waves(torch.where(seen[part], field[part], 0), seen[part], array.spacing_wavelengths, _WAVES)
            for part in torch.split(torch.arange(len(field)), _AT_ONCE)
            if len(part)
        ]
        sources = [found.sources[:, 0].numpy() for found in waves]
        return places_of(np.concatenate([np.zeros((0, 3)), *sources]), array)

    def score(self, answer: Float, examples: Examples) -> Mapping[str, Float]:
        """See :class:`Task`; angles in degrees."""
        if answer.shape != (len(examples), 3):
            raise InputError(f"answers of shape {answer.shape}: give a place [3] for each of {len(examples)}")
        told, true = views_of(answer), views_of(examples.target)
        turn = np.degrees(np.abs(wrap_angle(told - true)))
        position = np.linalg.norm(answer - examples.target, axis=1)
        return {
            "distance": np.abs(told[:, 0] - true[:, 0]),
            "azimuth": turn[:, 1],
            "elevation": turn[:, 2],
            "position": position,
            "within": (position <= _NEAR_ENOUGH_M).astype(np.float64),
        }

    def groups(self, examples: Examples) -> dict[str, Bool]:
        """See :class:`Task`; near field and line of sight together are the links on which papers locate."""
        labels = examples.labels
        fields = {"near-los": labels.near_field, "far-los": ~labels.near_field}
        direct = {name: members & labels.line_of_sight for name, members in fields.items()}
        direct = {name: members for name, members in direct.items() if members.any()}
        return super().groups(examples) | link_groups(examples.blocks) | direct

    def bound(self, examples: Examples, waves: SphericalWaves) -> Float | None:
        """See :class:`Task`: the mean error of a Gaussian with the deviation that is the Cramer-Rao bound on the
        distance of the strongest wave. NaN where that wave does not come from the user, whom no single wave tells."""
        observation = examples.observation
        if observation.noise is None or not observation.noise.all():
            return None
        array, links = observation.grid.array, np.arange(len(examples))
        strongest = np.abs(waves.gains).argmax(axis=1)
        direction = examples.target[:, 1:] / np.linalg.norm(examples.target, axis=1, keepdims=True)
        off = np.linalg.norm(waves.sources[links, strongest, :2] - direction, axis=1)
        own = examples.labels.line_of_sight & (off * array.aperture_m / array.wavelength_m < _SAME_WAVE)
        sent = _as_sent(waves, examples.channel, array.spacing_wavelengths)
        told = _GAUSSIAN_MEAN * place_bound(sent, observation).distance_m
        return np.where(own & np.isfinite(told), told, np.nan)


def _as_sent(waves: SphericalWaves, channel: Complex, spacing_wavelengths: float) -> SphericalWaves:
    """Waves of channels [N, 1, row, col, 1] with the gains that they have at the power that users transmit."""
    _, _, rows, cols, _ = channel.shape
    gains = []
    for number, sent in enumerate(channel[:, 0, :, :, 0].astype(np.complex128)):
        each = wave_of(torch.from_numpy(waves.sources[number]), rows, cols, spacing_wavelengths).numpy()
        field = np.tensordot(waves.gains[number], each, axes=1)
        gains.append(waves.gains[number] * np.linalg.norm(sent) / max(np.linalg.norm(field), 1e-300))
    return waves._replace(gains=np.array(gains))


def _looked_at(rows: int, cols: int) -> Bool:
    """Which antennas of an estimated channel are looked at, bool [rows, cols]: the same ones, drawn once, of all."""
    order = np.random.default_rng(0).permutation(rows * cols)
    return (order < _ANTENNAS).reshape(rows, cols)
