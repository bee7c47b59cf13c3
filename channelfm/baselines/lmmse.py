"""Linear minimum mean square error (LMMSE) estimation with the sample covariance of training channels."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from channelfm.baselines.frame_estimator import FrameEstimator
from channelfm.errors import InputError
from channelfm.estimator import Examples, same_spacing
from channelfm.observation import Complex, Observation, fold_frequency, usable_snapshots
from channelfm.tokens.canonical import FrameRecipe, find_frame, to_canonical
from channelfm.waves.gathered import Gathered, energies

# White variances that may be added to the covariance, relative to the mean power of an antenna.
LOADINGS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_MOST_CHANNELS = 2048  # evenly spaced training channels whose statistics are taken
_LARGEST_RANK = 1024
_NEGLECTED = 1e-6  # share of the training channels' energy that a shorter factor may leave out
_LEARNED_AT_ONCE = 64


class LMMSE(FrameEstimator):
    """LMMSE estimates R_ho (R_oo + w I)^-1 y of hidden antennas (h) from observed ones (o, values y).

    R is the mean of x x^H over training channels x of unit mean power. No mean is subtracted, since the phase of a
    channel is random. R is kept as F F^H, where F has the principal components of the training channels: all but 1e-6
    of their energy, at most 1024 columns. A sample is solved in its observed antennas or in the components, whichever
    are fewer; R itself is never formed. The loading w, which stands for noise and for what the training channels do
    not span, is that of ``loadings`` under which the sample's own observation is most likely (complex normal, with a
    covariance proportional to R_oo + w I); they are tried in order until the likelihood falls.

    It :class:`learns <channelfm.estimator.Learns>`: ``estimate`` raises InputError before that, and for arrays of
    another size than it learned.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    loadings : to choose from, relative to the mean power of an antenna, each > 0, in descending order.
    """

    name = "lmmse"
    frame = FrameRecipe(kind="raw")
    takes_combined = True

    def __init__(self, spacing_wavelengths: float | None = None, loadings: tuple[float, ...] = LOADINGS) -> None:
        super().__init__(spacing_wavelengths)
        self.loadings = loadings
        self._factor: Tensor | None = None  # complex64 [rows * cols, rank]
        self._size, self._learned_spacing = (0, 0), 0.0

    def learn(self, examples: Examples) -> None:
        """See :class:`channelfm.estimator.Learns`; each frequency counts as a channel of its own."""
        _, *size = examples.observation.grid.shape
        spacing = examples.observation.grid.array.spacing_wavelengths
        folded = fold_frequency(usable_snapshots(examples.channel.reshape(-1, *size)))
        folded = folded[np.any(folded != 0, axis=(1, 2))]
        if not len(folded):
            raise InputError("none of the training channels has a path: give the channels of another split")
        chosen = np.unique(np.linspace(0, len(folded) - 1, _MOST_CHANNELS).round().astype(int))
        parts = torch.split(torch.from_numpy(folded[chosen]), _LEARNED_AT_ONCE)
        self._factor = principal_factor(torch.cat([self._in_frame(part, spacing) for part in parts]).flatten(1))
        self._size, self._learned_spacing = folded.shape[1:], spacing

    def _in_frame(self, field: Tensor, spacing_wavelengths: float) -> Tensor:
        everywhere = torch.ones_like(field, dtype=torch.bool)
        return to_canonical(field, find_frame(field, everywhere, self.frame.at_spacing(spacing_wavelengths)))

    def known_spacing(self, told: float | None) -> float:
        """Where no spacing is told, it is that of the channels that were learned."""
        return super().known_spacing(told if self._factor is None or told is not None else self._learned_spacing)

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`; the raw frame takes no spacing but that of what was learned."""
        array, learned = observation.grid.array, self._learned_spacing
        if self._factor is None:
            raise InputError(f"'{self.name}' knows no statistics yet: first call learn(examples of a training split)")
        if (array.rows, array.cols) != self._size:
            raise InputError(
                f"'{self.name}' learned arrays of {self._size[0]} x {self._size[1]} antennas, these are "
                f"{array.rows} x {array.cols}: learn from channels of that size"
            )
        if self.frame.kind == "raw" and not same_spacing(array.spacing_wavelengths, learned):
            raise InputError(
                f"'{self.name}' learned arrays spaced {learned:g} wavelengths, these are spaced "
                f"{array.spacing_wavelengths:g}: learn from channels of that spacing"
            )
        return super().estimate(observation)

    def estimate_rest(self, rest: Tensor, seen: Tensor) -> Tensor:
        """See :class:`FrameEstimator`."""
        assert self._factor is not None  # predict has seen to it
        factor = self._factor
        weights = [
            component_weights(factor[mask], field[mask], self.loadings)
            for field, mask in zip(rest.flatten(1), seen.flatten(1), strict=True)
        ]
        estimate = torch.stack(weights).to(factor.dtype) @ factor.mT
        return estimate.to(torch.complex128).reshape(rest.shape)

    def combined(self, measured: Gathered) -> Tensor:
        """See :class:`FieldEstimator`: with W^H F in place of F at the observed antennas."""
        assert self._factor is not None  # estimate has seen to it
        factor = self._factor.to(torch.complex128)
        rms = (energies(measured.field) / measured.measurements).sqrt()[:, None]
        seen = measured.measured(factor.mT[None]).mT.to(self._factor.dtype)
        weights = [
            component_weights(part, values, self.loadings)
            for part, values in zip(seen, measured.field / rms, strict=True)
        ]
        return ((torch.stack(weights) @ factor.mT) * rms).reshape(-1, measured.rows, measured.cols)


