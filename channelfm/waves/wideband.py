"""Spherical waves over antennas and subcarriers at once, each with one gain: direction, range and delay fitted jointly.

What is measured of a wave of gain g is a sum of few products of an antenna part and a tone,

    y[q, f] = g sum_o P_o[q] T_o[f],  P_o = W^H (b (-j 2 pi path)^o),  T_o = exp(-j 2 pi (f - f_c) tau) x^o / o!,

with the wave b at the carrier, its path difference in wavelengths, and x = (f - f_c) / f_c: one product where arrays do
not squint, and as many terms of the exponential's series as the aperture and the band ask for where they do. So all
Gram matrices are products of small ones, and measurements times subcarriers are met only in the residual. Gains are
eliminated (variable projection, Golub & Pereyra 1973; Kaufman 1975); Levenberg-Marquardt steps move all sources of a
link together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from channelfm.errors import InputError
from channelfm.waves.geometry import LARGEST_SINE, coordinates, path_and_slope, phasors

_SERIES_ERROR = 1e-3  # of a wave's amplitude over array and band, which the series of its squint may leave
_MOST_TERMS = 12
_RIDGE = {torch.complex64: 1e-6, torch.complex128: 1e-10}  # relative, on gains: keeps coincident waves solvable
NEAREST_APERTURES = 1.5  # nearest range of a source, in diagonals of the array
_SETTLED = 1e-4  # of its cost, less than which a fit gains nothing worth a further step


@dataclass(frozen=True)
class Wideband:
    """What was measured of N links over F subcarriers, ``values`` complex [N, Q, F].

    ``projection`` complex [U, m, Q]: channels of all m antennas -> measurements; U is 1 where all links are measured
    alike, else N. None: single antennas, ``place`` int64 [N, Q] of them, with ``weight`` [N, Q], 0 for padding.
    ``rows``, ``cols``, ``spacing``: the array; ``detuned_hz`` float64 [F], subcarriers less ``carrier_hz``. ``norm``:
    what values and projection were divided by, for the noise.
    """

    values: Tensor
    projection: Tensor | None
    place: Tensor | None
    weight: Tensor | None
    rows: int
    cols: int
    spacing: float
    detuned_hz: Tensor
    carrier_hz: float
    norm: float = 1.0

    def __len__(self) -> int:
        return len(self.values)

    def select(self, index: Tensor) -> Wideband:
        """The links that ``index`` (numbers or a mask) picks."""
        shared = self.projection is None or len(self.projection) == 1
        return replace(
            self,
            values=self.values[index],
            projection=self.projection if shared or self.projection is None else self.projection[index],
            place=None if self.place is None else self.place[index],
            weight=None if self.weight is None else self.weight[index],
        )

    def of_type(self, kind: torch.dtype) -> Wideband:
        """The same in the precision of a complex ``kind``."""
        return replace(
            self,
            values=self.values.to(kind),
            projection=None if self.projection is None else self.projection.to(kind),
            weight=None if self.weight is None else self.weight.to(kind.to_real()),
        )

    @cached_property
    def antennas(self) -> tuple[Tensor, Tensor]:
        """Coordinates y, z in wavelengths of the antennas that fields are computed at, [N or 1, n]."""
        y, z = coordinates(self.rows, self.cols, self.spacing, self.values.device, self.values.real.dtype)
        return (y, z) if self.place is None else (y[0][self.place], z[0][self.place])

    @cached_property
    def bandwidth_hz(self) -> float:
        """Subcarriers times their spacing, the unit of delays; 1 for a single one."""
        span = float(self.detuned_hz.max() - self.detuned_hz.min())
        return span * len(self.detuned_hz) / (len(self.detuned_hz) - 1) if span else 1.0

    @cached_property
    def resolved(self) -> tuple[int, ...]:
        """Which of (u_y, u_z, q, delay) array and band resolve at all."""
        span = bool((self.detuned_hz != self.detuned_hz[:1]).any())
        there = (self.cols > 1, self.rows > 1, self.rows * self.cols > 2, span)
        return tuple(number for number, resolves in enumerate(there) if resolves)

    @property
    def largest_inverse_range(self) -> float:
        """Inverse of the nearest range, per wavelength."""
        return 1 / max(NEAREST_APERTURES * math.hypot(self.rows - 1, self.cols - 1) * self.spacing, 1.0)

    @cached_property
    def terms_of_squint(self) -> int:
        """Terms of the series that squint asks for; InputError where array and band are too large for it."""
        half = math.hypot(self.rows - 1, self.cols - 1) * self.spacing / 2
        largest = 2 * math.pi * half * float(self.detuned_hz.abs().max()) / self.carrier_hz
        for terms in range(1, _MOST_TERMS + 1):
            if largest**terms / (math.factorial(terms) * (2 * terms + 1)) < _SERIES_ERROR:
                return terms
        raise InputError(f"beams squint by {largest:.0f} rad over array and band: estimate parts of the band apart")

    @property
    def numbers(self) -> Tensor:
        """Complex measurements of each link, float64 [N]."""
        whole = torch.full((len(self),), self.values[0].numel(), dtype=torch.float64, device=self.values.device)
        return whole if self.weight is None else self.weight.double().sum(1) * self.values.shape[2]

    def measured(self, fields: Tensor) -> Tensor:
        """What is measured [N, ..., Q] of fields [N, ..., n] at the antennas."""
        flat = fields.reshape(len(fields), -1, fields.shape[-1])
        if self.projection is None:
            seen = flat if self.weight is None else flat * self.weight[:, None]
        else:
            seen = flat @ (self.projection[0] if len(self.projection) == 1 else self.projection)
        return seen.reshape(*fields.shape[:-1], -1)

    def on_grid(self, values: Tensor) -> Tensor:
        """The adjoint: values [N, C, Q] back on the array, complex64 [N, C, rows, cols]."""
        if self.projection is not None:
            back = self.projection.mH.to(torch.complex64)
            grid = values.to(torch.complex64) @ (back[0] if len(back) == 1 else back)
        else:
            assert self.place is not None
            grid = torch.zeros(*values.shape[:2], self.rows * self.cols, dtype=torch.complex64, device=values.device)
            seen = values if self.weight is None else values * self.weight[:, None]
            grid.scatter_add_(2, self.place[:, None].expand(values.shape), seen.to(torch.complex64))
        return grid.reshape(*values.shape[:2], self.rows, self.cols)


class Placed(NamedTuple):
    """Places of L waves of each of N links: ``sources`` float64 [N, L, 3] as (u_y, u_z, q) and ``delays`` [N, L], in
    units of the inverse bandwidth."""

    sources: Tensor
    delays: Tensor

    def select(self, index: Tensor) -> Placed:
        """Those of the links that ``index`` picks."""
        return Placed(self.sources[index], self.delays[index])

    def joined(self, other: Placed) -> Placed:
        """With more waves of each link."""
        return Placed(torch.cat([self.sources, other.sources], 1), torch.cat([self.delays, other.delays], 1))

    def where(self, chosen: Tensor, other: Placed) -> Placed:
        """``other`` for the chosen links, self for the rest."""
        return Placed(
            torch.where(chosen[:, None, None], other.sources, self.sources),
            torch.where(chosen[:, None], other.delays, self.delays),
        )


@dataclass(frozen=True)
class WidebandFit:
    """Waves at ``placed`` with least-squares ``gains`` [N, L]: ``rest`` [N, Q, F] is what they leave, ``cost`` float64
    [N] its energy. ``normal`` float64 [N, A L, A L] holds Re(J^H J) of the parameters (real and imaginary part of the
    gain, then those that are resolved; parameter by parameter, wave by wave), ``slope`` [N, A L] Re(J^H rest)."""

    placed: Placed
    gains: Tensor
    rest: Tensor
    cost: Tensor
    normal: Tensor
    slope: Tensor

    def select(self, index: Tensor) -> WidebandFit:
        """Those of the links that ``index`` picks."""
        parts = {name: getattr(self, name)[index] for name in ("gains", "rest", "cost", "normal", "slope")}
        return WidebandFit(self.placed.select(index), **parts)

    def where(self, chosen: Tensor, other: WidebandFit) -> WidebandFit:
        """``other`` for the chosen links, self for the rest."""
        parts = {}
        for name in ("gains", "rest", "cost", "normal", "slope"):
            mine, others = getattr(self, name), getattr(other, name)
            parts[name] = torch.where(chosen.reshape(-1, *[1] * (mine.ndim - 1)), others, mine)
        return WidebandFit(self.placed.where(chosen, other.placed), **parts)


def fit_at(measured: Wideband, placed: Placed, terms: int = 1) -> WidebandFit:
    """The fit of waves where they are; ``terms`` of the series of their squint (1: none)."""
    antenna, tone, kinds = _columns(measured, placed, terms)
    count, waves = placed.delays.shape
    columns = kinds * waves
    gram = (antenna.conj() @ antenna.mT) * (tone.conj() @ tone.mT)
    gram = gram.reshape(count, columns, terms, columns, terms).sum((2, 4))
    own = gram[:, :waves, :waves]
    ridge = _RIDGE[own.dtype] * own.diagonal(dim1=1, dim2=2).real.amax(1, keepdim=True) + 1e-30
    own = own + torch.diag_embed(ridge.expand(-1, waves)).to(own.dtype)
    right = _inner(antenna, tone, measured.values, terms)[:, :waves]
    gains = torch.linalg.solve_ex(own, right[..., None])[0][..., 0].nan_to_num(0, 0, 0)
    weighted = gains.repeat_interleave(terms, 1)[..., None] * antenna[:, : waves * terms]
    rest = measured.values - weighted.mT @ tone[:, : waves * terms]
    turned = torch.cat([torch.ones_like(gains), 1j * torch.ones_like(gains), gains.repeat(1, kinds - 1)], 1)
    order = torch.cat([torch.arange(waves), torch.arange(columns)]).to(gains.device)
    normal = (turned.conj()[:, :, None] * gram[:, order][:, :, order] * turned[:, None]).real.double()
    inner = _inner(antenna, tone, rest, terms)[:, order]
    slope = (turned.conj() * inner).real.double()
    cost = torch.view_as_real(rest).square().sum((1, 2, 3), dtype=torch.float64)
    return WidebandFit(placed, gains, rest, cost, normal, slope)


def refine(measured: Wideband, fit: WidebandFit, steps: int, terms: int = 1) -> WidebandFit:
    """Up to so many Levenberg-Marquardt ``steps`` on all waves of each link together, from a fit; never a worse one.

    Ends once no link improves by more than a part in 10,000.
    """
    damping = torch.full_like(fit.cost, 1e-2)
    for _ in range(steps if measured.resolved else 0):
        trial = fit_at(measured, _moved(measured, fit, damping), terms)
        better = trial.cost < fit.cost
        if not bool((trial.cost < (1 - _SETTLED) * fit.cost).any()) and bool(better.any()):
            return fit.where(better, trial)
        damping = torch.where(better, damping / 8, damping * 6).clamp(1e-9, 1e6)
        fit = fit.where(better, trial)
    return fit


def _moved(measured: Wideband, fit: WidebandFit, damping: Tensor) -> Placed:
    """Places after a Marquardt step, gains eliminated, which stay before the array and within the band's delays."""
    count, waves = fit.gains.shape
    fixed = 2 * waves
    own, cross = fit.normal[:, :fixed, :fixed], fit.normal[:, :fixed, fixed:]
    ridge = 1e-12 * own.diagonal(dim1=1, dim2=2).amax(1, keepdim=True) + 1e-300
    followed = torch.linalg.solve_ex(own + torch.diag_embed(ridge.expand(-1, fixed)), cross)[0].nan_to_num(0, 0, 0)
    normal = fit.normal[:, fixed:, fixed:] - cross.mT @ followed
    diagonal = normal.diagonal(dim1=1, dim2=2).clamp_min(0)
    floor = 1e-10 * diagonal.amax(1, keepdim=True) + 1e-300
    system = normal + torch.diag_embed(damping[:, None] * diagonal + floor)
    found = torch.linalg.solve_ex(system, fit.slope[:, fixed:, None])[0][..., 0].nan_to_num(0, 0, 0)
    step = torch.zeros(count, 4, waves, dtype=torch.float64, device=found.device)
    step[:, list(measured.resolved)] = found.reshape(count, -1, waves)
    nearest = measured.largest_inverse_range
    sines = fit.placed.sources[..., :2] + step[:, :2].mT.clamp(-0.05, 0.05)
    sines = sines * (LARGEST_SINE / sines.norm(dim=-1, keepdim=True).clamp_min(LARGEST_SINE))
    inverse = (fit.placed.sources[..., 2] + step[:, 2].clamp(-nearest / 8, nearest / 8)).clamp(0, nearest)
    return Placed(torch.cat([sines, inverse[..., None]], -1), fit.placed.delays + step[:, 3].clamp(-0.5, 0.5))


