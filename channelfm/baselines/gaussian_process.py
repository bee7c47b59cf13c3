"""Gaussian-process regression over the antennas, after the coarse spherical wave is divided out.

Within a sample the field is an unknown complex constant plus a circular complex Gaussian process, whose correlation
is a Matern function (smoothness 5/2) of the distance along the rows times one of that along the columns, plus white
noise. Constant and variance have a closed form; the two correlation lengths and the noise are searched for by
restricted likelihood (Rasmussen & Williams 2006, sections 2.7 and 5.4). Everything local is done locally, which is
what makes thousands of antennas possible: the likelihood is that of a few neighbourhoods taken as independent
(a composite likelihood), and the prediction of each part of the array uses the observed antennas around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from channelfm.baselines.frame_estimator import FrameEstimator
from channelfm.baselines.off_grid import OffGrid
from channelfm.errors import InputError
from channelfm.observation import Combining, Observation
from channelfm.tokens.canonical import FrameRecipe
from channelfm.waves.gathered import Gathered, energies

LENGTHS = (1.5, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0)  # correlation lengths in antennas
NOISES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # variances of the noise, relative to the process
_FIRST_NOISES = (0, 4)  # those tried with equal lengths, before each parameter is searched by itself
_SWEEPS = 2
_BLOCKS, _BLOCK_ANTENNAS = 3, 64  # neighbourhoods of the likelihood along each axis, and the antennas of each
_NEIGHBOURS = 256  # observed antennas behind each prediction ...
_SHARE = 4  # ... of a part of the array that has this share of their area
_MOST_MEASUREMENTS = 1024  # of RF chains, since they are solved together
_LEAST_MISFIT = 1e-20  # of a field of RMS 1 that a constant explains to rounding


@dataclass(frozen=True)
class Hyperparameters:
    """What the likelihood chose for N samples.

    ``along_rows``, ``along_cols`` float64 [N]: correlation lengths in antennas, over the row and the column index;
    ``noise``: variance of the noise relative to that of the process; ``variance`` of the process at one antenna.
    """

    along_rows: Tensor
    along_cols: Tensor
    noise: Tensor
    variance: Tensor


class GaussianProcess(FrameEstimator):
    """Posterior mean of a Gaussian process whose hyperparameters are each sample's own.

    It is returned everywhere, also at observed antennas, which filters their noise.
    """

    name = "gaussian-process"
    keeps_observed = False
    samples_at_once = 8
    takes_combined = True

    def estimate_rest(self, rest: Tensor, seen: Tensor) -> Tensor:
        """See :class:`FrameEstimator`."""
        return posterior_mean(rest, seen, most_likely(rest, seen))

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        if isinstance(observation.operator, Combining) and observation.operator.size[0] > _MOST_MEASUREMENTS:
            raise InputError(f"'{self.name}' solves {_MOST_MEASUREMENTS} measurements of RF chains at most")

    @torch.inference_mode()
    def combined(self, measured: Gathered) -> Tensor:
        """See :class:`FieldEstimator`: the wave is that of a fit of a single one, and nothing is done locally."""
        rows, cols = measured.rows, measured.cols
        field = OffGrid(max_waves=1).combined(measured).flatten(1)
        wave = torch.polar(torch.ones_like(field.real), field.angle())
        rms = (energies(measured.field) / measured.measurements).sqrt()[:, None]
        assert measured.projection is not None  # RF chains have one
        projections = measured.projection * wave[..., None]
        means = [
            mean_of_sums(values, projection, rows, cols)
            for values, projection in zip(measured.field / rms, projections, strict=True)
        ]
        return (torch.stack(means) * wave * rms).reshape(-1, rows, cols)


class WaveFrameProcess(GaussianProcess):
    """The same for what the waves of the row "wave-frame" leave: physics first, smoothness for the rest."""

    name = "wave-frame-gp"
    frame = FrameRecipe(waves=16)
    takes_combined = False


@dataclass(frozen=True)
class _Neighbourhoods:
    """The observed antennas nearest to some places, m for each of P places (places of one sample follow each other).

    ``row``, ``col`` int64 [P, m]; ``weight`` float64 [P, m] is 1, or 0 for padding where fewer antennas are observed;
    ``right`` float64 [P, m, 3]: real and imaginary part of the field, and the constant 1 (all 0 at padding).
    """

    row: Tensor
    col: Tensor
    weight: Tensor
    right: Tensor

    @staticmethod
    def around(rest: Tensor, seen: Tensor, places: Tensor, antennas: int) -> _Neighbourhoods:
        """Around ``places`` float [B, 2] (row, column) of each sample, so that P = N B."""
        rows, cols = rest.shape[1:]
        vertical = (torch.arange(rows) - places[:, :1]).square()
        horizontal = (torch.arange(cols) - places[:, 1:]).square()
        square = (vertical[:, :, None] + horizontal[:, None]).flatten(1)
        distance = torch.where(seen.flatten(1)[:, None], square, torch.inf).flatten(0, 1)
        most = min(antennas, int(seen.sum((1, 2)).max()))
        nearest, place = distance.topk(most, dim=1, largest=False)
        weight = nearest.isfinite().double()
        field = rest.flatten(1).repeat_interleave(len(places), 0).gather(1, place) * weight
        return _Neighbourhoods(place // cols, place % cols, weight, torch.stack([field.real, field.imag, weight], 2))

    def factor(self, correlation: Tensor, noise: Tensor) -> Tensor:
        """Cholesky factors [P, m, m] of the covariance over the variance; padding is white and of variance 1."""
        covariance = correlation * (self.weight[:, :, None] * self.weight[:, None])
        covariance.diagonal(dim1=1, dim2=2).copy_(1 + noise[:, None] * self.weight)
        factor: Tensor = torch.linalg.cholesky(covariance)
        return factor


def most_likely(rest: Tensor, seen: Tensor) -> Hyperparameters:
    """Hyperparameters of fields complex128 [N, rows, cols] of RMS about 1, known where bool ``seen``.

    A search on a grid: equal lengths first, then each of the three parameters by itself, twice.
    """
    count, rows, cols = rest.shape
    blocks = min(_BLOCKS, math.ceil(math.sqrt(int(seen.sum((1, 2)).max()) / _BLOCK_ANTENNAS)))
    places = torch.cartesian_prod(_centres(rows, blocks), _centres(cols, blocks))
    around = _Neighbourhoods.around(rest, seen, places, _BLOCK_ANTENNAS)
    by_row = _along(_correlations(torch.tensor(LENGTHS), rows), around.row)
    by_col = _along(_correlations(torch.tensor(LENGTHS), cols), around.col)
    noises = torch.tensor(NOISES, dtype=torch.float64)
    best = torch.zeros(count, 3, dtype=torch.int64)
    least, variance = torch.full((count,), torch.inf, dtype=torch.float64), torch.ones(count, dtype=torch.float64)
    every = torch.arange(len(around.row))

    def consider(trial: Tensor) -> None:
        nonlocal best, least, variance
        row, col, noise = trial.repeat_interleave(len(places), 0).unbind(1)
        factor = around.factor(by_row[row, every] * by_col[col, every], noises[noise])
        score, scale = _restricted_likelihood(around, factor, count)
        better = score < least
        best = torch.where(better[:, None], trial, best)
        least, variance = torch.where(better, score, least), torch.where(better, scale, variance)

    for length in range(len(LENGTHS)):
        for noise in _FIRST_NOISES:
            consider(torch.tensor([length, length, noise]).expand(count, 3))
    for _ in range(_SWEEPS):
        for parameter, values in enumerate((LENGTHS, LENGTHS, NOISES)):
            start = best.clone()
            for value in range(len(values)):
                consider(start.index_fill(1, torch.tensor(parameter), value))
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)
    return Hyperparameters(lengths[best[:, 0]], lengths[best[:, 1]], noises[best[:, 2]], variance)


def posterior_mean(rest: Tensor, seen: Tensor, chosen: Hyperparameters) -> Tensor:
    """Posterior mean complex128 [N, rows, cols] of the process and its constant, from the antennas around each part."""
    rows, cols = rest.shape[1:]
    by_row, by_col = _correlations(chosen.along_rows, rows), _correlations(chosen.along_cols, cols)
    mean = torch.zeros_like(rest)
    every = torch.arange(len(rest))[:, None, None]
    for top, left, height, width in _parts(rows, cols, int(seen.sum((1, 2)).max())):
        centre = torch.tensor([[top + (height - 1) / 2, left + (width - 1) / 2]])
        around = _Neighbourhoods.around(rest, seen, centre, _NEIGHBOURS)
        correlation = by_row[every, around.row[:, :, None], around.row[:, None]]
        correlation *= by_col[every, around.col[:, :, None], around.col[:, None]]
        solved = torch.cholesky_solve(around.right, around.factor(correlation, chosen.noise))
        total = solved.sum(1)  # of real and imaginary part, and of the constant's
        constant = total[:, :2] / total[:, 2:]
        weights = solved[:, :, :2] - solved[:, :, 2:] * constant[:, None]
        # Correlations are products, so that the sum over antennas is two small products of matrices.
        grid = torch.zeros(len(rest), 2, rows * cols, dtype=torch.float64)
        place = (around.row * cols + around.col)[:, None].expand(-1, 2, -1)
        grid.scatter_add_(2, place, weights.mT)
        part = by_row[:, None, top : top + height] @ grid.reshape(-1, 2, rows, cols)
        part = part @ by_col[:, None, :, left : left + width] + constant[:, :, None, None]
        mean[:, top : top + height, left : left + width] = torch.complex(part[:, 0], part[:, 1])
    return mean


def mean_of_sums(values: Tensor, projection: Tensor, rows: int, cols: int) -> Tensor:
    """Posterior mean complex128 [rows * cols] of a process and its constant from sums over the antennas.

    ``values`` complex128 [Q] = field @ ``projection`` [rows * cols, Q], of a field of RMS about 1. The likelihood is
    that of all values together; it has all noises from one eigenvalue decomposition. Equal lengths are tried first,
    then each of the two by itself.
    """
    by_row, by_col = (_correlations(torch.tensor(LENGTHS), elements).double() for elements in (rows, cols))
    noises = torch.tensor(NOISES, dtype=torch.float64)[:, None]
    adjoint = projection.conj().resolve_conj()
    constant, freedom = projection.sum(0), max(len(values) - 1, 1)

    def smoothed(grid: Tensor, row: int, col: int) -> Tensor:
        """The correlation of all antennas times fields complex [rows * cols, Q]."""
        parts = torch.view_as_real(grid).reshape(rows, -1)
        parts = (by_row[row] @ parts).reshape(rows, cols, -1)
        return torch.view_as_complex((by_col[col] @ parts).reshape(rows * cols, -1, 2))

    @cache
    def tried(row: int, col: int) -> tuple[float, Tensor]:
        """The least score over all noises, and the weights of ``adjoint``, after which the constant comes."""
        power, turn = torch.linalg.eigh(projection.mT @ smoothed(adjoint, row, col))
        one, seen = turn.mH @ constant, turn.mH @ values
        inverse = 1 / (power.clamp_min(0) + noises)
        information = (inverse * one.abs().square()).sum(1).clamp_min(1e-300)
        mean = (inverse * one.conj() * seen).sum(1) / information
        misfit = (inverse * seen.abs().square()).sum(1) - information * mean.abs().square()
        score = -inverse.log().sum(1) + information.log() + freedom * misfit.clamp_min(_LEAST_MISFIT * freedom).log()
        best = int(score.argmin())
        weights = turn @ (inverse[best] * (seen - one * mean[best]))
        return float(score[best]), torch.cat([weights, mean[best, None]])

    lengths = range(len(LENGTHS))
    row = col = min(lengths, key=lambda length: tried(length, length)[0])
    row = min(lengths, key=lambda length: tried(length, col)[0])
    col = min(lengths, key=lambda length: tried(row, length)[0])
    weights = tried(row, col)[1]
    return smoothed((adjoint @ weights[:-1])[:, None], row, col)[:, 0] + weights[-1]


def _restricted_likelihood(around: _Neighbourhoods, factor: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Negative logarithm [N] of the restricted likelihood of a complex process, and its variance [N] at the maximum.

    Over all neighbourhoods of a sample, with one unknown constant and variance: ln |K| + ln 1'K^-1 1 +
    (n - 1) ln (misfit / (n - 1)).
    """
    white = torch.linalg.solve_triangular(factor, around.right, upper=False)
    products = (white.mT @ white).reshape(samples, -1, 3, 3).sum(1)
    determinant = 2 * factor.diagonal(dim1=1, dim2=2).log().reshape(samples, -1).sum(1)
    information = products[:, 2, 2]
    misfit = products[:, 0, 0] + products[:, 1, 1] - products[:, 2, :2].square().sum(1) / information
    freedom = around.weight.reshape(samples, -1).sum(1) - 1
    variance = misfit.clamp_min(_LEAST_MISFIT) / freedom.clamp_min(1)
    return determinant + information.log() + freedom * variance.log(), variance


