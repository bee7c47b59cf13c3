"""Cramer-Rao bounds of spherical waves behind converters of few bits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.hardware import Quantisation
from channelfm.impairments import Slots, best_step, pilot_symbols, to_samples
from channelfm.observation import Observation
from channelfm.waves.bounds import SphericalWaves, field_derivatives, measured_fields, wave_products
from channelfm.waves.quantised import information_share

Float = NDArray[np.float64]


def quantised_bound(waves: SphericalWaves, observation: Observation) -> Float:
    """:func:`channelfm.waves.bounds.best_order_bound` where the observation's converters have few bits, NMSE (linear)
    float64 [N]; all else of its hardware is taken as ideal.

    Every real sample counts by its share of Fisher information
    (:func:`channelfm.waves.quantised.information_share`; Mezghani & Nossek 2012 for one bit), and the gain control
    tells the mean power of all samples of a link, without which one bit hardly tells how strong a channel is. Both
    pieces of information are added as if they were independent, but together are no more than that of ideal samples.
    Raises as that bound does, and InputError where there are no converters.
    """
    hardware = observation.hardware
    model = None if hardware is None else hardware.find(Quantisation)
    if hardware is None or model is None:
        raise InputError("the observation tells of no converters: take the bound of ideal samples")
    slots = Slots.of(hardware, observation.operator, observation.grid)
    pilots, told = pilot_symbols(hardware, slots), []
    for link, ideal in enumerate(wave_products(waves, observation)):
        one = waves.select([link])
        order = np.argsort(-np.abs(one.gains[0]), kind="stable")[: ideal.waves]
        delays = None if one.delays_s is None else one.delays_s[:, order]
        one = one._replace(sources=one.sources[:, order], gains=one.gains[:, order], delays_s=delays)
        seen = measured_fields(observation, link, field_derivatives(one, observation).swapaxes(1, 2))
        split = seen.T.reshape(-1, *slots)
        samples = to_samples(split, pilots)[:, split.any(axis=(0, 3))]  # of chains and slots that measure something
        columns = samples.reshape(seen.shape[1], -1).T
        steps = ideal._replace(seen=_seen_by_steps(columns, one.gains[0], max(ideal.noise, 1e-300), model.bits))
        orders = range(ideal.waves + 1)
        told.append(min(max(steps.bound(count), ideal.bound(count)) + ideal.left[count] for count in orders))
    return np.array(told)


def _seen_by_steps(columns: NDArray[np.complex128], gains: NDArray[np.complex128], noise: float, bits: int) -> Float:
    """Products of derivatives ``columns`` [sample, parameter], weighted by what the steps tell, in the order of
    :class:`channelfm.waves.bounds.WaveProducts`."""
    waves = len(gains)
    expected = columns[:, :waves] @ gains
    whole = np.concatenate([columns[:, :waves], 1j * columns[:, :waves], columns[:, waves:]], axis=1)
    power = float(np.mean(np.abs(expected) ** 2))
    step = torch.tensor(best_step(bits) * np.sqrt((power + noise) / 2), dtype=torch.float64)
    blur = torch.tensor(np.sqrt(noise / 2), dtype=torch.float64)
    found = np.zeros((whole.shape[1], whole.shape[1]))
    for samples, parts in ((expected.real, whole.real), (expected.imag, whole.imag)):
        share = information_share(torch.from_numpy(samples.copy()), blur, step, bits).numpy()
        found += parts.T @ (share[:, None] * parts)
    of_power = 2 * np.real(expected.conj() @ whole) / len(expected)
    variance = (2 * noise * power + noise**2) / len(expected)
    return np.asarray(found + noise / 2 * np.outer(of_power, of_power) / variance)
