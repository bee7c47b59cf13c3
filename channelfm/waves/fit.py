"""Least-squares fit of a sum of spherical waves to the observed antennas of many planar arrays at once.

The channel over the aperture is modelled as ``sum_l g_l(y, z) exp(-j 2 pi (|s_l - e| - |s_l|))``: each wave has an
image source s_l and a gain g_l that is a polynomial of total degree 2 at most (SPEC 3), and may reach only the part
of the array on one side of a straight edge. Sources are written as
(u_y, u_z, q): two direction sines and the inverse range per wavelength, in which the problem is close to linear
and a plane wave is q = 0. The gains enter linearly and are eliminated (variable projection, Golub & Pereyra 1973,
with Kaufman's simplified Jacobian, 1975); Levenberg-Marquardt steps move all sources of a sample together. All
lengths are in wavelengths, in the array's local frame (columns along y, rows along z). The precision of a fit is
that of its :class:`Gathered`: single precision resolves about -90 dB at half the time of double.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from channelfm.waves.gathered import Gathered, energies
from channelfm.waves.geometry import move_in_front, path_and_slope, phase_derivatives, phasors, waves_at

_LARGEST_SINE = 0.9999
# Observed antennas that a wave with an edge needs: alone, for each such wave if there are several, for a sloping gain.
_LEAST_ANTENNAS_OF_CUT_WAVE, _ANTENNAS_PER_CUT_WAVE, _ANTENNAS_FOR_SLOPE = 10, 24, 60
# Seen through few antennas or a small part of the array, waves that can hardly be told apart would cancel each other
# with huge gains, and polynomials would run away beyond the antennas that are seen. So gains have priors: variances
# relative to the observation's power, which bind the more, the less the model explains, up to a largest ridge relative
# to the Gram matrix. A clean sum of waves hardly feels them.
_VARIANCE_OF_CONSTANT, _VARIANCE_OF_SLOPE = 1.0, 1e-2
_LARGEST_RIDGE_ON_CONSTANT, _LARGEST_RIDGE_ON_SLOPE = 1e-5, 1e-2
# What a search among all edges is worth in real parameters: an offset and an angle, and that their place is not
# estimated but the best of many.
EDGE_PARAMETERS = 8
_LEAST_SPAN = 0.7  # of the aperture, along both axes, that must be seen before a wave is believed to end on it
# Relative ridge on the gains' Gram matrix, which keeps coincident waves solvable, for each precision.
_RIDGE = {torch.float64: 1e-12, torch.float32: 1e-7}


@dataclass(frozen=True)
class GainBasis:
    """Polynomials of the gain over the aperture: y^a z^b of total degree <= 2, as far as the array resolves them.

    ``exponents`` lists (a, b), lowest degree first; ``half_y``, ``half_z`` normalise the coordinates to [-1, 1].
    """

    exponents: tuple[tuple[int, int], ...]
    half_y: float
    half_z: float

    @staticmethod
    def of_array(rows: int, cols: int, spacing: float) -> GainBasis:
        """The basis of an array; a linear array has no polynomial across its single row or column."""
        wanted = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
        exponents = tuple((a, b) for a, b in wanted if a < cols and b < rows)
        return GainBasis(exponents, max((cols - 1) / 2 * spacing, spacing), max((rows - 1) / 2 * spacing, spacing))

    def evaluate(self, y: Tensor, z: Tensor) -> Tensor:
        """Basis functions [N, P, n] at coordinates y, z [N, n]: Legendre products, nearly orthogonal over the array."""
        legendre_y, legendre_z = _legendre(y / self.half_y), _legendre(z / self.half_z)
        return torch.stack([legendre_y[a] * legendre_z[b] for a, b in self.exponents], dim=1)

    @property
    def is_long(self) -> tuple[bool, bool]:
        """Whether the array has more than one column, and more than one row."""
        return (1, 0) in self.exponents, (0, 1) in self.exponents

    def sizes(self) -> list[int]:
        """Number of basis functions up to degree 0, 1 and 2."""
        return [sum(a + b <= degree for a, b in self.exponents) for degree in range(3)]

    def active(self, degree: Tensor) -> Tensor:
        """Which of the L P gain coefficients [N, L P] belong to each wave's degree [N, L]."""
        total = torch.tensor([a + b for a, b in self.exponents])
        return (total <= degree[..., None]).flatten(1)


