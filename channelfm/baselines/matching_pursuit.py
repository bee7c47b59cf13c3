"""On-grid orthogonal matching pursuit over the codebooks of the literature, for planar arrays.

The angular one holds plane waves (the far-field DFT codebook), the polar one spherical waves as well (Cui & Dai 2022,
algorithm 1). Everything but the codebook is the same.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from channelfm.baselines.samples import FieldEstimator
from channelfm.waves.aliases import aliases_of, by_aliases, white_share
from channelfm.waves.gathered import Gathered, energies
from channelfm.waves.geometry import largest_inverse_range, wave_of, waves_at
from channelfm.waves.spherical import search_grid

_OVERSAMPLING = 2.0
_RANKED_DIRECTIONS = 6  # winners of the paraxial search whose exact atoms are compared on every ring
_RIDGE = 1e-6  # relative, on the atoms' Gram matrix
_FLOOR = 1e-6  # a residual 60 dB below the observation is explained


class MatchingPursuit(FieldEstimator):
    """Orthogonal matching pursuit with waves from a fixed grid of sources; its subclasses name the codebook.

    The codebook is a grid of direction sines (twice oversampled) times ``rings`` uniform in inverse range, from the
    plane wave to the reactive near-field limit; its atoms are exact spherical waves. It is never stored: candidates
    come from de-chirped FFTs of the residual, and the exact atoms of the best few are compared on every ring. After
    each new atom the gains of all are solved by least squares over the observed antennas. A sample stops when
    its best atom explains no more than the strongest of G projections of white noise would (RSS / n * ln G, for G
    atoms and n observed antennas): what is left is noise, which the estimate filters. Else it stops when its residual
    is 60 dB below the observation, at ``max_atoms`` atoms, or at a third of the observed antennas: what is left is what
    the grid misses, so that observed antennas keep their observed values.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    max_atoms : largest number of atoms per sample.
    """

    rings: int
    samples_at_once = 4
    takes_combined = True

    def __init__(self, spacing_wavelengths: float | None = None, max_atoms: int = 30) -> None:
        super().__init__(spacing_wavelengths)
        self.max_atoms = max_atoms

    @torch.inference_mode()
    def fields(self, field: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """See :class:`FieldEstimator`."""
        estimate, filtered = torch.zeros_like(field), torch.zeros(len(field), dtype=torch.bool)
        for numbers, offsets in by_aliases(seen, spacing_wavelengths):
            observation = Gathered.entries(field[numbers], seen[numbers], spacing_wavelengths)
            estimate[numbers], filtered[numbers] = self._pursued(observation.single(), offsets)
        return torch.where(seen & ~filtered[:, None, None], field, estimate)

    @torch.inference_mode()
    def combined(self, measured: Gathered) -> Tensor:
        """See :class:`FieldEstimator`."""
        return self._pursued(measured.single(), torch.zeros(1, 2))[0]

    def _pursued(self, observation: Gathered, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Fields complex64 [N, rows, cols] of atoms where masks fold directions alike
        (:func:`channelfm.waves.aliases.alias_offsets`), and bool [N]: what is left is noise."""
        count, rows, cols, spacing = len(observation), observation.rows, observation.cols, observation.spacing
        numbers = torch.arange(count)  # of the samples that still take atoms
        sources = torch.zeros(count, self.max_atoms, len(offsets), 3)
        shares, gains = sources[..., 0] + 0j, sources[..., 0, 0] + 0j
        filtered = torch.zeros(count, dtype=torch.bool)
        atoms, residual = torch.zeros(count, 0, observation.field.shape[1]) + 0j, observation.field
        gram = torch.zeros(count, 0, 0, dtype=torch.complex128)
        for taken in range(self.max_atoms):
            source, share, atom, explained = self._best_atom(observation, residual, offsets)
            significant = (explained > self._noise_level(observation, residual)) | (taken == 0)
            filtered[numbers[~significant]] = True
            unexplained = energies(residual) > _FLOOR * energies(observation.field)
            goes_on = significant & unexplained & ((taken + 1 <= observation.measurements / 3) | (taken == 0))
            if not bool(goes_on.any()):
                break
            if not bool(goes_on.all()):
                numbers, observation = numbers[goes_on], observation.select(goes_on)
                atoms, gram, source, share, atom = (part[goes_on] for part in (atoms, gram, source, share, atom))
            atoms = torch.cat([atoms, atom[:, None]], dim=1)
            gram = _bordered(gram, atoms)
            sources[numbers, taken, : source.shape[1]], shares[numbers, taken, : source.shape[1]] = source, share
            gains[numbers, : taken + 1], residual = _least_squares(observation, atoms, gram)
        sources, gains = sources.flatten(1, 2), (gains[..., None] * shares).flatten(1)
        return _superposition(sources, gains, rows, cols, spacing), filtered

    def _best_atom(
        self, observation: Gathered, residual: Tensor, offsets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The codebook's atom closest to the residual, or an alias of it.

        Returns the sources [N, A, 3] as (u_y, u_z, q) that it may have, the shares complex64 [N, A] of these in its
        wave, the atom complex64 [N, n] of the likeliest at the observed antennas (0 at padding), and the energy that it
        explains, float64 [N].
        """
        grid, rows, cols = observation.on_grid(residual), observation.rows, observation.cols
        sines, _ = search_grid(grid, observation.spacing, self.rings, _OVERSAMPLING, _RANKED_DIRECTIONS)
        ranges = torch.linspace(0, largest_inverse_range(rows, cols, observation.spacing), self.rings)
        aliases, visible = aliases_of(F.pad(sines, (0, 1)).flatten(0, 1), offsets)
        shape = (*sines.shape[:2], aliases.shape[1], self.rings)
        candidates = aliases[:, :, None].repeat(1, 1, self.rings, 1)
        candidates[..., 2] = ranges
        candidates = candidates.reshape(*shape, 3)
        waves = waves_at(candidates.flatten(1, 3), observation.y, observation.z) * observation.weight[:, None]
        atoms = observation.measured(waves)
        inner = (atoms.conj() @ residual[..., None]).reshape(shape) * visible.reshape(*shape[:3], 1)
        energy = observation.number[:, None].expand(-1, atoms.shape[1])
        if observation.projection is not None:
            energy = atoms.abs().square().sum(2)
        strength = inner.abs().square().flatten(1)
        best, number = (strength / energy).argmax(1), torch.arange(len(grid))
        direction = best // math.prod(shape[2:])
        ring = inner[number, direction].abs().argmax(2)
        chosen = number[:, None], direction[:, None], torch.arange(shape[2]), ring
        atom, products = atoms[number, best], inner[chosen]
        explained = strength[number, best].double() / energy[number, best]
        return candidates[chosen], _shares(observation, residual, atom, products), atom, explained

    def _noise_level(self, observation: Gathered, residual: Tensor) -> Tensor:
        """Energy [N] that the best of all atoms would explain if the residual were white noise."""
        atoms = self.rings * math.prod(
            _OVERSAMPLING * axis for axis in (observation.rows, observation.cols) if axis > 1
        )
        return energies(residual) / observation.measurements * math.log(atoms)


class AngularOMP(MatchingPursuit):
    """Matching pursuit with plane waves alone, the codebook of far-field arrays."""

    name = "angular-omp"
    rings = 1


class PolarOMP(MatchingPursuit):
    """Matching pursuit with spherical waves from twelve rings (the polar-domain codebook of Cui & Dai 2022)."""

    name = "polar-omp"
    rings = 12


def _shares(observation: Gathered, residual: Tensor, atom: Tensor, products: Tensor) -> Tensor:
    """Shares complex64 [N, A] of the aliases of an ``atom`` [N, n] in its wave, from their ``products`` [N, A] with the
    residual [N, n]: the probability of each, with its phase relative to the likeliest."""
    if products.shape[1] == 1:
        return torch.ones_like(products)
    number, likeliest = torch.arange(len(products)), products.abs().argmax(1)
    most = products[number, likeliest][:, None]
    rest = residual - atom * (most / observation.measurements[:, None]).to(atom.dtype)
    trusted = white_share(observation.on_grid(rest)).square() * observation.measurements
    explained = products.abs().square().double() / observation.measurements[:, None]
    left = (energies(residual)[:, None] - explained).clamp_min(torch.finfo(torch.float32).tiny)
    probability = (-trusted[:, None] * left.log()).masked_fill(products == 0, -torch.inf).softmax(1)
    turn = products / most
    turn[number, likeliest] = 1
    return probability.to(torch.complex64) * turn


def _bordered(gram: Tensor, atoms: Tensor) -> Tensor:
    """The Gram matrices complex128 [N, K, K] of ``atoms`` [N, K, n], from ``gram`` of all but the newest."""
    newest = (atoms.conj() @ atoms[:, -1, :, None]).to(torch.complex128)
    above = torch.cat([gram, newest[:, :-1]], dim=2)
    return torch.cat([above, newest.mH], dim=1)


def _least_squares(observation: Gathered, atoms: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    """Gains complex64 [N, K] of atoms [N, K, n] over the observed antennas, and the residual [N, n]."""
    right = (atoms.conj() @ observation.field[..., None]).to(torch.complex128)
    ridge = torch.diag_embed(_RIDGE * observation.measurements[:, None].expand(-1, atoms.shape[1])).to(gram.dtype)
    gains = torch.linalg.solve(gram + ridge, right)[..., 0].to(torch.complex64)
    return gains, observation.field - (gains[:, None] @ atoms)[:, 0]


def _superposition(sources: Tensor, gains: Tensor, rows: int, cols: int, spacing: float) -> Tensor:
    """Sum complex64 [N, rows, cols] of waves [N, K] over the whole array; unused ones have gain 0."""
    count, number = gains.shape
    waves = wave_of(sources.flatten(0, 1), rows, cols, spacing).reshape(count, number, rows * cols)
    return (gains[:, None] @ waves)[:, 0].reshape(count, rows, cols)