def _columns(measured: Wideband, placed: Placed, terms: int) -> tuple[Tensor, Tensor, int]:
    """Antenna parts [N, A L O, Q] and tones [N, A L O, F] of the waves (A = 0) and of their derivatives in what is
    resolved, O terms each; and A."""
    kind = measured.values.dtype
    y, z = measured.antennas
    path, slopes = path_and_slope(placed.sources.to(y.dtype), y, z)
    wave = phasors(path)
    turn = -2j * math.pi * path
    powers = torch.stack([turn**order for order in range(terms)], 2)
    fields = [wave[:, :, None] * powers]
    lower = torch.cat([torch.zeros_like(powers[:, :, :1]), powers[:, :, :-1]], 2)
    orders = torch.arange(terms, device=y.device, dtype=y.dtype)[:, None]
    changed = -2j * math.pi * wave[:, :, None] * (powers + orders * lower)
    spatial = [axis for axis in measured.resolved if axis < 3]
    fields += [changed * slopes[:, :, axis, None] for axis in spatial]
    seen = measured.measured(torch.stack(fields, 1).to(kind))
    tones, late = _tones(measured, placed.delays, terms)
    every = [tones] * len(fields)
    if 3 in measured.resolved:
        seen, every = torch.cat([seen, seen[:, :1]], 1), [*every, late]
    tone = torch.stack(every, 1).to(kind)
    return seen.flatten(1, 3), tone.flatten(1, 3), len(every)


def _tones(measured: Wideband, delays: Tensor, terms: int) -> tuple[Tensor, Tensor]:
    """Tones [N, L, O, F] of delays, and their derivatives in the delay."""
    places = measured.detuned_hz / measured.bandwidth_hz
    tone = phasors(delays[..., None] * places)
    squint = measured.detuned_hz / measured.carrier_hz
    series = torch.stack([squint**order / math.factorial(order) for order in range(terms)])
    tones = tone[:, :, None] * series
    return tones, -2j * math.pi * places * tones


def _inner(antenna: Tensor, tone: Tensor, values: Tensor, terms: int) -> Tensor:
    """Inner products [N, columns] of the columns with values [N, Q, F]."""
    products = ((antenna.conj() @ values) * tone.conj()).sum(2)
    return products.reshape(len(products), -1, terms).sum(2)
