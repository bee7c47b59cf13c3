"""Gridless spherical waves through imperfect hardware: waves and corrections in turn, each by its textbook method.

Only what the observation tells of the hardware is corrected: its models and their sizes, not what was drawn.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelfm.baselines.calibration import Correction, Received, antenna_gains, has_uneven_antennas
from channelfm.baselines.off_grid_delay import FoundLinks, OffGridDelay, as_record, measurements
from channelfm.errors import InputError
from channelfm.impairments import Slots
from channelfm.observation import Combining, Observation
from channelfm.waves.geometry import coordinates, path_difference, phasors
from channelfm.waves.record import Waves
from channelfm.waves.wideband import Wideband, WidebandFit, fit_at, refine

_FIRST_WAVES = 3  # as many as are believed in before anything is corrected: errors of hardware look like waves
_FIRST_ROUNDS, _ROUNDS = 4, 4
_STEPS = 2  # of the waves in each round
_LINKS_AT_ONCE = 16
_MOST_ANTENNAS = 1024  # whose gains are estimated: their Gram matrix is inverted


class OffGridCalibrated(OffGridDelay):
    """:class:`OffGridDelay` that corrects what the observation's hardware is told to do, of RF chains.

    A few waves are found in what the chains gave, then waves and corrections improve one another; all waves are then
    sought again in corrected measurements. Where hardware is ideal, the answer is that of :class:`OffGridDelay`; an
    observation that tells none has nothing to correct, and is refused.
    """

    name = "off-grid-calibrated"

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        if observation.hardware is None:
            raise InputError(f"'{self.name}' corrects the hardware of RF chains, and the observation tells of none")
        if _is_ideal(observation):
            return
        if not isinstance(observation.operator, Combining):
            raise InputError(f"'{self.name}' corrects the hardware of RF chains, not of single antennas")
        if observation.grid.array.num_polarizations > 1:
            raise InputError(f"'{self.name}' corrects the hardware of antennas of one polarisation")
        Slots.of(observation.hardware, observation.operator, observation.grid)
        _, rows, cols, _ = observation.grid.shape
        if has_uneven_antennas(observation.hardware) and rows * cols > _MOST_ANTENNAS:
            raise InputError(f"'{self.name}' calibrates up to {_MOST_ANTENNAS} antennas, not {rows} x {cols}")

    @torch.inference_mode()
    def estimate_waves(self, observation: Observation) -> Waves:
        """See :class:`OffGridDelay`."""
        if _is_ideal(observation):
            return super().estimate_waves(observation)
        self.check(observation)
        measured, exponents = measurements(observation)
        received = Received.of(observation, measured.values.numpy())
        heard = torch.nonzero((measured.values != 0).flatten(1).any(1))[:, 0]
        found: list[FoundLinks] = []
        for some in torch.split(heard, _LINKS_AT_ONCE) if len(heard) else ():
            parts = self._calibrated(measured.select(some), received.select(some.numpy()))
            found += [part._replace(links=some[part.links]) for part in parts]
        told = observation.noise
        noise = None if told is None else np.repeat(told, observation.grid.shape[0])
        return as_record(measured, found, exponents, noise)

    def _calibrated(self, measured: Wideband, received: Received) -> list[FoundLinks]:
        """Link numbers, their final fits and whether these squint."""
        ideal = Correction.none(received, measured.rows * measured.cols)
        first = _corrected(measured, ideal, ideal.undone(received, None))
        few = OffGridDelay(max_waves=min(_FIRST_WAVES, self.max_waves))
        corrected, states = _gather(measured, received, ideal, few._found(first))
        parts = []
        for part in self._found(corrected):
            chosen = part.links.numpy()
            given = measured.select(part.links), received.select(chosen), states.select(chosen)
            *_, fit = _in_turn(*given, part.fit, part.squints, _ROUNDS)
            parts.append(part._replace(fit=fit))
        return parts


def _gather(
    measured: Wideband, received: Received, ideal: Correction, found: list[FoundLinks]
) -> tuple[Wideband, Correction]:
    """Measurements corrected with the help of a few waves, and the corrections, in the links' order."""
    order, values, projections, states = [], [], [], []
    for part in found:
        chosen = part.links.numpy()
        given = measured.select(part.links), received.select(chosen), ideal.select(chosen)
        better, state, _ = _in_turn(*given, part.fit, part.squints, _FIRST_ROUNDS)
        order.append(part.links)
        values.append(better.values)
        assert better.projection is not None
        projections.append(better.projection.expand(len(part.links), -1, -1))
        states.append(state)
    back = torch.argsort(torch.cat(order))
    names = ("chains", "phases", "image", "antennas")
    joined = {name: np.concatenate([getattr(state, name) for state in states])[back.numpy()] for name in names}
    corrected = replace(measured, values=torch.cat(values)[back], projection=torch.cat(projections)[back])
    return corrected, Correction(**joined)


