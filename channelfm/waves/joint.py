"""All waves of partial observations fitted together, so that the range of the strongest reaches its Cramer-Rao bound.

Differs from :mod:`channelfm.waves.greedy` in what it is for: that search lets gains slope over the aperture, which
costs the source of a wave a third of its precision in noise. Here gains are constant unless slopes are worth it, and
never more than linear: a quadratic gain is nearly the curvature that tells the range.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from channelfm.waves.fit import Fit, GainBasis, Waves, refine, with_best_degree
from channelfm.waves.gathered import Gathered
from channelfm.waves.geometry import path_and_slope, phase_derivatives, phasors
from channelfm.waves.greedy import find_waves
from channelfm.waves.search import alias_hypotheses

_SEARCHED = 512  # observed antennas that the search looks at; all are fitted
_STEPS, _STEPS_AGAIN = 4, 6  # Levenberg-Marquardt steps of the first fit and of others, at most
_SAME = 0.2  # beams, within which two waves cannot be told apart
# Antennas that miss the fit by so many times the median are left out: a weak path that reaches a corner of the array
# alone. White noise is further out once in 60,000 antennas.
_OUTLIER, _TRIMMINGS = 4.0, 2
_LEAST_INFORMATION = 1e-12  # of a parameter, relative to the best known one


class JointWaves(NamedTuple):
    """Waves of N samples, K at most, strongest first: ``sources`` float64 [N, K, 3] as (u_y, u_z, q), two direction
    sines and the inverse range per wavelength; ``gains`` complex128 [N, K] at the array's centre, 0 where a sample has
    fewer waves. ``covariance`` float64 [N, K, 3, 3] of each source, with all others and all gains unknown, in white
    noise of the power that is left (inverse Fisher information; Kay 1993, section 15.7); 0 where there is no wave."""

    sources: Tensor
    gains: Tensor
    covariance: Tensor

    @property
    def present(self) -> Tensor:
        """bool [N, K]."""
        return self.gains != 0


def joint_waves(field: Tensor, mask: Tensor, spacing_wavelengths: float, most: int = 8) -> JointWaves:
    """At most ``most`` waves of complex64 [N, rows, cols] seen where bool ``mask`` of that shape, near unit scale.

    Of directions that a regular mask leaves alike, the likeliest is taken. A sample that is zero has no wave.
    """
    sources, size = _starts(field, mask, spacing_wavelengths, most)
    antennas = Gathered.entries(field, mask, spacing_wavelengths, dtype=torch.float32)
    waves = _fitted_from(sources, size, antennas)
    beam = 1 / (max(field.shape[1:]) * spacing_wavelengths)
    doubled = _doubled(waves, _SAME * beam)
    some = torch.nonzero(doubled.any(1))[:, 0]
    if len(some):
        size = torch.where(doubled, 0, waves.gains.abs())[some]
        fewer = _fitted_from(waves.sources[some], size, antennas.select(some))
        for old, new in zip(waves, fewer, strict=True):
            old[some] = new
    return waves


def _fitted_from(sources: Tensor, size: Tensor, antennas: Gathered) -> JointWaves:
    """The waves fitted from sources [N, K, 3] whose ``size`` [N, K] is not 0."""
    order = size.argsort(1, descending=True)
    starts = sources.gather(1, order[..., None].expand(-1, -1, 3)).double()
    (count, most), number = size.shape, (size > 0).sum(1)
    fitted = torch.zeros(count, most, 3, dtype=torch.float64)
    gains, covariance = fitted[..., 0] + 0j, torch.zeros(count, most, 3, 3, dtype=torch.float64)
    for waves in sorted(set(number[number > 0].tolist())):
        some = torch.nonzero(number == waves)[:, 0]
        fit, part = _fitted(antennas.select(some), starts[some, :waves])
        strongest = fit.gains[..., 0].abs().argsort(1, descending=True)
        at = torch.arange(len(some))[:, None], strongest
        fitted[some, :waves] = fit.waves.sources[at]
        gains[some, :waves] = fit.gains[..., 0][at]
        covariance[some, :waves] = _covariance(part, fit)[at]
    return JointWaves(fitted, gains, covariance)


def _starts(field: Tensor, mask: Tensor, spacing: float, most: int) -> tuple[Tensor, Tensor]:
    """Sources float32 [N, K, 3] and amplitudes [N, K] of a coarse search, those of the likeliest hypothesis where
    directions look alike; amplitudes are 0 where a sample has fewer."""
    sources, size = torch.zeros(len(field), most, 3), torch.zeros(len(field), most)
    parts = [(numbers, hypotheses.best()) for numbers, hypotheses in alias_hypotheses(field, mask, spacing, most)]
    plain = torch.ones(len(field), dtype=torch.bool)
    for numbers, _ in parts:
        plain[numbers] = False
    if bool(plain.any()):
        antennas = Gathered.entries(field[plain], mask[plain], spacing, _SEARCHED, torch.float32)
        parts.append((torch.nonzero(plain)[:, 0], find_waves(antennas, most, last_steps=0)))
    for numbers, found in parts:
        slots = found.present.shape[1]
        sources[numbers, :slots] = found.sources
        size[numbers, :slots] = found.gains[..., 0].abs() * found.present
    return sources, size


def _doubled(waves: JointWaves, apart: float) -> Tensor:
    """bool [N, K]: whether a wave comes from nearly the direction of the strongest, less than ``apart`` in sines: it is
    that one once more, found since its gain slopes, and the two bend each other."""
    away = (waves.sources[..., :2] - waves.sources[:, :1, :2]).norm(dim=2)
    doubled: Tensor = (away < apart) & waves.present
    doubled[:, 0] = False
    return doubled


def _fitted(antennas: Gathered, starts: Tensor) -> tuple[Fit, Gathered]:
    """The fit of waves from ``starts`` [n, K, 3], and the antennas that it is to."""
    basis = GainBasis.of_array(antennas.rows, antennas.cols, antennas.spacing)
    sloping = replace(basis, exponents=tuple(pair for pair in basis.exponents if sum(pair) <= 1))
    waves = Waves.none(len(antennas))
    for wave in range(starts.shape[1]):
        waves = waves.joined(starts[:, wave])
    fit = refine(antennas, waves, replace(basis, exponents=basis.exponents[:1]), _STEPS)
    fit = replace(fit, gains=torch.nn.functional.pad(fit.gains, (0, len(sloping.exponents) - 1)))
    sloped = with_best_degree(antennas, fit.waves, sloping)
    fit = _again(fit, sloped.degree[:, 0] > 0, antennas, sloped, sloping)
    kept = antennas
    for _ in range(_TRIMMINGS):
        last, kept = kept, _without_outliers(antennas, fit, sloping)
        fit = _again(fit, (kept.weight != last.weight).any(1), kept, fit.waves, sloping)
    return fit, kept


def _again(fit: Fit, chosen: Tensor, antennas: Gathered, waves: Waves, basis: GainBasis) -> Fit:
    """The fit, anew from ``waves`` for the chosen samples."""
    if not bool(chosen.any()):
        return fit
    return fit.replaced(chosen, refine(antennas.select(chosen), waves.select(chosen), basis, _STEPS_AGAIN))


def _without_outliers(antennas: Gathered, fit: Fit, basis: GainBasis) -> Gathered:
    """The antennas, those of weight 0 that the fit misses by far."""
    missed = (antennas.field - fit.evaluate(antennas.y, antennas.z, basis) * antennas.weight).abs()
    typical = torch.where(antennas.weight > 0, missed, torch.nan).nanmedian(1, keepdim=True).values
    weight = torch.where(missed > _OUTLIER * typical, 0, antennas.weight)
    return replace(antennas, weight=weight, field=antennas.field * weight)


def _covariance(antennas: Gathered, fit: Fit) -> Tensor:
    """Covariance [n, K, 3, 3] of each source, as with constant gains."""
    path, slopes = path_and_slope(fit.waves.sources, antennas.y, antennas.z)
    columns = phasors(path) * antennas.weight[:, None]
    gains = fit.gains[..., 0]
    derivative = phase_derivatives(columns, gains, slopes).to(torch.complex128)
    columns = columns.to(torch.complex128)
    gram = columns.conj() @ columns.mT + torch.diag_embed(1e-9 * antennas.number[:, None].expand_as(gains) + 0j)
    cross = columns.conj() @ derivative.mT
    normal = (derivative.conj() @ derivative.mT - cross.mH @ torch.linalg.solve(gram, cross)).real
    freedom = antennas.measurements - 2.5 * gains.shape[1]
    noise = fit.cost / torch.maximum(freedom, 0.1 * antennas.measurements).clamp_min(1)
    diagonal = normal.diagonal(dim1=1, dim2=2).clamp_min(0)
    scale = (diagonal + _LEAST_INFORMATION * diagonal.amax(1, keepdim=True) + 1e-30).rsqrt()
    unit = torch.eye(normal.shape[1], dtype=torch.float64)
    scaled = normal * scale[:, :, None] * scale[:, None] + 1e-9 * unit
    whole = torch.linalg.pinv(scaled, hermitian=True) * scale[:, :, None] * scale[:, None]
    whole = whole * (noise / 2)[:, None, None]
    waves = gains.shape[1]
    return torch.diagonal(whole.reshape(-1, waves, 3, waves, 3), dim1=1, dim2=3).movedim(3, 1)
