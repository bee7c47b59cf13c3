"""Gains that no single polynomial follows, in pieces: regions of the aperture with a polynomial each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.channels.compact.cuts import straight_cut
from channelfm.channels.compact.smooth import GAIN_DEGREES, SmoothFit, fit_smooth
from channelfm.channels.compact.steps import noise_energy, regions_between, unexpected_changes, usual_height

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

MOST_PIECES = 8  # of one path
MOST_REGIONS = 64  # of one path that are looked at; the others' antennas join what suits them
HARMLESS_STEP = 0.5  # steps below it are left to the polynomial: see in_pieces
STEPS_OF_NOISE = 4.0  # a step is higher than so many usual heights of the unexpected
WORTH_A_PIECE = 0.5  # of the allowed energy: what a region must save to be a piece of its own,
WORTH_OF_ERROR = 0.05  # and of the energy that is left without it
WORTH_A_CUT = 100.0  # times the allowed energy: a path with more left is cut where no step goes through it, too
FEWEST_CUT = 12  # antennas: smaller regions are not cut
FAR_BETTER = 2.0  # by which the energy left must fall for a cut, or for pieces at all
ROUNDS = 3  # in which antennas along a cut go to the side that suits them


@dataclass(frozen=True)
class Pieces:
    """The gains of path number ``path`` in n pieces, the largest first: ``region`` bool [n, M], disjoint, and ``fit``,
    the polynomial of each as it is stored."""

    path: int
    region: Bool
    fit: SmoothFit


def in_pieces(
    values: NDArray[Any], seen: Bool, grid: tuple[int, int], basis: Float, allowed: Float, error: Float
) -> list[Pieces]:
    """Those of B gains [B, Q, M] that are far better off in pieces than with one polynomial, which leaves ``error``.

    Gains are 0 where not ``seen`` [B, M]; antennas are those of a grid (rows, columns), ``basis`` [K, M] the smooth
    functions over it. As few pieces as leave no more than the energy ``allowed`` [B], or the noise that no polynomial
    follows; what ``MOST_PIECES`` leave above it stays.
    """
    if not len(values):
        return []
    on_grid = seen.reshape(-1, *grid)
    heights = unexpected_changes(values.reshape(*values.shape[:2], *grid), on_grid)
    usual = usual_height(heights)
    # A polynomial is off by about a step's height over a strip of sqrt(M) antennas by a few.
    harmless = HARMLESS_STEP * np.sqrt(allowed) / seen.shape[1] ** 0.25
    labels = regions_between(heights, on_grid, np.maximum(harmless, STEPS_OF_NOISE * usual)).reshape(seen.shape)
    noise = noise_energy(usual, seen)
    found = []
    for path in np.flatnonzero(error > np.maximum(allowed, noise)):
        gains = _Gains(values[path], seen[path], basis, float(allowed[path]), float(noise[path]))
        regions, fit = gains.divided(_largest(labels[path]))
        if len(regions) > 1 and FAR_BETTER * fit.error.sum() < error[path]:
            found.append(Pieces(int(path), regions, fit))
    return found


def _largest(labels: NDArray[np.int32]) -> Bool:
    """Masks [n, M] of the regions numbered in ``labels`` [M], the largest first; 0 belongs to none."""
    numbers, sizes = np.unique(labels[labels > 0], return_counts=True)
    return np.asarray(labels == numbers[np.argsort(-sizes, kind="stable")][:MOST_REGIONS, None])


@dataclass(frozen=True)
class _Gains:
    """Gains [Q, M] of a path over the antennas ``seen`` [M], the smooth functions [K, M] that pieces are made of, the
    energy that may be left, and that of noise."""

    values: NDArray[Any]
    seen: Bool
    basis: Float
    allowed: float
    noise: float

    def divided(self, regions: Bool) -> tuple[Bool, SmoothFit]:
        """Pieces [k, M] made of regions [n, M], the largest first, and their polynomials."""
        regions = self._worthwhile(regions)
        fit, finished = self._fitted(regions), regions.sum(axis=1) < FEWEST_CUT
        worth = max(WORTH_A_CUT * self.allowed, FAR_BETTER * self.noise)
        while fit.error.sum() > worth and len(regions) < MOST_PIECES and not finished.all():
            worst = int(np.argmax(np.where(finished, -1.0, fit.error)))
            sides = self._cut(regions[worst])
            if FAR_BETTER * self._fitted(sides).error.sum() > fit.error[worst]:
                finished[worst] = True
                continue
            regions = np.concatenate([np.delete(regions, worst, axis=0), sides])
            finished = np.append(np.delete(finished, worst), sides.sum(axis=1) < FEWEST_CUT)
            fit = self._fitted(regions)
        order = np.argsort(-regions.sum(axis=1), kind="stable")
        return regions[order], fit.select(order)

    def _fitted(self, regions: Bool) -> SmoothFit:
        """Polynomials of regions; half of the allowed energy is shared equally, half by size."""
        share = (1.0 / len(regions) + regions.sum(axis=1) / regions.sum()) / 2.0
        return fit_smooth(
            self.values * regions[:, None], regions, self.basis, GAIN_DEGREES, share * self.allowed, np.float16
        )

    def _left(self, regions: Bool) -> Float:
        """Energy [n, M] that the polynomial of each region leaves of each antenna, also of those outside the region."""
        coefficients = self._fitted(regions).coefficients
        left = coefficients @ self.basis[: coefficients.shape[2]] - self.values
        return np.asarray(np.sum(left.real**2 + left.imag**2, axis=1))

    def _worthwhile(self, regions: Bool) -> Bool:
        """The first region and those that save enough by a polynomial of their own; the others, and antennas of none,
        join what suits them best."""
        left = self._left(regions)
        errors = left @ regions.T  # of a region's polynomial, in a region
        own, kept = np.diagonal(errors), [0]
        while len(kept) < MOST_PIECES:
            spent = errors[kept].min(axis=0)
            saved = spent - own
            if saved.max() <= max(WORTH_A_PIECE * self.allowed, WORTH_OF_ERROR * spent.sum()):
                break
            kept.append(int(saved.argmax()))
        owner = left[kept].argmin(axis=0)
        for region, best in zip(regions, errors[kept].argmin(axis=0), strict=True):
            owner[region] = best
        masks = (owner == np.arange(len(kept))[:, None]) & self.seen
        return np.asarray(masks[masks.any(axis=1)])

    def _cut(self, region: Bool) -> Bool:
        """Both sides [2, M] of a cut through a region: straight at first, then as antennas along it prefer."""
        sides = straight_cut(self.values, region, self.basis)
        negligible = max(self.allowed, FAR_BETTER**2 * self.noise) / self.seen.sum()
        for _ in range(ROUNDS):
            left = self._left(sides)
            crossing = (sides & (left > negligible) & (left > FAR_BETTER**2 * left[::-1])).any(axis=0)
            if not crossing.any() or not (sides & ~crossing).any(axis=1).all():
                break
            sides = sides ^ crossing
        return sides
