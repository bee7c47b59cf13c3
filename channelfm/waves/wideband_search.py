"""Greedy search for the waves of wide-band measurements: how many, from where, how late.

A wave gathers its energy of all subcarriers in a few delays, so the search looks at the strongest delays of the
residual alone: there the antennas see a sum of plane waves with chirps, as in :mod:`channelfm.waves.spherical`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from channelfm.waves.geometry import LARGEST_SINE, element_coordinates, waves_at
from channelfm.waves.wideband import Placed, Wideband, WidebandFit, fit_at, refine

_DELAYS, _DIRECTIONS = 4, 4  # candidates: delays of the residual, and directions at each
_CHIRP_STEP = 2.5  # radians at the outermost antennas between neighbouring ranges
_FINE = 8  # zero padding of the final look at a candidate's delay
_ALONE_STEPS, _TOGETHER_STEPS = 4, 8
_WORTH_MOVING = 1e-3  # of the cost
_DOUBTED_AT = 3  # waves
_FALSE_ALARMS = 2e-3
_DOUBTFUL = 8.0  # of the criterion: waves that miss the penalty by less are there with a probability
_LEAST_LEFT = 1e-9  # of the energy: no further wave is looked for below that


def search_wideband(
    measured: Wideband, most: int, terms: int = 1, start: WidebandFit | None = None
) -> list[tuple[Tensor, WidebandFit]]:
    """Link numbers and their fits, one entry per number of waves that occurs; up to ``most`` waves, from a ``start``.

    A link grows while n ln(cost) falls by about :func:`wave_penalty` with a wave, for n = 2 Q F real measurements; one
    wave is always fitted. Before a few waves become many, these few are doubted once.
    """
    numbers = torch.arange(len(measured), device=measured.values.device)
    energy = torch.view_as_real(measured.values).square().sum((1, 2, 3), dtype=torch.float64)
    part, fit, anew = measured, start or _grown(measured, None, terms), False
    finished = []
    while len(numbers) and fit.gains.shape[1] < most:
        larger = _grown(part, fit, terms)
        grows = _saving(part, fit, larger) > wave_penalty(part) - _DOUBTFUL
        grows &= fit.cost > _LEAST_LEFT * energy[numbers]
        grows &= (fit.gains.shape[1] + 1) * (len(part.resolved) + 2) < part.numbers
        finished.append((numbers[~grows], fit.select(~grows)))
        numbers, part = numbers[grows], part.select(grows)
        doubted = fit.gains.shape[1] == _DOUBTED_AT and not anew and bool(len(numbers))
        fit, anew = (_begun_anew(part, fit.select(grows), terms) if doubted else larger.select(grows)), anew or doubted
    finished.append((numbers, fit))
    return [(members, found) for members, found in finished if len(members)]


def _begun_anew(measured: Wideband, fit: WidebandFit, terms: int) -> WidebandFit:
    """The fit, or a better one of as many waves that were all found anew beside one of its waves.

    Where few measurements see several waves of one delay, the first that are found may stand for others together, and
    no single wave moves out of that.
    """
    for wave in range(fit.gains.shape[1]):
        kept = Placed(fit.placed.sources[:, wave : wave + 1], fit.placed.delays[:, wave : wave + 1])
        trial = fit_at(measured, kept, terms)
        for _ in range(1, fit.gains.shape[1]):
            trial = _grown(measured, trial, terms)
        fit = fit.where(trial.cost < (1 - _WORTH_MOVING) * fit.cost, trial)
    return fit


def revisited(measured: Wideband, fit: WidebandFit, terms: int = 1) -> WidebandFit:
    """The fit after every wave in turn was looked for anew in what the others leave, where that explains more.

    A wave that was found beside stronger ones that were not known yet may stand for two, or for a side lobe.
    """
    waves = fit.gains.shape[1]
    for wave in range(waves if waves > 1 else 0):
        kept = [other for other in range(waves) if other != wave]
        others = Placed(fit.placed.sources[:, kept], fit.placed.delays[:, kept])
        without = refine(measured, fit_at(measured, others, terms), _ALONE_STEPS, terms)
        trial = _grown(measured, without, terms)
        fit = fit.where(trial.cost < (1 - _WORTH_MOVING) * fit.cost, trial)
    return fit


def pruned(measured: Wideband, fit: WidebandFit, terms: int = 1) -> list[tuple[Tensor, WidebandFit, Tensor]]:
    """Link numbers, their fits once weakest waves that are hardly there are taken out again, and the probability
    float64 [N] that the weakest one left is there: the odds that its saving means against :func:`wave_penalty`."""
    numbers, finished = torch.arange(len(measured), device=measured.values.device), []
    while len(numbers) and fit.gains.shape[1] > 1:
        waves = fit.gains.shape[1]
        kept = fit.gains.abs().argsort(dim=1, descending=True)[:, : waves - 1]
        row = torch.arange(len(kept), device=kept.device)[:, None]
        fewer = Placed(fit.placed.sources[row, kept], fit.placed.delays[row, kept])
        smaller = refine(measured, fit_at(measured, fewer, terms), _TOGETHER_STEPS, terms)
        doubt = wave_penalty(measured) - _saving(measured, smaller, fit)
        goes = doubt > _DOUBTFUL
        finished.append((numbers[~goes], fit.select(~goes), (-doubt[~goes] / 2).sigmoid()))
        numbers, fit, measured = numbers[goes], smaller.select(goes), measured.select(goes)
    finished.append((numbers, fit, torch.ones_like(fit.cost)))
    return [(members, found, probability) for members, found, probability in finished if len(members)]


def _saving(measured: Wideband, fit: WidebandFit, larger: WidebandFit) -> Tensor:
    """What the larger fit saves of n ln(cost), float64 [N]."""
    return 2 * measured.numbers * (fit.cost.clamp_min(1e-300).log() - larger.cost.clamp_min(1e-300).log())


def wave_penalty(measured: Wideband) -> float:
    """What a wave must save of n ln(cost): as much as the best of all places in white noise saves once in 500 times,
    since the strongest of G projections explains about ln G times the noise of one (a scan, Siegmund & Yakir
    2000), and its place moves freely about the best."""
    cells = measured.rows * measured.cols * len(_inverse_ranges(measured)) * len(measured.detuned_hz)
    return 2 * math.log(cells / _FALSE_ALARMS) + len(measured.resolved)


def _grown(measured: Wideband, fit: WidebandFit | None, terms: int) -> WidebandFit:
    """The fit with one more wave, all moved together."""
    rest = measured.values if fit is None else fit.rest
    alone = replace(measured, values=rest)
    newest = refine(alone, fit_at(alone, _newest(alone), terms), _ALONE_STEPS, terms)
    if fit is None:
        return newest
    together = fit_at(measured, fit.placed.joined(newest.placed), terms)
    return refine(measured, together, _TOGETHER_STEPS, terms)


def _newest(measured: Wideband) -> Placed:
    """The place [N, 1] of the wave that explains most of the values."""
    subcarriers = measured.values.shape[2]
    spectrum = torch.fft.ifft(measured.values, 2 * subcarriers if subcarriers > 1 else 1, dim=2)
    energy = torch.view_as_real(spectrum).square().sum((1, 3))
    peaks = energy >= torch.maximum(energy.roll(1, 1), energy.roll(-1, 1))
    number = min(_DELAYS, energy.shape[1])
    delays = torch.where(peaks, energy, -1.0).topk(number, dim=1).indices
    at_delays = spectrum.gather(2, delays[:, None].expand(-1, spectrum.shape[1], -1)).mT
    sources = _directions(measured, measured.on_grid(at_delays)).flatten(1, 2)
    atoms = measured.measured(waves_at(sources, *measured.antennas).to(measured.values.dtype))
    products = atoms.conj() @ measured.values
    fine = torch.fft.ifft(products, _FINE * subcarriers if subcarriers > 1 else 1, dim=2)
    score = torch.view_as_real(fine).square().sum(3) / atoms.abs().square().sum(2, keepdim=True).clamp_min(1e-30)
    best = score.flatten(1).argmax(1)
    link, candidate = torch.arange(len(best), device=best.device), best // fine.shape[2]
    place = (best % fine.shape[2]).double() / fine.shape[2]
    late = torch.where(place > 0.9, place - 1, place) * subcarriers if subcarriers > 1 else 0 * place
    return Placed(sources[link, candidate, None].double(), late[:, None])


def _directions(measured: Wideband, field: Tensor) -> Tensor:
    """The strongest places float [N, C, S, 3] of sources behind fields complex64 [N, C, rows, cols]."""
    rows, cols, spacing = measured.rows, measured.cols, measured.spacing
    y, z = element_coordinates(rows, cols, spacing, field.device)
    ranges = _inverse_ranges(measured).to(field.device)
    bend = math.pi * ranges[:, None, None] * (y**2 + z**2)
    chirp = torch.polar(torch.ones_like(bend), bend)
    bins = tuple(1 if size == 1 else 2 * size for size in (rows, cols))
    spectrum = torch.fft.fft2(field[:, :, None] * chirp, s=bins)
    power = spectrum.real.square() + spectrum.imag.square()
    sine_z, sine_y = (torch.fft.fftfreq(size, device=field.device) / spacing for size in bins)
    best, nearest = power.max(dim=2)
    hidden = sine_z[:, None] ** 2 + sine_y**2 > 1
    best = best.masked_fill(hidden, -1.0).flatten(2)
    place = best.topk(min(_DIRECTIONS, best.shape[2]), dim=2).indices
    inverse = ranges[nearest.flatten(2).gather(2, place)]
    sines = torch.stack([sine_y[place % bins[1]], sine_z[place // bins[1]]], -1)
    sines = sines / (sines.norm(dim=-1, keepdim=True) / LARGEST_SINE).clamp_min(1)
    return torch.cat([sines, inverse[..., None]], -1).to(measured.values.real.dtype)


def _inverse_ranges(measured: Wideband) -> Tensor:
    """Inverse ranges that the search looks at, from infinity to the nearest."""
    half = math.hypot(measured.rows - 1, measured.cols - 1) * measured.spacing / 2
    largest = measured.largest_inverse_range
    number = 1 + math.ceil(math.pi * largest * half**2 / _CHIRP_STEP)
    return torch.linspace(0, largest, number)