def _correlations(lengths: Tensor, elements: int) -> Tensor:
    """Matern correlation of smoothness 5/2 between the elements of an axis, float64 [L, elements, elements]."""
    place = torch.arange(elements, dtype=torch.float64)
    distance = math.sqrt(5) * (place[:, None] - place).abs() / lengths.double()[:, None, None]
    return torch.mul(1 + distance + distance.square() / 3, (-distance).exp())


def _along(correlations: Tensor, place: Tensor) -> Tensor:
    """Correlations [L, P, m, m] of all pairs of each neighbourhood, by places [P, m] along one axis."""
    return correlations[:, place[:, :, None], place[:, None]]


def _centres(elements: int, blocks: int) -> Tensor:
    """Centres of equal blocks along an axis, at most one per element."""
    blocks = min(blocks, elements)
    return (torch.arange(blocks) + 0.5) * elements / blocks - 0.5


def _parts(rows: int, cols: int, observed: int) -> list[tuple[int, int, int, int]]:
    """The array in rectangles (top, left, height, width), small beside their neighbourhood; one if that has all."""
    if observed <= _NEIGHBOURS:
        return [(0, 0, rows, cols)]
    area = _NEIGHBOURS * rows * cols / observed / _SHARE
    width = min(cols, max(1, int(math.sqrt(area))))
    height = min(rows, max(1, int(area / width)))
    width = min(cols, max(1, int(area / height)))
    return [
        (top, left, min(height, rows - top), min(width, cols - left))
        for top in range(0, rows, height)
        for left in range(0, cols, width)
    ]
