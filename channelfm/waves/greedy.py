"""Greedy search for the spherical waves of many partial observations at once, fast enough to stand before a network.

Waves are added one at a time: a coarse search of what the others leave, a few Gauss-Newton steps on the newest wave,
and a joint least-squares solution for all gains, which may slope linearly over the aperture. Whenever the number of
waves has doubled, and at the end, all sources move together by Levenberg-Marquardt steps with the gains eliminated
(variable projection, Golub & Pereyra 1973; Kaufman 1975). Only observed antennas are computed with, and not more of
them than needed. Single precision throughout. All lengths are in wavelengths, in the array's frame (columns along y,
rows along z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from channelfm.waves.aliases import aliases_of
from channelfm.waves.gathered import Gathered
from channelfm.waves.geometry import (
    finite_step,
    gauss_newton_step,
    largest_inverse_range,
    move_in_front,
    nearest_wave,
    path_and_slope,
    phase_derivatives,
    phasors,
    waves_at,
)
from channelfm.waves.spherical import search_grid

EXPLAINED_DB = -60.0  # of the observation's power: no further wave is looked for below that

_SEARCH_RANGES = 4
_NEWEST_STEPS, _ALIAS_STEPS = 2, 5
# Ridge on the gains per observed antenna, for their constant and for their slopes: bounds waves that can hardly be told
# apart, and asks for more evidence before a gain slopes. A larger one on the constant (1e-3) leaves so much of a strong
# wave that the search finds it again: 24 dB worse behind a contiguous sub-array of 32 x 32 in 64 x 64.
_RIDGE_CONSTANT, _RIDGE_SLOPE = 1e-5, 1e-2
_ANTENNAS_PER_WAVE = 8
_NOISE_FLOOR = 1e-6  # of the observation's power: the wave model itself is no better than -60 dB
_LEAST_INFORMATION = 1e-9  # of a source, relative to the observation's power


class FoundWaves(NamedTuple):
    """Waves of N samples, K slots each: ``sources`` float32 [N, K, 3] as (u_y, u_z, q), two direction sines and the
    inverse range per wavelength; ``gains`` complex64 [N, K, P], coefficients of :func:`gain_functions`; ``present``
    bool [N, K]. ``probability`` float32 [N, K]: 1 unless several slots are aliases of each other (see
    :mod:`channelfm.waves.search`), 0 in empty slots; the expected field is the sum of probability x gain x wave.
    ``covariance`` float32 [N, K, 3, 3] of each source, with the gains free, in white noise of the power
    that is left at the observed antennas (the inverse Fisher information of all waves together). Empty slots hold the
    source (0, 0, 0), gains and covariance of 0. ``centre`` float32 [N, K, 3]: mean over the observed antennas of the
    path's derivative by the source, which the phase of the gain follows."""

    sources: Tensor
    gains: Tensor
    present: Tensor
    covariance: Tensor
    centre: Tensor
    probability: Tensor

    def select(self, index: Tensor) -> FoundWaves:
        """The samples that ``index`` picks."""
        return FoundWaves(*(value[index] for value in self))

    def together(self) -> FoundWaves:
        """The present waves of all samples, as those of a single sample."""
        return FoundWaves(*(value[self.present][None] for value in self))

    def phase_deviation(self, y: Tensor, z: Tensor) -> Tensor:
        """Standard deviation [N, K, n] in radians that the sources' uncertainty means for each wave's phase at antennas
        y, z [N, n], beyond what the phase of the gain makes up for."""
        slope = path_and_slope(self.sources, y, z)[1] - self.centre[..., None]
        return 2 * math.pi * ((self.covariance @ slope) * slope).sum(2).clamp_min(0).sqrt()


def gain_functions(y: Tensor, z: Tensor, rows: int, cols: int, spacing: float) -> Tensor:
    """1, and y and z scaled to unit RMS over the array, as far as it has columns and rows: [N, P, n]."""
    functions = [torch.ones_like(y)]
    for axis, elements in ((y, cols), (z, rows)):
        if elements > 1:
            functions.append(axis * (math.sqrt(12 / (elements**2 - 1)) / spacing))
    return torch.stack(functions, dim=1)


