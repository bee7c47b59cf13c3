"""Off-grid near-field estimator: a greedy fit of spherical waves, refined jointly (SPEC 3).

This is the classical answer that a learned model has to beat on specular channels: it knows the exact wave
model, and nothing else.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.samples import FieldEstimator
from channelfm.observation import Complex
from channelfm.waves.bounds import SphericalWaves
from channelfm.waves.fit import EDGE_PARAMETERS, Fit, GainBasis, Waves, refine, with_best_degree
from channelfm.waves.gathered import Gathered, energies
from channelfm.waves.geometry import coordinates
from channelfm.waves.search import Alternatives, alias_hypotheses, alternatives
from channelfm.waves.several import expected_field
from channelfm.waves.spherical import search_grid
from channelfm.waves.visibility import propose_edge, sharpen_edges

_GROWTH_ANTENNAS = 400  # observed antennas that the growing phase looks at; the final fit uses all
_SETTLING_STEPS = 2  # Levenberg-Marquardt steps after a new wave, before the gains' degree is chosen ...
_GROWTH_STEPS = 2  # ... and after
_FINAL_STEPS = 2
_SEARCH_RANGES = 6
_SEARCH_OVERSAMPLING = 1.5
_EXPLAINED = 1e-8  # no further wave is looked for once what is left lies 80 dB below the observation


class OffGrid(FieldEstimator):
    """Greedy spherical-wave fit with variable projection and a stated model order rule.

    Waves are added one at a time, each from a coarse search of what the others leave unexplained, and all are
    refined together after each addition. A sample keeps growing while the Bayesian information criterion
    2 n ln(residual energy) + k ln(2 n) falls (n observed antennas, k real parameters), up to ``max_waves``. The
    same criterion picks the degree (0, 1 or 2) of the gains' polynomial over the aperture, so that noisy samples get
    constant gains and clean ones quadratic gains. Where a small part of the array is seen, priors on the gains bound
    the estimate, and no shadow edge is believed in. Where a regular mask leaves directions alike, the waves are those
    of :func:`channelfm.waves.search.alternatives`, refined, and the estimate is the mean over all that they may be. The
    returned channel is the model everywhere, also at observed antennas, which filters their noise. What RF chains
    measure is fitted alike, without shadow edges, which no single measurement shows.

    Parameters
    ----------
    spacing_wavelengths : element spacing in wavelengths where ``predict`` is not told any.
    max_waves : largest number of waves per sample.
    """

    name = "off-grid"
    samples_at_once = 64
    takes_combined = True

    def __init__(self, spacing_wavelengths: float | None = None, max_waves: int = 10) -> None:
        super().__init__(spacing_wavelengths)
        self.max_waves = max_waves

    @torch.inference_mode()
    def fields(self, field: Tensor, seen: Tensor, spacing_wavelengths: float) -> Tensor:
        """See :class:`FieldEstimator`."""
        count, rows, cols = field.shape
        basis = GainBasis.of_array(rows, cols, spacing_wavelengths)
        scale = (energies(field.flatten(1)) / seen.sum((1, 2))).sqrt()[:, None, None]
        observation = Gathered.entries(field / scale, seen, spacing_wavelengths)
        estimate = torch.zeros(count, rows * cols, dtype=torch.complex128)
        plain = torch.ones(count, dtype=torch.bool)
        for numbers, hypotheses in alias_hypotheses(
            (field / scale).to(torch.complex64), seen, spacing_wavelengths, self.max_waves
        ):
            estimate[numbers] = _expected(observation.select(numbers), alternatives(hypotheses), basis)
            plain[numbers] = False
        numbers = torch.nonzero(plain)[:, 0]
        if len(numbers):
            estimate[numbers] = self._fitted(observation.select(numbers), basis)
        return estimate.reshape(count, rows, cols) * scale

    @torch.inference_mode()
    def combined(self, measured: Gathered) -> Tensor:
        """See :class:`FieldEstimator`."""
        basis = GainBasis.of_array(measured.rows, measured.cols, measured.spacing)
        scale = (energies(measured.field) / measured.measurements).sqrt()[:, None]
        fields = self._fitted(replace(measured, field=measured.field / scale), basis) * scale
        return fields.reshape(-1, measured.rows, measured.cols)

    def _fitted(self, observation: Gathered, basis: GainBasis) -> Tensor:
        """Fields complex128 [N, rows * cols] of the waves, where nothing leaves directions alike."""
        y, z = coordinates(observation.rows, observation.cols, observation.spacing)
        fields = torch.zeros(len(observation), y.shape[1], dtype=torch.complex128)
        for members, grown in self._grow(observation, basis):
            fields[members] = _finished(observation.select(members), grown, basis).evaluate(y, z, basis)
        return fields

    def _grow(self, observation: Gathered, basis: GainBasis) -> list[tuple[Tensor, Fit]]:
        """Sample numbers and their fits, one entry per model order that occurs.

        Works on a subset of the antennas in single precision, which is enough to find every wave.
        """
        thin = observation.thinned(_GROWTH_ANTENNAS).single()
        numbers = torch.arange(len(observation))  # of the samples that still grow
        fit = self._with_new_wave(thin, observation, None, basis)
        finished = []
        for _ in range(1, self.max_waves):
            some = thin.select(numbers)
            larger = self._with_new_wave(some, observation.select(numbers), fit, basis)
            worth_it = larger.information(some, basis) < fit.information(some, basis)
            worth_it &= fit.cost > _EXPLAINED * energies(some.field)
            finished.append((numbers[~worth_it], fit.select(~worth_it)))
            numbers, fit = numbers[worth_it], larger.select(worth_it)
            if not len(numbers):
                break
        finished.append((numbers, fit))
        return [(members, state) for members, state in finished if len(members)]

    def _with_new_wave(self, thin: Gathered, whole: Gathered, fit: Fit | None, basis: GainBasis) -> Fit:
        """The fit with one more wave, from a coarse search of the residual over all observed antennas."""
        rest = whole.field
        if fit is not None:
            rest = rest - whole.measured(fit.evaluate(whole.y, whole.z, basis)[:, None])[:, 0]
        sines, inverse_range = search_grid(whole.on_grid(rest), whole.spacing, _SEARCH_RANGES, _SEARCH_OVERSAMPLING, 1)
        waves = Waves.none(len(whole)) if fit is None else fit.waves
        waves = waves.joined(torch.cat([sines, inverse_range[..., None]], dim=-1)[:, 0])
        settled = refine(thin, waves, basis, _SETTLING_STEPS)
        grown = refine(thin, with_best_degree(thin, settled.waves, basis), basis, _GROWTH_STEPS)
        return grown if thin.projection is not None else _with_edge(thin, settled, grown, basis)


def fitted_waves(
    channel: Complex, spacing_wavelengths: float, most: int = 10
) -> tuple[SphericalWaves, NDArray[np.float64]]:
    """At most ``most`` waves that clean channels complex64 [N, row, col] consist of, for bounds, and the share float64
    [N] of each channel's energy that they leave out.

    Waves are found as the off-grid estimate finds them and refitted with a constant gain each. So they leave out gains
    that vary over the array, edges of shadows, paths beyond ``most``, and all that is diffuse: where the share is not
    far below :func:`channelfm.waves.bounds.field_bound` of them, that bound is not one of the channel. A channel of
    zeros has no wave.
    """
    parts = torch.split(torch.from_numpy(channel), OffGrid.samples_at_once)
    found = [_constant_waves(part, spacing_wavelengths, most) for part in parts]
    sources, gains, left = (torch.cat(columns).numpy() for columns in zip(*found, strict=True))
    return SphericalWaves(sources, gains), left


@torch.inference_mode()
def _constant_waves(channel: Tensor, spacing: float, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sources float64 [N, most, 3], gains complex128 [N, most] and the share left out [N]."""
    count, rows, cols = channel.shape
    scale = (energies(channel.flatten(1)) / (rows * cols)).sqrt()[:, None, None]
    observation = Gathered.entries(channel / scale.clamp_min(1e-150), torch.ones_like(channel.real).bool(), spacing)
    basis = GainBasis.of_array(rows, cols, spacing)
    sources = torch.zeros(count, most, 3, dtype=torch.float64)
    gains, left = sources[..., 0] + 0j, torch.zeros(count, dtype=torch.float64)
    heard = torch.nonzero(scale[:, 0, 0] > 0)[:, 0]
    for members, grown in OffGrid(max_waves=most)._grow(observation.select(heard), basis) if len(heard) else ():
        part, waves = observation.select(heard[members]), Waves.none(len(members))
        for wave in range(grown.waves.count):
            waves = waves.joined(grown.waves.sources[:, wave])
        fit = refine(part, waves, replace(basis, exponents=((0, 0),)), _SETTLING_STEPS + _FINAL_STEPS)
        sources[heard[members], : waves.count] = fit.waves.sources
        gains[heard[members], : waves.count] = fit.gains[..., 0] * scale[heard[members], 0]
        left[heard[members]] = fit.cost / energies(part.field)
    return sources, gains, left


