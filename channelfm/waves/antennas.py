"""The observed antennas that the greedy search looks at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from channelfm.waves.spherical import element_coordinates

_COORDINATES_SEED = 20  # of the fixed order in which surplus antennas are left out


@dataclass(frozen=True)
class SeenAntennas:
    """Observed antennas of N samples, at most n of each: ``field`` complex64 [N, n], ``weight`` float32 [N, n] (1, or 0
    for padding), coordinates ``y``, ``z`` float32 [N, n] in wavelengths, ``place`` int64 [N, n] (row * cols + col).
    ``rows``, ``cols``, ``spacing``: the array."""

    field: Tensor
    weight: Tensor
    y: Tensor
    z: Tensor
    place: Tensor
    rows: int
    cols: int
    spacing: float

    @staticmethod
    def gather(field: Tensor, mask: Tensor, spacing: float, most: int) -> SeenAntennas:
        """From complex64 [N, rows, cols] and bool ``mask`` of that shape; surplus antennas are left out in an order
        that is the same for all samples, so that no sample depends on its neighbours in the batch."""
        rows, cols = field.shape[1:]
        seen = mask.flatten(1)
        order = _thinning_order(rows * cols).to(field.device)
        chosen = seen[:, order].to(torch.uint8).cumsum(1, dtype=torch.int32) <= most
        kept = torch.zeros_like(seen).index_copy_(1, order, chosen & seen[:, order])
        number = kept.sum(1)
        place = kept.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, : int(number.max())]
        weight = (torch.arange(place.shape[1], device=field.device) < number[:, None]).float()
        y, z = element_coordinates(rows, cols, spacing, field.device)
        return SeenAntennas(
            field.flatten(1).gather(1, place).to(torch.complex64) * weight,
            weight,
            y.expand(rows, cols).flatten()[place],
            z.expand(rows, cols).flatten()[place],
            place,
            rows,
            cols,
            spacing,
        )

    @property
    def number(self) -> Tensor:
        """Observed antennas of each sample, float32 [N]."""
        return self.weight.sum(1)

    def select(self, index: Tensor) -> SeenAntennas:
        """The samples that ``index`` picks."""
        return replace(
            self,
            field=self.field[index],
            weight=self.weight[index],
            y=self.y[index],
            z=self.z[index],
            place=self.place[index],
        )

    def on_grid(self, values: Tensor) -> Tensor:
        """Values [N, n] put back on the array [N, rows, cols], 0 elsewhere."""
        grid = torch.zeros(len(values), self.rows * self.cols, dtype=values.dtype, device=values.device)
        return grid.scatter_add_(1, self.place, values * self.weight).reshape(-1, self.rows, self.cols)


@lru_cache(maxsize=16)
def _thinning_order(antennas: int) -> Tensor:
    return torch.randperm(antennas, generator=torch.Generator().manual_seed(_COORDINATES_SEED))