class CanonicalLMMSE(LMMSE):
    """The same in the canonical frame, where directions no longer matter and few components hold nearly all energy."""

    name = "lmmse-canonical"
    frame = FrameRecipe()
    takes_combined = False


def principal_factor(channels: Tensor) -> Tensor:
    """F complex64 [M, rank] with F F^H close to the mean of x x^H over the rows x of complex [N, M].

    Columns are orthogonal and ordered by energy; those are left out that hold 1e-6 of it together, and all beyond 1024.
    """
    samples = channels.to(torch.complex128) / math.sqrt(len(channels))
    energy, turn = torch.linalg.eigh(samples.conj() @ samples.mT)
    beyond = energy.clamp_min(0).cumsum(0)  # ascending order: energy of each column and all weaker ones
    rank = min(max(1, int((beyond > _NEGLECTED * beyond[-1]).sum())), _LARGEST_RANK)
    strongest: Tensor = turn[:, -rank:].flip(1)
    return (samples.mT @ strongest).to(torch.complex64)


def component_weights(factor: Tensor, observed: Tensor, loadings: tuple[float, ...]) -> Tensor:
    """Weights [rank] of the components with which F @ weights is the LMMSE estimate everywhere.

    ``factor`` complex64 [n, rank] is F at the observed antennas, ``observed`` complex128 [n] their values. The
    ``loadings`` w are tried in order until the logarithm of the likelihood falls, which up to a constant is
    -ln |K| - n ln y^H K^-1 y with K = F F^H + w I. With fewer components than antennas, K is inverted by Woodbury's
    identity.
    """
    antennas, rank = factor.shape
    few = antennas <= rank
    if few:
        factor = factor.to(torch.complex128)
        system, right = factor @ factor.mH, observed[:, None]
    else:
        # Rounded to single precision this is the system of columns turned by 1e-6: their scales keep their meaning.
        system = (factor.mH @ factor).to(torch.complex128)
        right = (factor.mH @ observed[:, None].to(factor.dtype)).to(torch.complex128)
    best, least = torch.zeros(rank, dtype=system.dtype), math.inf
    for loading in loadings:
        loaded = system.clone()
        loaded.diagonal().add_(loading)
        lower = torch.linalg.cholesky(loaded)
        solution = torch.cholesky_solve(right, lower)
        determinant = 2 * float(lower.diagonal().real.log().sum())
        product = float((right.mH @ solution).real)
        if not few:
            determinant += (antennas - rank) * math.log(loading)
            energy = float(observed.abs().square().sum())
            product = max(energy - product, 1e-14 * energy) / loading
        score = determinant + antennas * math.log(max(product, 1e-300))
        if score >= least:
            break
        best, least = (factor.mH @ solution if few else solution)[:, 0], score
    return best
