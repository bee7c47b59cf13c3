"""Gridless spherical waves over antennas and subcarriers at once: direction, range and delay, one gain a wave.

On-grid pursuits and gridless ones of the literature (Cui & Dai 2022) leave every path a gain of its own on every
subcarrier, and so do those bounds that are quoted with them. A path's delay ties its gains together, which is worth
14 dB with 64 subcarriers (SPEC 12).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.samples import check_alike_over_frequency
from channelfm.estimator import ChannelEstimator
from channelfm.observation import Combined, Combining, Complex, Float, Grid, Observation
from channelfm.waves.record import Waves
from channelfm.waves.scale import scale_exponents, times_power_of_two
from channelfm.waves.wideband import Wideband, WidebandFit, fit_at, refine
from channelfm.waves.wideband_search import pruned, revisited, search_wideband

_FINAL_STEPS = 6
_WAVES_THAT_TELL, _TELLING_STEPS = 3, 4  # whether beams squint
_EVIDENCE_OF_SQUINT = 6.0  # of n ln(cost): where squint is hardly told, it hardly matters
_LINKS_AT_ONCE = 16
_LEAST_WEIGHT = 1e-30
_LEAST_INFORMATION = 1e-12  # share of the largest, of scaled parameters, below which nothing is known


class FoundLinks(NamedTuple):
    """Fits of some ``links`` (their numbers), whether these ``squint``, and the ``probability`` float64 [n] that the
    weakest wave is there."""

    links: Tensor
    fit: WidebandFit
    squints: bool
    probability: Tensor


class OffGridDelay(ChannelEstimator):
    """Greedy search, joint Levenberg-Marquardt steps and an information criterion with a cap, in whatever the operator
    measures: RF chains, or antennas whose mask is the same on all subcarriers that are observed.

    Whether beams squint is decided by what explains the first wave better. ``max_waves`` is the cap.
    """

    name = "off-grid-delay"

    def __init__(self, spacing_wavelengths: float | None = None, max_waves: int = 12) -> None:
        self.spacing_wavelengths = spacing_wavelengths
        self.max_waves = max_waves

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        check_alike_over_frequency(observation, self.name)

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`."""
        waves = self.estimate_waves(observation)
        frames, rows, cols, frequencies = observation.grid.shape
        copies = observation.grid.polarizations
        single = Grid(observation.grid.array, observation.grid.times_s[:1], observation.grid.tones_hz)
        whole = waves.channel(single).reshape(-1, copies, rows, cols, frequencies // copies)
        whole = np.moveaxis(whole, 1, 3)
        return np.ascontiguousarray(whole).reshape(-1, frames, rows, cols, frequencies)

    @torch.inference_mode()
    def estimate_waves(self, observation: Observation) -> Waves:
        """The waves of every polarisation of every frame of every link in turn: places, gains and covariances.

        Links of which nothing but zeros was measured have none. Raises what :meth:`check` does.
        """
        self.check(observation)
        measured, exponents = measurements(observation)
        heard = torch.nonzero((measured.values != 0).flatten(1).any(1))[:, 0]
        found: list[FoundLinks] = []
        for some in torch.split(heard, _LINKS_AT_ONCE) if len(heard) else ():
            found += [part._replace(links=some[part.links]) for part in self._found(measured.select(some))]
        told = observation.noise
        noise = None if told is None else np.repeat(told, len(measured) // max(len(told), 1))
        return as_record(measured, found, exponents, noise)

    def _found(self, measured: Wideband) -> list[FoundLinks]:
        """Link numbers, their final fits and whether these squint."""
        single, parts = measured.of_type(torch.complex64), []
        for links, start, squints in self._worlds(single):
            terms = measured.terms_of_squint if squints else 1
            for members, fit in search_wideband(single.select(links), self.max_waves, terms, start):
                some = single.select(links[members])
                for inside, kept, probability in pruned(some, revisited(some, fit, terms), terms):
                    chosen = links[members[inside]]
                    exact = measured.select(chosen)
                    final = refine(exact, fit_at(exact, kept.placed, terms), _FINAL_STEPS, terms)
                    parts.append(FoundLinks(chosen, final, squints, probability))
        return parts

    def _worlds(self, measured: Wideband) -> list[tuple[Tensor, WidebandFit | None, bool]]:
        """Links whose beams do not squint and those whose do, with the fits of their first waves that told so."""
        terms = measured.terms_of_squint
        if terms == 1:
            return [(torch.arange(len(measured)), None, False)]
        parts: list[tuple[Tensor, WidebandFit | None, bool]] = []
        for links, fit in search_wideband(measured, min(_WAVES_THAT_TELL, self.max_waves)):
            some = measured.select(links)
            plain = refine(some, fit, _TELLING_STEPS)
            turned = refine(some, fit_at(some, plain.placed, terms), _TELLING_STEPS, terms)
            evidence = 2 * some.numbers * (plain.cost.clamp_min(1e-300) / turned.cost.clamp_min(1e-300)).log()
            squints = evidence > _EVIDENCE_OF_SQUINT
            for kind, found in ((False, plain), (True, turned)):
                if bool((squints == kind).any()):
                    parts.append((links[squints == kind], found.select(squints == kind), kind))
        return parts


def measurements(observation: Observation) -> tuple[Wideband, Tensor]:
    """What an observation measured, every polarisation of every frame of every link a link, at unit scale by powers of
    two; their exponents. Weights of RF chains are brought to unit norm on average."""
    grid, operator = observation.grid, observation.operator
    _, rows, cols, _ = grid.shape
    about = (rows, cols, grid.array.spacing_wavelengths)
    detuned = torch.from_numpy(grid.tones_hz - grid.array.carrier_hz)
    if isinstance(operator, Combining):
        values = torch.from_numpy(_by_polarization(observation.values, grid))
        exponents = scale_exponents(values)
        scaled = times_power_of_two(values, -exponents).to(torch.complex128)
        weights = torch.from_numpy(_distinct_weights(operator, len(observation), len(values))).flatten(2)
        norm = max(float(weights.abs().square().sum() / (len(weights) * weights.shape[1])) ** 0.5, _LEAST_WEIGHT)
        projection = (weights.to(torch.complex128) / norm).mH.contiguous()
        wide = Wideband(scaled / norm, projection, None, None, *about, detuned, grid.array.carrier_hz, norm)
        return wide, exponents
    seen = torch.from_numpy(_by_polarization(observation.mask.reshape(-1, 1, rows * cols, grid.shape[3]), grid))
    values = torch.from_numpy(_by_polarization(observation.values.reshape(-1, 1, rows * cols, grid.shape[3]), grid))
    tones, antennas = seen.any(1).any(0), seen.any(2)
    exponents = scale_exponents(values)
    number = int(antennas.sum(1).max()) if len(antennas) else 0
    place = antennas.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :number]
    weight = antennas.gather(1, place).double()
    scaled = times_power_of_two(values, -exponents).to(torch.complex128)[:, :, tones]
    gathered = scaled.gather(1, place[..., None].expand(-1, -1, scaled.shape[2])) * weight[..., None]
    return Wideband(gathered, None, place, weight, *about, detuned[tones], grid.array.carrier_hz), exponents


def _by_polarization(values: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Values [N, T, Q, P F] -> [N T P, Q, F]."""
    copies, tones = grid.polarizations, len(grid.tones_hz)
    parts = np.moveaxis(values.reshape(*values.shape[:3], copies, tones), 3, 2)
    return np.array(parts, order="C").reshape(-1, values.shape[2], tones)


def _distinct_weights(operator: Combining, links: int, samples: int) -> Complex:
    """Weights [U, Q, row, col]: one where all links have the same, else those of every sample of every link."""
    if isinstance(operator, Combined) and len(operator.weights) == 1:
        return operator.weights
    names = getattr(operator, "links", np.arange(links))
    distinct = {name: operator.weights_of(link) for link, name in reversed(list(enumerate(names.tolist())))}
    if len(distinct) == 1:
        return np.stack(list(distinct.values()))
    return np.stack([distinct[name] for name in names.tolist() for _ in range(samples // links)])


def as_record(
    measured: Wideband,
    found: list[FoundLinks],
    exponents: Tensor,
    told: Float | None,
) -> Waves:
    """The record of fits ``found`` of unit-scale measurements, whose links' scales are 2^``exponents``; ``told``: noise
    [N], where it is. Links without a fit have no wave."""
    count = len(measured)
    most = max((part.fit.gains.shape[1] for part in found), default=0)
    scale = torch.ldexp(torch.ones(count, dtype=torch.float64), exponents).numpy()
    sources, delays = np.zeros((count, most, 3)), np.zeros((count, most))
    gains, covariance = np.zeros((count, most), np.complex64), np.zeros((count, most, 6, 6))
    hidden = [axis for axis in range(4) if axis not in measured.resolved]
    present, squint, noise = np.zeros((count, most), bool), np.zeros(count, bool), np.zeros(count)
    for members, fit, squints, probability in found:
        links, waves = members.numpy(), fit.gains.shape[1]
        order = fit.gains.abs().argsort(dim=1, descending=True)
        row = torch.arange(len(order))[:, None]
        sources[links, :waves] = fit.placed.sources[row, order].numpy()
        delays[links, :waves] = fit.placed.delays[row, order].numpy() / measured.bandwidth_hz
        gains[links, :waves] = fit.gains[row, order].numpy() * scale[links, None]
        gains[links, waves - 1] *= probability.numpy()
        present[links, :waves], squint[links] = True, squints
        freedom = (2 * measured.select(members).numbers - waves * (2 + len(measured.resolved))).clamp_min(1)
        left = (2 * fit.cost / freedom).numpy() * measured.norm**2
        noise[links] = left * scale[links] ** 2 if told is None else told[links]
        power = noise[links] / (scale[links] * measured.norm) ** 2
        spread = _covariances(measured, fit)[row, order].numpy() * power[:, None, None, None]
        spread[..., 4:, :] *= scale[links, None, None, None]
        spread[..., :, 4:] *= scale[links, None, None, None]
        spread[..., hidden, hidden] = np.inf
        covariance[links, :waves] = spread
    return Waves(sources, delays, gains, covariance, present, squint, noise)


def _covariances(measured: Wideband, fit: WidebandFit) -> Tensor:
    """Covariances float64 [N, L, 6, 6] of each wave's parameters at unit noise, in the order of :class:`Waves`; 0 for
    what is not resolved."""
    count, waves = fit.gains.shape
    fisher = 2 * fit.normal
    diagonal = fisher.diagonal(dim1=1, dim2=2).clamp_min(1e-300)
    scaled = (fisher / (diagonal[:, :, None] * diagonal[:, None]).sqrt()).nan_to_num(0, 0, 0).clamp(-1, 1)
    power, turn = torch.linalg.eigh(scaled)
    inverse = (turn / power.clamp_min(_LEAST_INFORMATION)[:, None]) @ turn.mT
    inverse = inverse / (diagonal[:, :, None] * diagonal[:, None]).sqrt()
    parameters = 2 + len(measured.resolved)
    own = torch.stack([inverse[:, wave::waves, wave::waves] for wave in range(waves)], 1)
    places = torch.tensor([4, 5, *measured.resolved])
    unit = torch.ones(parameters, dtype=torch.float64)
    if 3 in measured.resolved:
        unit[-1] = 1 / measured.bandwidth_hz
    whole = torch.zeros(count, waves, 6, 6, dtype=torch.float64)
    whole[..., places[:, None], places] = own * unit[:, None] * unit
    return whole
