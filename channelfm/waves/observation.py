"""Observed antennas gathered into flat batches, which is what the fits compute with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


def coordinates(rows: int, cols: int, spacing: float) -> tuple[Tensor, Tensor]:
    """Antenna coordinates y and z in wavelengths, float64 [rows * cols] each (SPEC 1)."""
    y = (torch.arange(cols, dtype=torch.float64) - (cols - 1) / 2) * spacing
    z = (torch.arange(rows, dtype=torch.float64) - (rows - 1) / 2) * spacing
    return y.repeat(rows), z.repeat_interleave(cols)


def energies(values: Tensor) -> Tensor:
    """Energy [N] of complex [N, n], in double precision."""
    return torch.view_as_real(values).square().sum((1, 2), dtype=torch.float64)


@dataclass(frozen=True)
class Observation:
    """Observed antennas of N samples of one array size, n per sample at most.

    ``field`` complex [N, n]; ``y``, ``z`` [N, n] coordinates in wavelengths; ``weight`` [N, n] is 1, or 0 for
    padding where a sample has fewer observed antennas than another (``field`` is 0 there); ``place`` int64 [N, n] is
    the flat antenna number, row * cols + col. ``rows``, ``cols``, ``spacing``: the array.
    """

    field: Tensor
    y: Tensor
    z: Tensor
    weight: Tensor
    place: Tensor
    rows: int
    cols: int
    spacing: float

    @staticmethod
    def gather(field: Tensor, mask: Tensor, spacing: float) -> Observation:
        """From ``field`` complex [N, rows, cols] and ``mask`` bool of the same shape, in double precision."""
        rows, cols = field.shape[1:]
        seen = mask.flatten(1)
        most = int(seen.sum(1).max())
        place = seen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        y, z = coordinates(rows, cols, spacing)
        weight = seen.gather(1, place).double()
        values = field.flatten(1).gather(1, place).to(torch.complex128) * weight
        return Observation(values, y[place], z[place], weight, place, rows, cols, spacing)

    def __len__(self) -> int:
        return len(self.field)

    @property
    def antennas(self) -> Tensor:
        """Number of observed antennas of each sample, float64 [N]."""
        return self.weight.sum(1, dtype=torch.float64)

    def select(self, index: Tensor) -> Observation:
        """The samples that ``index`` (numbers or a mask) picks."""
        return self._map(lambda column: column[index])

    def single(self) -> Observation:
        """The same in single precision."""
        return replace(
            self,
            field=self.field.to(torch.complex64),
            y=self.y.float(),
            z=self.z.float(),
            weight=self.weight.float(),
        )

    def thinned(self, antennas: int) -> Observation:
        """At most ``antennas`` of the observed antennas of each sample, spread over all of them."""
        # A golden-ratio sequence visits the row-major list of antennas without favouring rows or columns.
        sequence = (torch.arange(self.field.shape[1], dtype=torch.float64) * 0.6180339887498949) % 1.0
        chosen = sequence.argsort()[:antennas].sort().values
        return self._map(lambda column: column[:, chosen])

    def _map(self, pick: Callable[[Tensor], Tensor]) -> Observation:
        picked: dict[str, Any] = {name: pick(getattr(self, name)) for name in ("field", "y", "z", "weight", "place")}
        return replace(self, **picked)

    def on_grid(self, values: Tensor) -> Tensor:
        """Values [N, n] at the observed antennas put back on the array: complex64 [N, rows, cols], 0 elsewhere."""
        grid = torch.zeros(len(self), self.rows * self.cols, dtype=torch.complex64)
        grid.scatter_add_(1, self.place, (values * self.weight).to(torch.complex64))
        return grid.reshape(-1, self.rows, self.cols)
