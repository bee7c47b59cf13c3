"""On-grid orthogonal matching pursuit over a polar-domain codebook (Cui & Dai 2022, algorithm 1, for planar arrays)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.samples import estimate_in_chunks
from channelfm.tasks.predictor import check_observation
from channelfm.waves.fit import path_and_slope, phasors
from channelfm.waves.observation import Observation, coordinates, energies
from channelfm.waves.spherical import largest_inverse_range, search_grid

_OVERSAMPLING = 2.0
_RANGES = 12
_RANKED_DIRECTIONS = 6  # winners of the paraxial search whose exact atoms are compared on every ring
_RIDGE = 1e-6  # relative, on the atoms' Gram matrix
_FLOOR = 1e-6  # a residual 60 dB below the observation is explained
_CHUNK = 16  # samples at once, so that their spectra stay in a CPU's cache hierarchy


class PolarOMP:
    """Orthogonal matching pursuit with spherical waves from a fixed grid of sources.

    The codebook is a grid of direction sines (twice oversampled) times rings uniform in inverse range, from the
    plane wave to the reactive near-field limit; its atoms are exact spherical waves. It is never stored: candidates
    come from de-chirped FFTs of the residual, and the exact atoms of the best few are compared on every ring. After
    each new atom the gains of all are solved by least squares over the observed antennas. A sample stops when
    its best atom explains no more than the strongest of G projections of white noise would (RSS / n * ln G, for G
    atoms and n observed antennas): what is left is noise, which the estimate filters. Else it stops when its residual
    is 60 dB below the observation, at ``max_atoms`` atoms, or at a third of the observed antennas: what is left is what
    the grid misses, so that observed antennas keep their observed values.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths.
    max_atoms : largest number of atoms per sample.
    """

    name = "polar-omp"

    def __init__(self, spacing_wavelengths: float = 0.5, max_atoms: int = 30) -> None:
        self.spacing_wavelengths = spacing_wavelengths
        self.max_atoms = max_atoms

    def predict(self, observed: NDArray[np.complex64], mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
        """See :class:`channelfm.tasks.predictor.Predictor`; each frequency is estimated as its own sample."""
        observed, mask = check_observation(observed, mask)
        return estimate_in_chunks(self._estimate, observed, mask, _CHUNK)

    def _estimate(self, field: Tensor, seen: Tensor) -> Tensor:
        """Channels complex64 [N, rows, cols] from ``field`` of that shape, observed where ``seen``."""
        count, rows, cols = field.shape
        y, z = (axis[None].float() for axis in coordinates(rows, cols, self.spacing_wavelengths))
        estimate = torch.zeros(count, rows * cols, dtype=torch.complex64)
        observation = Observation.gather(field, seen, self.spacing_wavelengths).single()
        numbers = torch.arange(count)  # of the samples that still take atoms
        sources, residual = torch.zeros(count, 0, 3), observation.field
        filtered = torch.zeros(count, dtype=torch.bool)
        for atom in range(self.max_atoms):
            source, explained = self._best_atom(observation, residual)
            significant = (explained > self._noise_level(observation, residual)) | (atom == 0)
            filtered[numbers[~significant]] = True
            unexplained = energies(residual) > _FLOOR * energies(observation.field)
            goes_on = significant & unexplained & ((atom + 1 <= observation.antennas / 3) | (atom == 0))
            if not bool(goes_on.any()):
                break
            numbers, observation = numbers[goes_on], observation.select(goes_on)
            sources = torch.cat([sources[goes_on], source[goes_on, None]], dim=1)
            gains, residual = _least_squares(observation, sources)
            estimate[numbers] = (gains[:, None] @ phasors(path_and_slope(sources, y, z)[0]))[:, 0]
        estimate = estimate.reshape(count, rows, cols)
        return torch.where(seen & ~filtered[:, None, None], field, estimate)

    def _best_atom(self, observation: Observation, residual: Tensor) -> tuple[Tensor, Tensor]:
        """The codebook's atom closest to the residual: source [N, 3] as (u_y, u_z, q), and the energy it explains."""
        grid, rows, cols = observation.on_grid(residual), observation.rows, observation.cols
        sines, _ = search_grid(grid, self.spacing_wavelengths, _RANGES, _OVERSAMPLING, _RANKED_DIRECTIONS)
        rings = torch.linspace(0, largest_inverse_range(rows, cols, self.spacing_wavelengths), _RANGES)
        directions = sines.shape[1]
        candidates = torch.cat(
            [
                sines.repeat_interleave(_RANGES, dim=1),
                rings.repeat(directions)[None, :, None].expand(len(grid), -1, -1),
            ],
            dim=2,
        )
        atoms = phasors(path_and_slope(candidates, observation.y, observation.z)[0])
        power = (atoms.conj() @ residual[..., None])[..., 0].abs().square()
        best = power.argmax(1)
        chosen = torch.arange(len(grid)), best
        return candidates[chosen], power[chosen].double() / observation.antennas

    def _noise_level(self, observation: Observation, residual: Tensor) -> Tensor:
        """Energy [N] that the best of all atoms would explain if the residual were white noise."""
        atoms = _RANGES * math.prod(_OVERSAMPLING * axis for axis in (observation.rows, observation.cols) if axis > 1)
        return energies(residual) / observation.antennas * math.log(atoms)


def _least_squares(observation: Observation, sources: Tensor) -> tuple[Tensor, Tensor]:
    """Gains complex64 [N, K] of atoms at ``sources`` over the observed antennas, and the residual [N, n]."""
    atoms = phasors(path_and_slope(sources, observation.y, observation.z)[0]) * observation.weight[:, None]
    adjoint = atoms.conj()
    gram = (adjoint @ atoms.mT).to(torch.complex128)
    right = (adjoint @ observation.field[..., None]).to(torch.complex128)
    ridge = torch.diag_embed(_RIDGE * observation.antennas[:, None].expand(-1, sources.shape[1])).to(gram.dtype)
    gains = torch.linalg.solve(gram + ridge, right)[..., 0].to(torch.complex64)
    return gains, observation.field - (gains[:, None] @ atoms)[:, 0]