def wave_fields(found: FoundWaves, antennas: Gathered) -> Tensor:
    """Every wave as the observed antennas see it, complex64 [N, K, n]: gain times wave, 0 for padding."""
    functions = gain_functions(antennas.y, antennas.z, antennas.rows, antennas.cols, antennas.spacing)
    functions = (functions * antennas.weight[:, None]).to(torch.complex64)
    return waves_at(found.sources, antennas.y, antennas.z) * (found.gains @ functions)


def find_waves(
    antennas: Gathered,
    most: int,
    explained_db: float = EXPLAINED_DB,
    significance: float = 1.0,
    last_steps: int = 2,
    first: Tensor | None = None,
    offsets: Tensor | None = None,
) -> FoundWaves:
    """Up to ``most`` waves of each sample.

    A sample is done when what is left lies ``explained_db`` below the observation; when its newest wave explains no
    more than the strongest of G projections of white noise would (``significance`` * residual energy / n * ln G, for
    G places of the coarse search and n antennas); or when it has a wave for every eight observed antennas.
    ``last_steps`` joint steps end the search.

    ``first`` [N, 3], if given, are the sources of the first waves. ``offsets`` [A, 2], if given, say which directions
    the observed antennas cannot tell apart (:func:`channelfm.waves.aliases.alias_offsets`): every other wave is the one
    among its aliases that explains most.
    """
    count, device = len(antennas.field), antennas.field.device
    limit = largest_inverse_range(antennas.rows, antennas.cols, antennas.spacing)
    sources = torch.zeros(count, most, 3, device=device)
    present = torch.zeros(count, most, dtype=torch.bool, device=device)
    energy = single_energies(antennas.field)
    places = math.log(antennas.rows * antennas.cols * _SEARCH_RANGES)
    numbers = torch.arange(count, device=device)  # of the samples that still grow
    part, rest, found = antennas, antennas.field, torch.zeros(count, 0, 3, device=device)
    for wave in range(1, most + 1):
        if wave == 1 and first is not None:
            newest, gain = first, gauss_newton_step(rest, part.weight, first, part.y, part.z)[0]
        else:
            newest, gain = _newest_wave(part, rest, offsets)
        explained, left = gain.abs().square() * part.number, single_energies(rest)
        noise = significance * places * (left - explained).clamp_min(0) / part.number
        grows = (explained > noise) & (left > 10 ** (explained_db / 10) * energy[numbers])
        grows &= _ANTENNAS_PER_WAVE * wave < part.number
        if wave == 1:
            grows = energy[numbers] > 0
        if not bool(grows.all()):
            sources[numbers[~grows], : wave - 1] = found[~grows]
            part, numbers, found, newest = part.select(grows), numbers[grows], found[grows], newest[grows]
            if not len(numbers):
                break
        present[numbers, wave - 1] = True
        found = torch.cat([found, newest[:, None]], dim=1)
        steps = 1 if wave & (wave - 1) == 0 else 0
        found, state = _moved_together(part, found, torch.ones_like(found[..., 0], dtype=torch.bool), steps, limit)
        rest = state.rest
    sources[numbers, : found.shape[1]] = found
    return _settled(antennas, sources, present, last_steps, limit)


