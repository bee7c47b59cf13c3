"""Measurements of many planar arrays gathered into flat batches, which is what the wave fits compute with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from channelfm.waves.geometry import coordinates

_THINNING_SEED = 20  # of the fixed order in which surplus antennas are left out
_GOLDEN = 0.6180339887498949


def energies(values: Tensor) -> Tensor:
    """Energy [N] of complex [N, n], in double precision."""
    return torch.view_as_real(values).square().sum((1, 2), dtype=torch.float64)


@dataclass(frozen=True)
class Gathered:
    """What was measured of N channels of one array size, n numbers each at most, and the antennas behind it.

    ``field`` complex [N, n]: the measurements; ``y``, ``z`` [N, m]: coordinates in wavelengths of the antennas behind
    them; ``weight`` [N, m]: 1, or 0 for padding where a sample has fewer antennas than another; ``place`` int64 [N, m]:
    their numbers, row * cols + col. ``rows``, ``cols``, ``spacing``: the array. Single entries are the antennas
    themselves, m = n, and ``projection`` is None (``field`` is 0 at padding). Those of RF chains are field =
    channel @ projection, complex [N, m, n], of all antennas; each column has unit norm on average.
    """

    field: Tensor
    y: Tensor
    z: Tensor
    weight: Tensor
    place: Tensor
    rows: int
    cols: int
    spacing: float
    projection: Tensor | None = None

    @staticmethod
    def entries(
        field: Tensor, mask: Tensor, spacing: float, most: int | None = None, dtype: torch.dtype = torch.float64
    ) -> Gathered:
        """From ``field`` complex [N, rows, cols] and bool ``mask`` of that shape, in the precision of ``dtype``.

        Antennas beyond ``most`` are left out in an order that is the same for all samples, so that no sample depends on
        its neighbours in the batch.
        """
        rows, cols = field.shape[1:]
        seen = mask.flatten(1)
        if most is not None:
            order = _thinning_order(rows * cols).to(field.device)
            chosen = seen[:, order].to(torch.uint8).cumsum(1, dtype=torch.int32) <= most
            seen = torch.zeros_like(seen).index_copy_(1, order, chosen & seen[:, order])
        number = int(seen.sum(1).max())
        place = seen.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :number]
        weight = seen.gather(1, place).to(dtype)
        values = field.flatten(1).gather(1, place).to(dtype.to_complex()) * weight
        y, z = (axis[0, place] for axis in coordinates(rows, cols, spacing, field.device, dtype))
        return Gathered(values, y, z, weight, place, rows, cols, spacing)

    @staticmethod
    def combined(values: Tensor, weights: Tensor, spacing: float) -> Gathered:
        """From ``values`` complex [N, Q] = W^H h of ``weights`` complex [N, Q, rows, cols], in double precision.

        Both are brought to weights of unit norm on average, so that noise and the gains of waves are as at antennas.
        """
        count, measurements, rows, cols = weights.shape
        flat = weights.flatten(2).to(torch.complex128)
        norm = (energies(flat.flatten(1)) / measurements).sqrt().clamp_min(1e-150)
        y, z = (axis.expand(count, -1) for axis in coordinates(rows, cols, spacing))
        place = torch.arange(rows * cols).expand(count, -1)
        projection = (flat / norm[:, None, None]).mH.contiguous()
        return Gathered(values / norm[:, None], y, z, torch.ones_like(y), place, rows, cols, spacing, projection)

    def __len__(self) -> int:
        return len(self.field)

    @property
    def number(self) -> Tensor:
        """Measurements of each sample [N], in the precision of the sample."""
        if self.projection is None:
            return self.weight.sum(1)
        return torch.full_like(self.weight[:, 0], self.field.shape[1])

    @property
    def measurements(self) -> Tensor:
        """Measurements of each sample, float64 [N]."""
        return self.number.double()

    def measured(self, fields: Tensor) -> Tensor:
        """Fields [N, K, m] at the antennas behind the measurements -> what is measured of them [N, K, n]."""
        return fields if self.projection is None else fields @ self.projection

    def on_grid(self, values: Tensor) -> Tensor:
        """The adjoint: values [N, n] put back on the array, complex64 [N, rows, cols], 0 where nothing is known."""
        if self.projection is not None:
            back = (self.projection.conj() @ values[..., None].to(self.projection.dtype))[..., 0]
            return back.to(torch.complex64).reshape(-1, self.rows, self.cols)
        grid = torch.zeros(len(self), self.rows * self.cols, dtype=torch.complex64, device=values.device)
        grid.scatter_add_(1, self.place, (values * self.weight).to(torch.complex64))
        return grid.reshape(-1, self.rows, self.cols)

    def select(self, index: Tensor) -> Gathered:
        """The samples that ``index`` (numbers or a mask) picks."""
        return self._with({name: value[index] for name, value in self._tensors().items()})

    def single(self) -> Gathered:
        """The same in single precision."""
        kinds = {torch.float64: torch.float32, torch.complex128: torch.complex64}
        return self._with(
            {name: value.to(kinds.get(value.dtype, value.dtype)) for name, value in self._tensors().items()}
        )

    def thinned(self, most: int) -> Gathered:
        """At most ``most`` of the measurements of each sample, spread over all of them."""
        # A golden-ratio sequence visits the row-major list of antennas without favouring rows or columns.
        sequence = (torch.arange(self.field.shape[1], dtype=torch.float64) * _GOLDEN) % 1.0
        chosen = sequence.argsort()[:most].sort().values
        names = self._tensors() if self.projection is None else ("field", "projection")
        return self._with({name: getattr(self, name)[..., chosen] for name in names})

    def _tensors(self) -> dict[str, Tensor]:
        names = ("field", "y", "z", "weight", "place", "projection")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _with(self, tensors: dict[str, Any]) -> Gathered:
        return replace(self, **tensors)


@lru_cache(maxsize=16)
def _thinning_order(antennas: int) -> Tensor:
    return torch.randperm(antennas, generator=torch.Generator().manual_seed(_THINNING_SEED))