def _in_turn(
    measured: Wideband, received: Received, state: Correction, fit: WidebandFit, squints: bool, rounds: int
) -> tuple[Wideband, Correction, WidebandFit]:
    """Waves and corrections after some rounds in which each follows the other."""
    terms = measured.terms_of_squint if squints else 1
    current = _corrected(measured, state, state.undone(received, None))
    fit = refine(current, fit_at(current, fit.placed, terms), _STEPS, terms)
    for _ in range(rounds):
        ideal = (current.values - fit.rest).numpy().reshape(received.values.shape)
        state = state.improved(received, ideal)
        if has_uneven_antennas(received.hardware):
            state = _with_antennas(measured, received, state, fit, squints, ideal)
        current = _corrected(measured, state, state.undone(received, ideal))
        fit = refine(current, fit_at(current, fit.placed, terms), _STEPS, terms)
    return current, state, fit


def _corrected(measured: Wideband, state: Correction, values: NDArray[np.complex128]) -> Wideband:
    """Measurements with corrected values [N, S, C, K] of antennas with the gains of a correction."""
    assert measured.projection is not None
    antennas = torch.from_numpy(state.antennas)[..., None]
    same = bool((antennas == 1).all())
    projection = measured.projection if same else measured.projection * antennas
    return replace(measured, values=torch.from_numpy(values).reshape(measured.values.shape), projection=projection)


def _with_antennas(
    measured: Wideband,
    received: Received,
    state: Correction,
    fit: WidebandFit,
    squints: bool,
    ideal: NDArray[np.complex128],
) -> Correction:
    """The correction with gains of the antennas anew."""
    assert measured.projection is not None
    values = state.undone(received, ideal)
    left = np.mean(np.abs(values - ideal) ** 2, axis=(1, 2, 3))
    noise = np.maximum(left, received.noise[:, 0, 0, 0])
    fields, flat = fields_of(measured, fit, squints).numpy(), values.reshape(measured.values.shape)
    gains = antenna_gains(received.hardware, measured.projection.numpy(), fields, flat, noise)
    return replace(state, antennas=gains)


def fields_of(measured: Wideband, fit: WidebandFit, squints: bool) -> Tensor:
    """The waves' sum at all antennas, complex128 [N, m, F]."""
    y, z = coordinates(measured.rows, measured.cols, measured.spacing)
    path = path_difference(fit.placed.sources, y, z)
    detuned = measured.detuned_hz
    tones = fit.gains[..., None] * phasors(fit.placed.delays[..., None] * detuned / measured.bandwidth_hz)
    if not squints:
        return phasors(path).mT @ tones
    turned = phasors(path[..., None] * (1 + detuned / measured.carrier_hz))
    return torch.einsum("nlmf,nlf->nmf", turned, tones)


def _is_ideal(observation: Observation) -> bool:
    return observation.hardware is None or not observation.hardware.impairments
