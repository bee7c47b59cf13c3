"""Simultaneous orthogonal matching pursuit: atoms shared by all subcarriers, a free gain on each (seed 001, III-B).

The three rows differ in their codebooks alone.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from channelfm.baselines.simultaneous import SimultaneousEstimator
from channelfm.checks import as_whole
from channelfm.errors import InputError
from channelfm.observation import Combining, Observation
from channelfm.waves.codebook import angular_codebook, polar_codebook
from channelfm.waves.geometry import coordinates, waves_at
from channelfm.waves.received import Received, energy, free_gains, superposition

_LARGEST_DICTIONARY = 1 << 27  # measurements times atoms, 1 GiB
_WAVES_AT_ONCE = 1 << 22  # atoms times antennas
_EXPLAINED = 1e-6  # a residual 60 dB below the measurements is explained
_NEW = 1e-3  # share of an atom that those before it must leave


@dataclass(frozen=True)
class Dictionary:
    """Atoms of unit norm complex64 [Q, G] as weights measure those of ``sources`` float64 [G, 3]."""

    atoms: Tensor
    sources: Tensor

    @classmethod
    def of(cls, sources: Tensor, received: Received) -> Dictionary:
        """What the weights measure of some sources; an atom that they do not see at all is 0."""
        y, z = coordinates(received.rows, received.cols, received.spacing, dtype=torch.float32)
        weights = received.weights.to(torch.complex64)
        parts = [
            weights @ waves_at(part[None], y, z)[0].mT
            for part in torch.split(sources, max(1, _WAVES_AT_ONCE // weights.shape[1]))
        ]
        atoms = torch.cat(parts, dim=1)
        return cls(atoms / torch.linalg.vector_norm(atoms, dim=0).clamp_min(1e-20), sources)

    def strengths(self, values: Tensor) -> Tensor:
        """Inner products complex64 [n, G, F] of the atoms with measurements [n, Q, F]."""
        return self.atoms.mH @ values.to(torch.complex64)

    def noise_level(self, residual: Tensor, taken: int) -> Tensor:
        """Energy float64 [n] that the best of all atoms would hardly ever explain of a ``residual`` [n, Q, F] that is
        white noise.

        s (F + sqrt(2 F ln G) + ln G), a bound on the largest of G chi-square variables of 2 F degrees of freedom
        (Laurent & Massart 2000, lemma 1), where s is the power of the residual over what ``taken`` atoms left free.
        """
        _, measurements, frequencies = residual.shape
        trials = math.log(max(self.atoms.shape[1], 2))
        power = energy(residual) / (max(measurements - taken, 1) * frequencies)
        return power * (frequencies + math.sqrt(2 * frequencies * trials) + trials)


class SimultaneousPursuit(SimultaneousEstimator):
    """Orthogonal matching pursuit of atoms that all subcarriers share; gains are free on each.

    Without a number of ``atoms``, a link takes them as long as the best explains more than the best of all would of
    white noise (:meth:`Dictionary.noise_level`), at most a third of its measurements, ``max_atoms``, and until 60 dB
    are explained. Since noise is white over the measurements, the weighting of SW-OMP is none.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    atoms : how many each link takes, as the literature does that knows the number of paths; None: as the rule says.
    max_atoms : the most that the rule takes.
    """

    def __init__(self, spacing_wavelengths: float | None = None, atoms: int | None = None, max_atoms: int = 24) -> None:
        super().__init__(spacing_wavelengths)
        self.atoms = None if atoms is None else as_whole(atoms, "atoms")
        self.max_atoms = as_whole(max_atoms, "max_atoms")

    @abstractmethod
    def codebooks(self, rows: int, cols: int, spacing: float) -> list[tuple[Tensor, float]]:
        """Sources float64 [G, 3] of the codebooks that are searched one after another, and up to which share of all
        atoms each is."""

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`; the dictionary is stored."""
        super().check(observation)
        assert isinstance(observation.operator, Combining)  # checked
        measurements, rows, cols = observation.operator.size
        spacing = observation.grid.array.spacing_wavelengths
        atoms = max(len(sources) for sources, _ in self.codebooks(rows, cols, spacing))
        if atoms * min(measurements, rows * cols) > _LARGEST_DICTIONARY:
            raise InputError(
                f"'{self.name}' stores {atoms} atoms for {measurements} measurements each, more than 1 GiB: give fewer "
                "antennas or measurements"
            )

    def channels(self, received: Received) -> Tensor:
        """See :class:`SimultaneousEstimator`."""
        sources, there = self.picked(received)
        fit = free_gains(received, sources, there)
        return superposition(received, sources, fit.gains)

    def picked(self, received: Received) -> tuple[Tensor, Tensor]:
        """Sources float64 [n, K, 3] of the atoms that each link takes, and which of these there are, bool [n, K]."""
        most = self.most(received)
        pursuit = _Pursuit(received.values)
        for sources, share in self.codebooks(received.rows, received.cols, received.spacing):
            pursuit.run(Dictionary.of(sources, received), max(round(share * most), 1), self.atoms is None)
        return pursuit.found()

    def most(self, received: Received) -> int:
        """How many atoms a link takes at most."""
        return self.atoms or min(self.max_atoms, max(received.values.shape[1] // 3, 1))


class _Pursuit:
    """A pursuit of n links that goes through one dictionary after another."""

    def __init__(self, values: Tensor) -> None:
        self.residual = values.to(torch.complex64)
        self.total = energy(values)
        self.basis = self.residual[:, :, :0]  # orthonormal, of what the atoms so far span
        self.sources: list[Tensor] = []
        self.there: list[Tensor] = []

    def run(self, dictionary: Dictionary, until: int, by_rule: bool) -> None:
        """Take atoms of a dictionary until there are so many, or fewer where a link's rule says so."""
        inner = dictionary.strengths(self.residual)
        active = torch.ones(len(inner), dtype=torch.bool)
        while len(self.sources) < until and bool(active.any()):
            explained, best = torch.view_as_real(inner).square().sum((2, 3)).max(1)
            if by_rule:
                significant = explained > dictionary.noise_level(self.residual, len(self.sources))
                active = active & ((significant & (energy(self.residual) > _EXPLAINED * self.total)) | self._none_yet())
            newest, fresh = self._orthonormal(dictionary.atoms[:, best].mT)
            active = active & fresh
            newest = newest * active[:, None]
            gains = newest.conj()[:, None] @ self.residual
            self.residual = self.residual - newest[:, :, None] * gains
            inner -= (dictionary.atoms.mH @ newest[:, :, None]) * gains
            self.basis = torch.cat([self.basis, newest[:, :, None]], dim=2)
            self.sources.append(dictionary.sources[best])
            self.there.append(active)

    def found(self) -> tuple[Tensor, Tensor]:
        """See :meth:`SimultaneousPursuit.picked`."""
        return torch.stack(self.sources, dim=1), torch.stack(self.there, dim=1)

    def _none_yet(self) -> Tensor:
        """bool [n]: the links without an atom."""
        taken = torch.zeros(len(self.residual), dtype=torch.bool)
        for there in self.there:
            taken = taken | there
        return ~taken

    def _orthonormal(self, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """What is new of atoms complex64 [n, Q], of unit norm, and bool [n]: whether there is enough of it."""
        fresh = atoms[:, :, None]
        for _ in range(2):  # once more, for what rounding has left
            fresh = fresh - self.basis @ (self.basis.mH @ fresh)
        norm = torch.linalg.vector_norm(fresh[:, :, 0], dim=1)
        return fresh[:, :, 0] / norm.clamp_min(1e-20)[:, None], norm > _NEW


class SimultaneousWeightedOMP(SimultaneousPursuit):
    """SW-OMP over plane waves (Rodriguez-Fernandez et al. 2018, algorithm 1)."""

    name = "sw-omp"

    def codebooks(self, rows: int, cols: int, spacing: float) -> list[tuple[Tensor, float]]:
        """See :class:`SimultaneousPursuit`."""
        return [(angular_codebook(rows, cols, spacing), 1.0)]


class PolarSOMP(SimultaneousPursuit):
    """P-SOMP over spherical waves on rings (Cui & Dai 2022, algorithm 1)."""

    name = "polar-somp"

    def codebooks(self, rows: int, cols: int, spacing: float) -> list[tuple[Tensor, float]]:
        """See :class:`SimultaneousPursuit`."""
        return [(polar_codebook(rows, cols, spacing), 1.0)]


class HybridFieldOMP(SimultaneousPursuit):
    """Plane waves first, then spherical ones for what they leave (Wei & Dai 2022, algorithm 1).

    The paper knows how many paths are of the far field; this takes at most half of the atoms from there.
    """

    name = "hybrid-field-omp"

    def codebooks(self, rows: int, cols: int, spacing: float) -> list[tuple[Tensor, float]]:
        """See :class:`SimultaneousPursuit`."""
        return [(angular_codebook(rows, cols, spacing), 0.5), (polar_codebook(rows, cols, spacing), 1.0)]