def _expected(observation: Gathered, possible: Alternatives, basis: GainBasis) -> Tensor:
    """Fields complex128 [N, rows * cols]: the mean over the hypotheses, each fitted once more to all antennas."""
    y, z = coordinates(observation.rows, observation.cols, observation.spacing)
    mean = expected_field(possible.others, observation.rows, observation.cols, observation.spacing).total
    mean = mean.flatten(1).to(torch.complex128)
    waves = possible.found.present.sum(1)
    for number in sorted(set(waves.tolist())):
        chosen = torch.nonzero(waves == number)[:, 0]
        part = observation.select(possible.sample[chosen])
        start = Waves.none(len(chosen))
        for wave in range(number):
            start = start.joined(possible.found.sources[chosen, wave])
        fit = refine(part, with_best_degree(part, start, basis), basis, _SETTLING_STEPS + _FINAL_STEPS)
        weighted = fit.parts(y, z, basis) * possible.found.probability[chosen, :number, None]
        mean.index_add_(0, possible.sample[chosen], weighted.sum(1))
    return mean


def _with_edge(observation: Gathered, start: Fit, reference: Fit, basis: GainBasis) -> Fit:
    """The reference fit, or, where the information criterion prefers it, one from ``start`` with one more edge."""
    edges, saving = propose_edge(observation, start, basis)
    n = observation.measurements
    # What the edge's parameters must save of the residual energy; the constant-gain saving only screens.
    promising = saving > (1 - torch.exp(-EDGE_PARAMETERS * (2 * n).log() / n)) * reference.cost
    if not bool(promising.any()):
        return reference
    part, waves = observation.select(promising), start.waves.select(promising)
    cut = refine(part, replace(waves, edges=edges[promising]), basis, _SETTLING_STEPS)
    cut = replace(cut, waves=replace(cut.waves, edges=sharpen_edges(part, cut, basis)))
    cut = refine(part, with_best_degree(part, cut.waves, basis), basis, _GROWTH_STEPS)
    better = cut.information(part, basis) < reference.select(promising).information(part, basis)
    return reference.replaced(torch.nonzero(promising)[better, 0], cut.select(better))


def _finished(observation: Gathered, grown: Fit, basis: GainBasis) -> Fit:
    """The final fit over all observed antennas, in double precision, its edges sharpened."""
    fit = refine(observation, with_best_degree(observation, grown.waves, basis), basis, _FINAL_STEPS)
    cut = fit.waves.has_edge.any(1)
    if not bool(cut.any()):
        return fit
    part, before = observation.select(cut), fit.select(cut)
    moved = replace(before.waves, edges=sharpen_edges(part, before, basis))
    after = refine(part, with_best_degree(part, moved, basis), basis, _FINAL_STEPS)
    better = after.information(part, basis) < before.information(part, basis)
    return fit.replaced(torch.nonzero(cut)[better, 0], after.select(better))