def _legendre(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ones_like(x), math.sqrt(3) * x, math.sqrt(5) / 2 * (3 * x**2 - 1)


@dataclass(frozen=True)
class Waves:
    """What the model of N samples consists of, L waves each.

    ``sources`` float64 [N, L, 3] as (u_y, u_z, q). ``edges`` float64 [N, L, 3]: a wave reaches only the antennas with
    e_0 y + e_1 z > e_2, the half of the array that no roof or wall shadows; (0, 0, -1) where it reaches all.
    ``degree`` int64 [N, L] of the gains' polynomials.
    """

    sources: Tensor
    edges: Tensor
    degree: Tensor

    @staticmethod
    def none(samples: int) -> Waves:
        """No wave yet."""
        nothing = torch.zeros(samples, 0, 3, dtype=torch.float64)
        return Waves(nothing, nothing, torch.zeros(samples, 0, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def count(self) -> int:
        """Number of waves L of each sample."""
        return self.sources.shape[1]

    @property
    def has_edge(self) -> Tensor:
        """bool [N, L]: whether a wave reaches a part of the array only."""
        return self.edges[..., :2].abs().sum(-1) > 0

    def select(self, index: Tensor) -> Waves:
        """The samples that ``index`` (numbers or a mask) picks."""
        return Waves(self.sources[index], self.edges[index], self.degree[index])

    def joined(self, sources: Tensor) -> Waves:
        """With one more wave per sample, at ``sources`` [N, 3], that reaches all antennas."""
        everywhere = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64).expand(len(self), 1, 3)
        return Waves(
            torch.cat([self.sources, sources[:, None].double()], dim=1),
            torch.cat([self.edges, everywhere], dim=1),
            torch.cat([self.degree, torch.zeros(len(self), 1, dtype=torch.int64)], dim=1),
        )

    def field(self, y: Tensor, z: Tensor) -> Tensor:
        """Unit-modulus waves [N, L, n] at coordinates y, z [N, n], 0 where a wave does not reach."""
        return waves_at(self.sources, y, z) * self.reach(y, z)

    def reach(self, y: Tensor, z: Tensor) -> Tensor:
        """Which antennas each wave reaches, 1 or 0, [N, L, n] (or [N, L, 1] where all waves reach all)."""
        if not bool(self.has_edge.any()):
            return torch.ones(len(self), self.count, 1, dtype=y.dtype)
        e_y, e_z, offset = (self.edges[:, :, i, None].to(y.dtype) for i in range(3))
        return (e_y * y[:, None] + e_z * z[:, None] > offset).to(y.dtype)


@dataclass(frozen=True)
class Fit:
    """Waves with their least-squares gains: ``gains`` complex128 [N, L, P], coefficients of the gain basis (0 beyond
    the degree); ``cost`` float64 [N], residual energy over the observed antennas."""

    waves: Waves
    gains: Tensor
    cost: Tensor

    def select(self, index: Tensor) -> Fit:
        """The samples that ``index`` (numbers or a mask) picks."""
        return Fit(self.waves.select(index), self.gains[index], self.cost[index])

    def replaced(self, where: Tensor, other: Fit) -> Fit:
        """``other`` (of as many waves), one entry per sample that the mask ``where`` picks, in place of these."""

        def put(old: Tensor, new: Tensor) -> Tensor:
            old = old.clone()
            old[where] = new
            return old

        waves = Waves(
            put(self.waves.sources, other.waves.sources),
            put(self.waves.edges, other.waves.edges),
            put(self.waves.degree, other.waves.degree),
        )
        return Fit(waves, put(self.gains, other.gains), put(self.cost, other.cost))

    def parts(self, y: Tensor, z: Tensor, basis: GainBasis) -> Tensor:
        """Field of each wave [N, L, n] at coordinates y, z [N, n] (or [1, n] for all samples)."""
        wave = self.waves.field(y, z)
        return wave * (self.gains.to(wave.dtype) @ basis.evaluate(y, z).to(wave.dtype))

    def evaluate(self, y: Tensor, z: Tensor, basis: GainBasis) -> Tensor:
        """The fitted field [N, n]."""
        return self.parts(y, z, basis).sum(1)

    def information(self, observation: Gathered, basis: GainBasis) -> Tensor:
        """Information criterion [N] of this fit, see :func:`information`."""
        return information(self.cost, observation, self.waves, basis)


def information(cost: Tensor, observation: Gathered, waves: Waves, basis: GainBasis) -> Tensor:
    """Bayesian information criterion [N] in white noise of unknown variance: 2 n ln(cost) + k ln(2 n).

    n observed antennas give 2 n real numbers. A wave has k = 3 + 2 functions real parameters, and more if it has an
    edge (the place of a jump is searched among all antennas rather than estimated: Zhang & Siegmund 2007). Infinite
    where the parameters are more than half of the 2 n numbers, and where a wave has an edge but too few antennas see
    it, or a small part of the array is seen: these say little about where else the wave ends.
    """
    antennas = observation.measurements
    functions = torch.tensor(basis.sizes(), dtype=torch.float64)[waves.degree]
    parameters = (3 + 2 * functions).sum(1) + EDGE_PARAMETERS * waves.has_edge.sum(1)
    score = 2 * antennas * cost.clamp_min(1e-300).log() + parameters * (2 * antennas).log()
    cut = waves.has_edge.sum(1)
    needed = torch.where(cut > 1, _ANTENNAS_PER_CUT_WAVE * cut, _LEAST_ANTENNAS_OF_CUT_WAVE)
    starved = (_antennas_reached(observation, waves).amin(1) < needed) & (cut > 0)
    narrow = (_span(observation, basis) < _LEAST_SPAN) & (cut > 0)
    return torch.where((parameters > antennas) | starved | narrow, torch.inf, score)


def _span(observation: Gathered, basis: GainBasis) -> Tensor:
    """Share [N] of the aperture between the outermost observed antennas, along the axis where it is least."""
    seen = observation.weight > 0
    least = torch.ones(len(observation), dtype=torch.float64)
    axes = (observation.y, basis.half_y), (observation.z, basis.half_z)
    for (place, half), long in zip(axes, basis.is_long, strict=True):
        if long:
            span = torch.where(seen, place, -torch.inf).amax(1) - torch.where(seen, place, torch.inf).amin(1)
            least = torch.minimum(least, span / (2 * half))
    return least


def _antennas_reached(observation: Gathered, waves: Waves) -> Tensor:
    """Observed antennas that each wave reaches, float64 [N, L]."""
    reach = waves.reach(observation.y, observation.z) * observation.weight[:, None]
    return reach.sum(2, dtype=torch.float64)


def with_best_degree(observation: Gathered, waves: Waves, basis: GainBasis) -> Waves:
    """The waves with that degree of the gains' polynomials that has the least information criterion.

    All waves of a sample have the same degree, except that one with an edge has at most degree 1, and 0 where few
    observed antennas see it: polynomials do not extrapolate.
    """
    columns = observation.measured(_gain_columns(observation, waves.field(observation.y, observation.z), basis))
    gram, right = _normal_equations(columns, observation.field)
    enough = _antennas_reached(observation, waves) >= _ANTENNAS_FOR_SLOPE
    largest = torch.where(waves.has_edge, enough.long(), 2)
    candidates, scores = [], []
    for degree in range(3):
        candidate = replace(waves, degree=largest.clamp_max(degree))
        gains = _solve(gram, right[..., None], basis.active(candidate.degree), observation.weight.dtype)[..., 0]
        scores.append(information(_residual(observation, columns, gains)[1], observation, candidate, basis))
        candidates.append(candidate.degree)
    best = torch.stack(scores).argmin(0)
    return replace(waves, degree=torch.stack(candidates)[best, torch.arange(len(waves))])


def refine(observation: Gathered, waves: Waves, basis: GainBasis, iterations: int) -> Fit:
    """Levenberg-Marquardt on all sources of each sample together; gains are eliminated, edges and degrees stay.

    The priors of the gains bind as the waves ask for with which it starts. Never returns a worse fit than that one;
    stops early once no sample improves by 0.01 %.
    """
    accepted = replace(waves, sources=move_in_front(waves.sources, 1.0, _LARGEST_SINE))
    state = _linearise(observation, accepted, basis)
    damping = torch.full_like(state.cost, 1e-3)
    for _ in range(iterations):
        trial = replace(waves, sources=move_in_front(accepted.sources + _step(state, damping), 1.0, _LARGEST_SINE))
        candidate = _linearise(observation, trial, basis, state.ridge)
        better = candidate.cost < state.cost
        settled = bool((candidate.cost >= (1 - 1e-4) * state.cost)[better].all()) and bool(better.any())
        damping = torch.where(better, damping / 10, damping * 8).clamp(1e-9, 1e6)
        accepted = replace(waves, sources=torch.where(better[:, None, None], trial.sources, accepted.sources))
        state = state.where(better, candidate)
        if settled:
            break
    return Fit(accepted, state.gains.reshape(len(waves), waves.count, -1), state.unexplained)


@dataclass(frozen=True)
class _Linearisation:
    """At some sources: gains [N, L P], their ridge [N, L P], unexplained energy [N], the cost [N], which adds that of
    the ridge, and the step's normal equations [N, 3L, 3L] and slope [N, 3L]."""

    gains: Tensor
    ridge: Tensor
    unexplained: Tensor
    cost: Tensor
    normal: Tensor
    slope: Tensor

    def where(self, chosen: Tensor, other: _Linearisation) -> _Linearisation:
        """``other`` for the chosen samples, self for the rest."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return _Linearisation(*(torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in pairs))


def _linearise(observation: Gathered, waves: Waves, basis: GainBasis, ridge: Tensor | None = None) -> _Linearisation:
    precision = observation.weight.dtype
    path, path_slope = path_and_slope(waves.sources, observation.y, observation.z)
    wave = phasors(path) * waves.reach(observation.y, observation.z)
    at_antennas = _gain_columns(observation, wave, basis)
    columns = observation.measured(at_antennas)
    gram, right = _normal_equations(columns, observation.field)
    active = basis.active(waves.degree)
    if ridge is None:
        free = _solve(gram, right[..., None], active, precision)[..., 0]
        ridge = _ridge(observation, waves, basis, _residual(observation, columns, free)[1])
    gram = gram + torch.diag_embed(ridge).to(gram.dtype)
    gains = _solve(gram, right[..., None], active, precision)[..., 0]
    residual, unexplained = _residual(observation, columns, gains)
    cost = unexplained + (ridge * gains.abs().square()).sum(1)
    derivative = observation.measured(phase_derivatives(at_antennas, gains, path_slope))
    # Kaufman: the part of the derivative that the gains can follow is projected out.
    cross = (columns.conj() @ derivative.mT).to(torch.complex128)
    followed = _solve(gram, cross, active, precision)
    normal = (derivative.conj() @ derivative.mT).real.double() - (cross.mH @ followed).real
    slope = (derivative.conj() @ residual[..., None])[..., 0].real.double()
    return _Linearisation(gains, ridge, unexplained, cost, normal, slope)


def _ridge(observation: Gathered, waves: Waves, basis: GainBasis, unexplained: Tensor) -> Tensor:
    """Ridge [N, L P] on the gains: unexplained power over prior variance, as if it were alike at all antennas, which
    shadows and diffuse paths that the waves miss nearly are over a small part of the array."""
    antennas, power = observation.measurements, energies(observation.field)
    parameters = basis.active(waves.degree).sum(1) + 1.5 * waves.count
    share = unexplained / power * (antennas / (antennas - parameters).clamp_min(0.1 * antennas))
    constant = (share / _VARIANCE_OF_CONSTANT).clamp_max(_LARGEST_RIDGE_ON_CONSTANT)
    slope = (share / _VARIANCE_OF_SLOPE).clamp_max(_LARGEST_RIDGE_ON_SLOPE)
    by_function = torch.stack([constant] + [slope] * (len(basis.exponents) - 1), dim=1)
    return (by_function * antennas[:, None]).repeat(1, waves.count)


def _gain_columns(observation: Gathered, wave: Tensor, basis: GainBasis) -> Tensor:
    """Field of each gain coefficient [N, L P, n] for waves [N, L, n]."""
    functions = basis.evaluate(observation.y, observation.z) * observation.weight[:, None]
    return (wave[:, :, None] * functions[:, None]).flatten(1, 2)


def _normal_equations(columns: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """Gram matrix [N, K, K] and right-hand side [N, K] of the least-squares problem for the gains, complex128."""
    adjoint = columns.conj()
    gram = adjoint @ columns.mT
    return gram.to(torch.complex128), (adjoint @ field[..., None])[..., 0].to(torch.complex128)


def _solve(gram: Tensor, right: Tensor, active: Tensor, precision: torch.dtype) -> Tensor:
    """Solutions [N, K, R] of the Gram system restricted to active unknowns; 0 elsewhere, and where it is singular."""
    both = active[:, :, None] & active[:, None, :]
    ridge = _RIDGE[precision] * gram.diagonal(dim1=1, dim2=2).real.amax(1, keepdim=True) + 1e-300
    diagonal = torch.where(active, ridge, 1.0)
    factor, failed = torch.linalg.cholesky_ex(torch.where(both, gram, 0) + torch.diag_embed(diagonal).to(gram.dtype))
    solution = torch.cholesky_solve(torch.where(active[..., None], right, 0), factor)
    return torch.where((failed == 0)[:, None, None], solution, 0)


def _residual(observation: Gathered, columns: Tensor, gains: Tensor) -> tuple[Tensor, Tensor]:
    """What the gains leave unexplained [N, n], and its energy float64 [N]."""
    residual = observation.field - (gains[:, None].to(columns.dtype) @ columns)[:, 0]
    return residual, energies(residual)


def _step(state: _Linearisation, damping: Tensor) -> Tensor:
    """Marquardt step [N, L, 3]; parameters that the observation does not resolve stay where they are."""
    diagonal = state.normal.diagonal(dim1=1, dim2=2)
    floor = 1e-12 * diagonal.amax(1, keepdim=True).clamp_min(0) + 1e-300
    system = state.normal + torch.diag_embed(damping[:, None] * diagonal.clamp_min(0) + floor)
    step, failed = torch.linalg.solve_ex(system, state.slope[..., None])
    step = torch.where((failed == 0)[:, None, None], step, 0)
    return step.reshape(len(step), -1, 3)