def _settled(antennas: Gathered, sources: Tensor, present: Tensor, steps: int, limit: float) -> FoundWaves:
    """All waves moved together once more, samples of about as many waves at a time; then their gains."""
    count, most = present.shape
    functions = 1 + (antennas.cols > 1) + (antennas.rows > 1)
    gains = torch.zeros(count, most, functions, dtype=torch.complex64, device=sources.device)
    covariance = torch.zeros(count, most, 3, 3, device=sources.device)
    centre = torch.zeros(count, most, 3, device=sources.device)
    number = present.sum(1)
    bound = 0
    while bound < most:
        low, bound = bound, min(most, max(1, 2 * bound))
        some = torch.nonzero((number > low) & (number <= bound))[:, 0]
        if len(some):
            part = antennas.select(some)
            kept = present[some, :bound]
            sources[some, :bound], state = _moved_together(part, sources[some, :bound], kept, steps, limit)
            gains[some, :bound] = state.gains.reshape(-1, bound, functions) * kept[..., None]
            covariance[some, :bound] = _covariance(part, state, kept) * kept[..., None, None]
            weighted = (state.slopes * part.weight[:, None, None]).sum(3) / part.number[:, None, None]
            centre[some, :bound] = weighted * kept[..., None]
    sources = torch.where(present[..., None], sources, 0.0)
    return FoundWaves(sources, gains, present, covariance, centre, present.float())


