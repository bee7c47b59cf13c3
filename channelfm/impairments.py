"""Imperfect hardware: what it makes of observations, drawn link by link from a seed.

The order is that of a receiver: antennas (dead ones, their gains), the user's amplifier, then the noise, then the
chains' gains, the oscillators' phases, the mixers, the converters. All but the converters are linear in the channel, or
widely linear; :mod:`channelfm.hardware` tells their models and sources.

Measurements are looked at by slot and chain, [N, S, C, K]: subcarriers K, those of each polarisation a chain of their
own. Samples are those of the pilots' symbols, [N, S, C, K] as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.hardware import (
    Amplifier,
    AntennaGains,
    ChainGains,
    DeadAntennas,
    Hardware,
    IQImbalance,
    PhaseNoise,
    Quantisation,
)
from channelfm.observation import Combining, Complex, Entries, Float, Grid, Observation, Operator, check_draw
from channelfm.units import db_to_power

Samples = NDArray[np.complex128]

# Best step of a uniform quantiser of 1, 2, ... bits for normal amplitudes of unit deviation (Max 1960, table II).
_STEPS = (1.596, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)


class Drawn(NamedTuple):
    """What N links were drawn with: gains of the ``antennas`` complex64 [N, row, col], of the ``chains`` [N, 1, C, 1],
    ``phasors`` of the oscillators [N, S, 1 or C, 1], and ``image`` [N, 1, C, 1], the mixers' beta."""

    antennas: Complex
    chains: Complex
    phasors: Complex
    image: Complex


