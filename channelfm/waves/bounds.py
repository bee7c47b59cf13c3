"""Cramer-Rao bounds of sums of spherical waves seen through any operator: what no unbiased estimator can beat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.observation import Entries, Observation
from channelfm.waves.geometry import coordinates, path_and_slope, path_difference, phasors

Complex128 = NDArray[np.complex128]
Float = NDArray[np.float64]

_RESOLVED = 1e-10  # share of the largest eigenvalue of the scaled Fisher matrix below which a direction is not seen
_HARMLESS = 1e-6  # share of the largest change of the field below which a direction that is not seen changes nothing


class SphericalWaves(NamedTuple):
    """Waves of N channels: ``sources`` float64 [N, L, 3] as (u_y, u_z, q), two direction sines and the inverse distance
    per wavelength; ``gains`` complex128 [N, L] at the array's centre, 0 for no wave. ``delays_s`` float64 [N, L] there,
    which several frequencies need; ``squint``: whether steering follows frequency."""

    sources: Float
    gains: Complex128
    delays_s: Float | None = None
    squint: bool = True

    def select(self, index: Any) -> SphericalWaves:
        """Those of the channels that a NumPy index picks."""
        delays = None if self.delays_s is None else self.delays_s[index]
        return SphericalWaves(self.sources[index], self.gains[index], delays, self.squint)


def field_bound(waves: SphericalWaves, observation: Observation) -> Float:
    """Least expected NMSE (linear) float64 [N] of unbiased estimates of the whole array's channel, in white noise.

    Every wave has a complex gain, two direction sines and an inverse range unknown, all waves together, and its delay
    where there are several frequencies. The Fisher
    matrix is 2 Re(J^H J) / noise over the measurements (Kay 1993, section 15.7), with their derivatives J; the bound on
    the field's error is trace(G F^-1 G^H), with the derivatives G at all antennas, over the field's energy. What is
    asked is the field, so that waves that nothing tells apart count together (pseudo-inverse), as long as their sum is
    seen; where the measurements do not determine the field, the bound is infinite. It is 0 where the noise is.

    Raises InputError for several frames, for several frequencies of waves without delays, where the noise is not told,
    and for waves of other links.
    """
    return np.array([products.bound(products.waves) for products in wave_products(waves, observation)])


def best_order_bound(waves: SphericalWaves, observation: Observation) -> Float:
    """:func:`field_bound` where the number of waves is chosen as well as can be, NMSE (linear) float64 [N].

    Waves far below the noise cost an unbiased estimator more than they are worth; one that leaves them out is biased by
    their energy and may be better. So this is the least, over how many of the strongest waves are estimated, of their
    bound and of the energy of the others together, which only an oracle reaches: it knows the number. Raises as
    :func:`field_bound` does.
    """
    return np.array(
        [
            min(products.bound(count) + products.left[count] for count in range(products.waves + 1))
            for products in wave_products(waves, observation)
        ]
    )


class WaveProducts(NamedTuple):
    """Of one link: ``noise`` power, ``energy`` of its field, number of ``waves`` L, and products Re(J^H J) of the
    derivatives, as they are ``seen`` and over the whole ``field``, float64 [P, P]: real, then imaginary parts of gains,
    then the sources' parameters, wave by wave, the strongest wave first. ``left`` float64 [L + 1]: share of the energy
    in what the 0, 1, ... strongest waves leave."""

    noise: float
    energy: float
    waves: int
    seen: Float
    field: Float
    left: Float

    def bound(self, count: int) -> float:
        """The bound on the sum of so many of the strongest waves, where there are no others, over the energy of all."""
        if not self.noise or not count:
            return 0.0
        first, each = 2 * self.waves, len(self.seen) // self.waves - 2
        kept = np.r_[0:count, self.waves : self.waves + count, first : first + each * count]
        return (
            self.noise / 2 * _least_error(*(part[np.ix_(kept, kept)] for part in (self.seen, self.field))) / self.energy
        )


def free_gain_bound(waves: SphericalWaves, observation: Observation) -> Float:
    """As :func:`field_bound`, of estimators that leave every wave a gain of its own at every frequency, as simultaneous
    pursuits and their bounds in the literature do (Cui & Dai 2022): what a delay ties together is thrown away.

    Of waves that do not squint. Raises as :func:`field_bound` does.
    """
    frames, rows, cols, frequencies = observation.grid.shape
    _check(waves, observation, frames)
    told = []
    for link, noise in enumerate(_told_noise(observation)):
        sources, gains = waves.sources[link], waves.gains[link]
        wave, slopes = _wave_and_slopes(sources, rows, cols, observation.grid.array.spacing_wavelengths)
        field = np.concatenate([wave, slopes.reshape(-1, wave.shape[1])]).T
        seen = measured_fields(observation, link, field[..., None])
        tones = gains[:, None] * _tones(waves, observation, link)
        number = len(gains)
        own, others = seen[:, :number], seen[:, number:]
        followed = np.linalg.pinv(own, rcond=_RESOLVED) @ others
        powers = np.tile(tones @ tones.conj().T, (slopes.shape[1],) * 2).T
        by_wave = others.reshape(-1, number, slopes.shape[1]).swapaxes(1, 2).reshape(len(others), -1)
        order = np.arange(number * slopes.shape[1]).reshape(number, -1).T.ravel()
        left = by_wave - own @ followed[:, order]
        changed = field[:, number:][:, order] - field[:, :number] @ followed[:, order]
        fisher, change = (np.real((part.conj().T @ part) * powers) for part in (left, changed))
        gram = np.linalg.pinv(own.conj().T @ own, rcond=_RESOLVED, hermitian=True)
        of_gains = frequencies * np.trace(field[:, :number] @ gram @ field[:, :number].conj().T).real
        energy = np.sum(np.abs(field[:, :number] @ tones) ** 2)
        told.append(noise * (_least_error(fisher, change) / 2 + of_gains) / energy)
    return np.array(told)


def wave_products(waves: SphericalWaves, observation: Observation) -> Iterator[WaveProducts]:
    """Of every link in turn. Raises as :func:`field_bound` does."""
    _check(waves, observation, observation.grid.shape[0])
    for link, noise in enumerate(_told_noise(observation)):
        there = np.argsort(-np.abs(waves.gains[link]), kind="stable")[: np.count_nonzero(waves.gains[link])]
        chosen = waves._replace(
            sources=waves.sources[link : link + 1, there],
            gains=waves.gains[link : link + 1, there],
            delays_s=None if waves.delays_s is None else waves.delays_s[link : link + 1, there],
        )
        derivative = field_derivatives(chosen, observation)
        gains, flat = chosen.gains[0], derivative.reshape(-1, derivative.shape[2])
        seen = measured_fields(observation, link, derivative.swapaxes(1, 2))
        parts = flat[:, : len(gains)] * gains
        sums = np.cumsum(np.concatenate([np.zeros((len(parts), 1)), parts], axis=1), axis=1)
        energies = np.sum(np.abs(sums[:, -1:] - sums) ** 2, axis=0)
        yield WaveProducts(
            float(noise),
            float(energies[0]),
            len(gains),
            _products(seen, len(gains)),
            _products(flat, len(gains)),
            energies / energies[0],
        )


def _check(waves: SphericalWaves, observation: Observation, frames: int) -> None:
    frequencies = observation.grid.shape[3]
    if frames != 1 or (frequencies != 1 and waves.delays_s is None):
        raise InputError(
            f"bound of {frames} frames and {frequencies} frequencies: it is known for one frame, and for several "
            "frequencies of waves with delays"
        )
    if len(waves.gains) != len(observation):
        raise InputError(f"waves of {len(waves.gains)} links for an observation of {len(observation)}")


def _told_noise(observation: Observation) -> Float:
    if observation.noise is None:
        raise InputError("the bound needs the power of the noise, and the observation does not tell it")
    return observation.noise


def measured_fields(observation: Observation, link: int, fields: NDArray[Any]) -> NDArray[np.complex64]:
    """What the operator measures of fields [antenna, parameter, F] of a link, complex64 [measurement, parameter]."""
    _, rows, cols, frequencies = observation.grid.shape
    operator = observation.operator.select(slice(link, link + 1))
    parameters = fields.shape[1]
    channel = fields.astype(np.complex64).reshape(1, 1, rows, cols, parameters, -1)
    if isinstance(operator, Entries):
        seen = np.broadcast_to(operator.mask, (1, 1, rows, cols, frequencies))[..., None, :]
        return np.where(seen, channel, 0).swapaxes(4, 5).reshape(-1, parameters)
    measured = operator.forward(channel.reshape(1, 1, rows, cols, -1))
    return measured.reshape(measured.shape[2], parameters, -1).swapaxes(1, 2).reshape(-1, parameters)


def field_derivatives(waves: SphericalWaves, observation: Observation) -> Complex128:
    """Derivatives complex128 [antenna, F, parameter] of the field of one link's L waves: in the real parts of their
    gains, which are the waves themselves, and in what array and band resolve of their sources and delays."""
    _, rows, cols, frequencies = observation.grid.shape
    gains = waves.gains[0]
    wave, slopes = _wave_and_slopes(waves.sources[0], rows, cols, observation.grid.array.spacing_wavelengths)
    if waves.delays_s is None:
        phase = -2j * np.pi * gains[:, None, None] * slopes
        return np.concatenate([wave, phase.reshape(-1, rows * cols)]).T[:, None]
    array = observation.grid.array
    detuned = observation.grid.frequencies_hz - array.carrier_hz
    stretched = 1 + waves.squint * detuned / array.carrier_hz
    whole = wave[..., None] * _tones(waves, observation, 0)[:, None]
    if waves.squint:
        y, z = coordinates(rows, cols, array.spacing_wavelengths)
        path = path_difference(torch.from_numpy(waves.sources[0])[None], y, z)[0].numpy()
        whole = whole * np.exp(-2j * np.pi * path[..., None] * (stretched - 1))
    moved = -2j * np.pi * (gains[:, None, None] * slopes / wave[:, None])[..., None] * (whole[:, None] * stretched)
    if frequencies > 1:
        late = -2j * np.pi * gains[:, None, None] * whole * detuned / np.abs(detuned).max()
        moved = np.concatenate([moved, late[:, None]], axis=1)
    found = np.concatenate([whole, moved.reshape(-1, rows * cols, frequencies)])
    return np.moveaxis(found, 0, 2)


def _wave_and_slopes(sources: Float, rows: int, cols: int, spacing: float) -> tuple[Complex128, Complex128]:
    """Waves complex128 [L, antenna], and the slopes of their paths in what the array resolves, times them,
    [L, R, antenna]."""
    y, z = coordinates(rows, cols, spacing)
    path, slope = path_and_slope(torch.from_numpy(sources)[None], y, z)
    wave = phasors(path[0]).numpy()
    resolved = [axis for axis, elements in enumerate((cols, rows)) if elements > 1] + [2] * (rows * cols > 2)
    return wave, slope[0].numpy()[:, resolved] * wave[:, None]


def _tones(waves: SphericalWaves, observation: Observation, link: int) -> Complex128:
    """Tones complex128 [L, F] of a link's delays."""
    detuned = observation.grid.frequencies_hz - observation.grid.array.carrier_hz
    delays = np.zeros_like(waves.gains[link].real) if waves.delays_s is None else waves.delays_s[link]
    return np.asarray(np.exp(-2j * np.pi * np.multiply.outer(delays, detuned)))


def _products(derivative: NDArray[Any], waves: int) -> Float:
    """Re(J^H J) float64 [parameter, parameter], with the imaginary parts of the gains put between."""
    whole = np.concatenate([derivative[:, :waves], 1j * derivative[:, :waves], derivative[:, waves:]], axis=1)
    parts = np.concatenate([whole.real, whole.imag]).astype(np.float64)
    return np.asarray(parts.T @ parts)


def _least_error(seen: Float, field: Float) -> float:
    """trace(field seen^-1) of two such products, of the measurements and of the whole field; parameters have different
    units, so that they are scaled first."""
    scale = 1 / np.sqrt(np.maximum(np.diag(seen), 1e-300))
    power, turn = np.linalg.eigh(seen * np.outer(scale, scale))
    change = np.einsum("pi,pq,qi->i", turn, field * np.outer(scale, scale), turn, optimize=True)
    told = power > _RESOLVED * power[-1]
    if np.any(change[~told] > _HARMLESS * change.max()):
        return float("inf")
    return float(np.sum(change[told] / power[told]))