def _newest_wave(antennas: Gathered, rest: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
    """The wave [N, 3] that explains most of ``rest`` [N, n], and its gain [N]."""
    sines, inverse_range = search_grid(antennas.on_grid(rest), antennas.spacing, _SEARCH_RANGES, 1.0, 1)
    start = torch.cat([sines, inverse_range[..., None]], dim=-1)[:, 0]
    source, gain = single_wave(antennas, rest, start, _NEWEST_STEPS)
    if offsets is None:
        return source, gain
    sources, gains = alias_waves(antennas, rest, source, offsets)
    best = torch.arange(len(gains), device=gains.device), gains.abs().argmax(1)
    return sources[best], gains[best]


def alias_waves(antennas: Gathered, rest: Tensor, source: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The best wave near each alias of a ``source`` [N, 3]: sources [N, A, 3] and gains [N, A] that explain ``rest``.

    Gains are 0 for aliases that are not visible.
    """
    starts, visible = aliases_of(source, offsets)
    count, aliases = visible.shape
    every = torch.arange(count, device=source.device).repeat_interleave(aliases)
    sources, gains = single_wave(antennas.select(every), rest[every], starts.flatten(0, 1), _ALIAS_STEPS)
    return sources.reshape(count, aliases, 3), torch.where(visible, gains.reshape(count, aliases), 0)


def single_wave(antennas: Gathered, rest: Tensor, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """:func:`channelfm.waves.geometry.nearest_wave` to the ``rest`` [N, n] at the antennas."""
    limit = largest_inverse_range(antennas.rows, antennas.cols, antennas.spacing)
    return nearest_wave(rest, antennas.weight, start, antennas.y, antennas.z, steps, limit)


@dataclass(frozen=True)
class _Fitted:
    """At some sources: ``gains`` [N, K P, 1], ``rest`` [N, n], ``cost`` float64 [N], the slopes of the paths
    [N, K, 3, n], the columns of the gains [N, K P, n] and the factor of their Gram matrix."""

    gains: Tensor
    rest: Tensor
    cost: Tensor
    slopes: Tensor
    columns: Tensor
    factor: Tensor

    def where(self, chosen: Tensor, other: _Fitted) -> _Fitted:
        """``other`` for the chosen samples, self for the rest."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return _Fitted(*(torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in pairs))


def _moved_together(
    antennas: Gathered, sources: Tensor, present: Tensor, steps: int, limit: float
) -> tuple[Tensor, _Fitted]:
    """Sources [N, K, 3] after ``steps`` joint Levenberg-Marquardt steps, and the fit there."""
    state = _fitted(antennas, sources, present)
    damping = torch.full_like(state.cost, 1e-3)
    for _ in range(steps):
        moved = sources + _joint_step(state, damping, sources.shape[1]) * present[..., None]
        trial = move_in_front(moved, limit)
        candidate = _fitted(antennas, trial, present)
        better = candidate.cost < state.cost
        damping = torch.where(better, damping / 10, damping * 8)
        sources = torch.where(better[:, None, None], trial, sources)
        state = state.where(better, candidate)
    return sources, state


def _fitted(antennas: Gathered, sources: Tensor, present: Tensor) -> _Fitted:
    path, slopes = path_and_slope(sources, antennas.y, antennas.z)
    functions = gain_functions(antennas.y, antennas.z, antennas.rows, antennas.cols, antennas.spacing)
    functions = functions * antennas.weight[:, None]
    columns = ((phasors(path) * present[..., None])[:, :, None] * functions[:, None]).flatten(1, 2)
    ridge = torch.full((functions.shape[1],), _RIDGE_SLOPE, device=sources.device)
    ridge[0] = _RIDGE_CONSTANT
    ridge = ridge.repeat(sources.shape[1]) * antennas.number.clamp_min(1)[:, None]
    gram = columns.conj() @ columns.mT + torch.diag_embed(ridge.to(columns.dtype))
    factor, _ = torch.linalg.cholesky_ex(gram)
    gains = torch.cholesky_solve(columns.conj() @ antennas.field[..., None], factor)
    rest = antennas.field - (gains.mT @ columns)[:, 0]
    cost = single_energies(rest) + (ridge * gains[..., 0].abs().square()).sum(1)
    return _Fitted(gains, rest, cost, slopes, columns, factor)


def _joint_step(state: _Fitted, damping: Tensor, waves: int) -> Tensor:
    """Marquardt step [N, K, 3] of all sources."""
    normal, slope = _normal_equations(state)
    diagonal = normal.diagonal(dim1=1, dim2=2).clamp_min(0)
    floor = 1e-6 * diagonal.amax(1, keepdim=True) + 1e-30
    system = normal + torch.diag_embed(damping[:, None] * diagonal + floor)
    return finite_step(torch.linalg.solve_ex(system, slope)[0]).reshape(len(slope), waves, 3)


def _normal_equations(state: _Fitted) -> tuple[Tensor, Tensor]:
    """Normal matrix [N, 3 K, 3 K] and slope [N, 3 K, 1] of the sources, less what the gains can follow (Kaufman)."""
    derivative = phase_derivatives(state.columns, state.gains, state.slopes)
    cross = state.columns.conj() @ derivative.mT
    normal = (derivative.conj() @ derivative.mT).real - (cross.mH @ torch.cholesky_solve(cross, state.factor)).real
    return normal, (derivative.conj() @ state.rest[..., None]).real


def _covariance(antennas: Gathered, state: _Fitted, present: Tensor) -> Tensor:
    """Covariance [N, K, 3, 3] of each source: noise power / 2 times the inverse of the normal matrix (Kay 1993, 15.7).

    The noise power is what is left over the degrees of freedom that the waves leave, at least a tenth of them.
    """
    waves = present.shape[1]
    normal, _ = _normal_equations(state)
    unknowns = present.sum(1) * (1.5 + state.columns.shape[1] / waves)
    freedom = (antennas.number - unknowns).clamp_min(0.1 * antennas.number)
    noise = (
        single_energies(state.rest) / freedom + _NOISE_FLOOR * single_energies(antennas.field) / antennas.number
    ).double()
    diagonal = normal.diagonal(dim1=1, dim2=2)
    # Directions that the observation hardly determines are as uncertain as they can be in numbers of this precision.
    power = single_energies(antennas.field) / antennas.number.clamp_min(1)
    weak = 1e-6 * diagonal + _LEAST_INFORMATION * power[:, None]
    weak = torch.where(present.repeat_interleave(3, 1), weak, torch.ones_like(diagonal))
    inverse, _ = torch.linalg.inv_ex(normal.double() + torch.diag_embed(weak.double()))
    blocks = torch.nan_to_num(inverse).reshape(-1, waves, 3, waves, 3).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
    return (blocks * (noise / 2)[:, None, None, None]).float()


def single_energies(values: Tensor) -> Tensor:
    """Energy [N] of complex [N, n], in single precision as all here (:func:`channelfm.waves.gathered.energies`)."""
    return torch.view_as_real(values).square().sum((1, 2))