class Slots(NamedTuple):
    """How one link's measurements divide: ``slots`` S, ``chains`` C (times polarisations), ``subcarriers`` K."""

    slots: int
    chains: int
    subcarriers: int

    @classmethod
    def of(cls, hardware: Hardware, operator: Operator, grid: Grid) -> Slots:
        """Those of an operator; InputError where its measurements do not divide among the hardware's chains."""
        frames, rows, cols, frequencies = grid.shape
        polarizations = grid.array.num_polarizations
        if isinstance(operator, Combining):
            measurements = operator.size[0]
            chains = measurements if hardware.chains is None else hardware.chains
            if measurements % chains:
                raise InputError(f"hardware.chains = {chains}: does not divide {measurements} measurements")
            frames *= measurements // chains
        else:
            chains = rows * cols
            if hardware.chains not in (None, chains):
                raise InputError(
                    f"hardware.chains = {hardware.chains}: {chains} single antennas are chains of their own"
                )
        return cls(frames, chains * polarizations, frequencies // polarizations)

    def split(self, values: Complex) -> Complex:
        """Measurements [N, ...] as [N, S, C, K]."""
        return values.reshape(len(values), *self)


def impair(observation: Observation, channel: Complex, hardware: Hardware, seed: int) -> Observation:
    """What imperfect hardware makes of an observation of ``channel`` complex64 [N, T, row, col, F]; the observation
    then tells the ``hardware``, and its noise remains that before the chains.

    Raises InputError for chains that do not divide the measurements, and where all antennas of a link are dead.
    """
    check_draw(seed, None)
    if observation.hardware is not None:
        raise InputError(f"the observation has hardware already ({observation.hardware}): take an ideal one")
    slots = Slots.of(hardware, observation.operator, observation.grid)
    drawn = draw(hardware, slots, observation.grid, len(observation), seed)
    operator, ideal = observation.operator, observation.operator.forward(channel)
    heard = operator.forward(channel * drawn.antennas[:, None, ..., None])
    noise = slots.split(observation.values - ideal)
    received = pilot_response(hardware, slots)[:, None] * slots.split(heard) + noise
    received = quantised(through_chains(received, drawn, hardware, slots), hardware, slots)
    values = received.astype(np.complex64).reshape(observation.values.shape)
    if isinstance(operator, Entries):
        values = operator.forward(values)
    return replace(observation, values=values, hardware=hardware)


def draw(hardware: Hardware, slots: Slots, grid: Grid, links: int, seed: int) -> Drawn:
    """What so many links are drawn with: each kind from (seed, kind), link after link, so that it does not depend on
    the links that follow, nor on other impairments."""
    _, rows, cols, _ = grid.shape
    return Drawn(
        _antennas(hardware, (links, rows, cols), seed),
        _chain_gains(hardware.find(ChainGains), links, slots, seed),
        _phasors(hardware.find(PhaseNoise), links, slots, seed),
        _image(hardware.find(IQImbalance), links, slots, seed),
    )


def _antennas(hardware: Hardware, shape: tuple[int, int, int], seed: int) -> Complex:
    gains = np.ones(shape, np.complex128)
    uneven, dead = hardware.find(AntennaGains), hardware.find(DeadAntennas)
    if uneven is not None:
        error = uneven.share * _normal(seed, uneven.kind, shape)
        gains += error - error.mean(axis=(1, 2), keepdims=True)
    if dead is not None:
        alive = np.random.default_rng((seed, *dead.kind.encode())).random(shape) >= dead.share
        if not alive.any(axis=(1, 2)).all():
            raise InputError(f"dead-antennas: share = {dead.share:g} kills all antennas of a link: give a smaller one")
        gains *= alive
    return np.asarray(gains, np.complex64)


def _chain_gains(model: ChainGains | None, links: int, slots: Slots, seed: int) -> Complex:
    shape = (links, 1, slots.chains, 1)
    if model is None or slots.chains == 1:
        return np.ones(shape, np.complex64)
    error = _normal(seed, model.kind, shape)
    error -= error.mean(axis=2, keepdims=True)
    return np.asarray(1 + model.share * np.sqrt(slots.chains / (slots.chains - 1)) * error, np.complex64)


def _phasors(model: PhaseNoise | None, links: int, slots: Slots, seed: int) -> Complex:
    if model is None:
        return np.ones((links, slots.slots, 1, 1), np.complex64)
    shape = (links, slots.slots, slots.chains if model.own else 1, 1)
    steps = np.deg2rad(model.step_deg) * np.random.default_rng((seed, *model.kind.encode())).standard_normal(shape)
    phases = np.cumsum(steps, axis=1)
    return np.asarray(np.exp(1j * (phases - phases.mean(axis=(1, 2), keepdims=True))), np.complex64)


def _image(model: IQImbalance | None, links: int, slots: Slots, seed: int) -> Complex:
    shape = (links, 1, slots.chains, 1)
    if model is None:
        return np.zeros(shape, np.complex64)
    generator = np.random.default_rng((seed, *model.kind.encode()))
    decibels, phase = np.moveaxis(generator.standard_normal((*shape, 2)), -1, 0)
    gain = 10 ** (model.gain_db * decibels / 20)
    return np.asarray((1 - gain * np.exp(1j * np.deg2rad(model.phase_deg) * phase)) / 2, np.complex64)


def _normal(seed: int, kind: str, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Complex normal variables of unit power."""
    parts = np.random.default_rng((seed, *kind.encode())).standard_normal((*shape, 2))
    return np.asarray(parts @ np.array([1, 1j]) / np.sqrt(2))


def through_chains(received: NDArray[Any], drawn: Drawn, hardware: Hardware, slots: Slots) -> NDArray[Any]:
    """Measurements [N, S, C, K] after the chains' gains, oscillators and mixers."""
    turned = np.asarray(received * (drawn.chains * drawn.phasors))
    if hardware.find(IQImbalance) is None:
        return turned
    image = drawn.image * mirrored(turned, pilot_symbols(hardware, slots))
    return np.asarray((1 - drawn.image.conj()) * turned + image)


def mirrored(values: NDArray[Any], pilots: NDArray[Any]) -> NDArray[Any]:
    """Measurements [..., S, C, K] of the conjugate samples: pilots [S, 1, K] are on the air, not their channels."""
    return np.asarray(np.flip((values * pilots).conj(), -1) * pilots.conj())


def without_image(values: NDArray[Any], image: NDArray[Any], pilots: NDArray[Any]) -> NDArray[Any]:
    """What mixers of a known beta made of measurements, undone."""
    alpha = 1 - image.conj()
    both = np.abs(alpha) ** 2 - np.abs(image) ** 2
    return np.asarray((alpha.conj() * values - image * mirrored(values, pilots)) / both)


def pilot_symbols(hardware: Hardware, slots: Slots) -> Complex:
    """The pilots complex64 [S, 1, K]."""
    return hardware.pilots(slots.slots, slots.subcarriers)[:, None]


def pilot_response(hardware: Hardware, slots: Slots) -> Complex:
    """What the user sends in place of its pilots, over them, complex64 [S, K]: 1 where its amplifier is ideal.

    The amplifier acts on one sample per subcarrier and symbol: what falls beside the band is folded into it.
    """
    model = hardware.find(Amplifier)
    if model is None:
        return np.ones((slots.slots, slots.subcarriers), np.complex64)
    pilots = pilot_symbols(hardware, slots)
    saturation = db_to_power(model.back_off_db)  # the mean power of pilots is 1
    samples = to_samples(pilots, 1.0)
    power = np.abs(samples) ** 2 / saturation
    sent = samples / (1 + power**model.smoothness) ** (1 / (2 * model.smoothness))
    return (of_samples(sent, 1.0) / pilots)[:, 0].astype(np.complex64)


def to_samples(values: Any, pilots: Any) -> Samples:
    """Samples [..., S, C, K] of what was received of the ``pilots`` [S, 1, K]; the band's centre is at 0 Hz."""
    return np.asarray(np.fft.ifft(values * pilots, norm="ortho") * _centre(values.shape[-1]))


def of_samples(samples: Any, pilots: Any) -> Samples:
    """The inverse of :func:`to_samples`."""
    return np.asarray(np.fft.fft(samples * _centre(samples.shape[-1]).conj(), norm="ortho") * np.conj(pilots))


def _centre(count: int) -> NDArray[np.complex128]:
    """Turns the middle of the band, which lies between two subcarriers where their number is even, to 0 Hz."""
    return np.asarray(np.exp(-1j * np.pi * (count - 1) / count * np.arange(count)))


def quantised(received: NDArray[Any], hardware: Hardware, slots: Slots) -> NDArray[Any]:
    """Measurements [N, S, C, K] after the converters."""
    model = hardware.find(Quantisation)
    if model is None:
        return received
    pilots = pilot_symbols(hardware, slots)
    samples = to_samples(received, pilots)
    heard = np.any(received != 0, axis=3, keepdims=True)  # not so chains that the mask of a link leaves out of a slot
    counted = np.maximum(heard.sum(axis=(1, 2, 3), keepdims=True) * slots.subcarriers, 1)
    deviation = np.sqrt(np.sum(np.abs(samples) ** 2, axis=(1, 2, 3), keepdims=True) / counted / 2)
    step = best_step(model.bits) * deviation
    real, imaginary = (quantise(part, step, model.bits) for part in (samples.real, samples.imag))
    return of_samples(real + 1j * imaginary, pilots)


def best_step(bits: int) -> float:
    """The step of a quantiser for normal amplitudes of unit deviation."""
    return _STEPS[bits - 1]


def quantise(amplitudes: NDArray[Any], step: Float | float, bits: int) -> Float:
    """Amplitudes at the middle of their steps, beyond the last one at its middle."""
    half = 2 ** (bits - 1)
    return np.asarray((np.clip(np.floor(amplitudes / np.maximum(step, 1e-300)), -half, half - 1) + 0.5) * step)


def borders(bits: int) -> Float:
    """Where the 2^bits steps end, in steps, float64 [2^bits + 1], from minus to plus infinity."""
    inner = np.arange(1 - 2 ** (bits - 1), 2 ** (bits - 1), dtype=np.float64)
    return np.concatenate([[-np.inf], inner, [np.inf]])


def bussgang_gain(deviation: Float, step: Float, bits: int) -> Float:
    """Gain of the quantiser for normal amplitudes of a ``deviation``, in the same units as ``step``: the output is this
    gain times the input, and an error that the input says nothing of (Bussgang 1952; Mezghani & Nossek 2012)."""
    inner = borders(bits)[1:-1] * np.asarray(step)[..., None] / np.asarray(deviation)[..., None]
    return np.asarray(step / deviation * np.exp(-(inner**2) / 2).sum(-1) / np.sqrt(2 * np.pi))
