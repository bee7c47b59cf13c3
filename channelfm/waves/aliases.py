"""Aliases: the directions that a regular mask cannot tell apart, but for the curvature of waves.

Antennas observed on a coarse lattice (every n-th row, every second column, a comb, a chequerboard) see plane waves from
several directions alike, and so do arrays whose elements are more than half a wavelength apart. A spherical wave's
curvature q (1 - u u') / 2 depends on its direction u, so that exact wave models differ a little between the aliases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LARGEST_SINE = 0.999
_MOST_ALIASES, _FURTHEST = 1024, 8  # of a direction, and how many spacings' periods away: the nearest are kept
_FIRST_TRIED = 32  # differences of antennas that nearly always settle the lattice


class Lattice(NamedTuple):
    """The lattice (row, column) that the differences of some antennas span: all i (row, shift) + j (0, column).

    ``row`` or ``column`` is 0 where the antennas do not differ in that direction.
    """

    row: int
    shift: int
    column: int

    @property
    def is_full(self) -> bool:
        """Whether neighbouring antennas differ by it, so that nothing is folded but by the spacing itself."""
        return self.row <= 1 and self.column <= 1


def observed_lattices(mask: NDArray[np.bool_]) -> list[Lattice]:
    """The lattice of the observed antennas of every mask bool [N, rows, cols]."""
    beside = (mask[:, :, 1:] & mask[:, :, :-1]).any(axis=(1, 2)) | (mask.any(axis=1).sum(axis=1) == 1)
    above = (mask[:, 1:] & mask[:, :-1]).any(axis=(1, 2)) | (mask.any(axis=2).sum(axis=1) == 1)
    plain = Lattice(1, 0, 1)
    return [plain if full else lattice_of(np.argwhere(one)) for full, one in zip(beside & above, mask, strict=True)]


def by_aliases(mask: Tensor, spacing_wavelengths: float) -> list[tuple[Tensor, Tensor]]:
    """Numbers [n] of those of the masks bool [N, rows, cols] that fold directions alike, and the :func:`alias_offsets`
    of each such group; a single offset of 0 where all directions can be told apart."""
    alike: dict[Lattice, list[int]] = {}
    for number, lattice in enumerate(observed_lattices(mask.cpu().numpy())):
        alike.setdefault(lattice, []).append(number)
    device = mask.device
    return [
        (torch.tensor(members, device=device), alias_offsets(lattice, spacing_wavelengths).to(device))
        for lattice, members in alike.items()
    ]


def lattice_of(places: NDArray[np.int64]) -> Lattice:
    """The lattice that antennas at places (row, column) [n, 2] span: Hermite's normal form of their differences."""
    lattice, left = Lattice(0, 0, 0), places - places[:1]
    while len(left):
        lattice = _spanned(lattice, left[:_FIRST_TRIED].tolist())
        if lattice.row == lattice.column == 1:
            break
        multiple, rest = np.divmod(left[:, 0], lattice.row) if lattice.row else (0 * left[:, 0], left[:, 0])
        across = left[:, 1] - multiple * lattice.shift
        left = left[(rest != 0) | (across % lattice.column != 0 if lattice.column else across != 0)]
    return lattice


def _spanned(lattice: Lattice, differences: Iterable[list[int]]) -> Lattice:
    """The lattice with some more vectors, by Euclid's algorithm on their rows."""
    (row, shift), column = lattice[:2], lattice.column
    for down, across in differences:
        while down:
            factor = row // down
            row, shift, down, across = down, across, row - factor * down, shift - factor * across
        if row < 0:
            row, shift = -row, -shift
        column = math.gcd(column, across)
        shift = shift % column if column else shift
    return Lattice(row, shift, column)


def alias_offsets(lattice: Lattice, spacing_wavelengths: float) -> Tensor:
    """What is added to the sines (u_y, u_z) of a direction to get those that look alike, float32 [A, 2], (0, 0) first.

    These are the points of the dual lattice, in waves per spacing, as far as any direction could be moved by them and
    stay visible; at spacings of many wavelengths the nearest. Along a direction in which the antennas do not differ,
    directions are not moved.
    """
    most = min(math.ceil(2 * spacing_wavelengths), _FURTHEST)
    rows, columns = max(lattice.row, 1), max(lattice.column, 1)
    whole = range(-most, most + 1)
    found = []
    for i in whole if lattice.column else [0]:
        for j in range(columns):
            across = i + j / columns
            for k in whole if lattice.row else [0]:
                for m in range(rows):
                    found.append((across, k + (m - j / columns * lattice.shift) / rows))
    offsets = np.array(sorted(found, key=lambda offset: (math.hypot(*offset), offset))) / spacing_wavelengths
    return torch.from_numpy(offsets[np.hypot(*offsets.T) < 2 * _LARGEST_SINE][:_MOST_ALIASES]).float()


def aliases_of(sources: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The aliases [N, A, 3] of sources [N, 3] as (u_y, u_z, q), the source itself first, and which are visible [N, A].

    Their inverse ranges give about the curvature of the source; A is the largest number of visible ones of any source.
    """
    sines = sources[:, None, :2] + offsets
    square = sines.square().sum(2)
    visible = square < _LARGEST_SINE**2
    visible[:, 0] = True
    most = int(visible.sum(1).max()) if len(visible) else 1
    order = visible.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :most]
    bend = (2 - sources[:, :2].square().sum(1))[:, None] / (2 - square).clamp_min(0.5)
    aliases = torch.cat([sines, (sources[:, None, 2] * bend)[..., None]], dim=2)
    visible = visible.gather(1, order)
    aliases = aliases.gather(1, order[..., None].expand(-1, -1, 3))
    return torch.where(visible[..., None], aliases, sources[:, None]), visible


def white_share(rest: Tensor) -> Tensor:
    """How white complex [N, rows, cols] is, 0 where unknown, in [0, 1]: twice the participation ratio of its spectrum.

    Only what is left in noise tells by its energy how likely a fit is: leftovers with structure are misfits.
    """
    power = torch.view_as_real(torch.fft.fft2(rest)).square().sum(-1).flatten(1)
    ratio = power.sum(1).square() / power.square().sum(1).clamp_min(1e-30)
    return (2 * ratio / power.shape[1]).clamp_max(1)
