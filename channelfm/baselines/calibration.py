"""What imperfect hardware did to a link's measurements, estimated from a channel that is nearly known, and undone.

Each impairment has its textbook correction, given what ideal hardware would have measured: least squares for gains of
chains and the mixers' images, phases with their Wiener prior, antenna gains as Gaussians or dead (expectation
propagation, Minka 2001), the noise's conditional mean within the steps of the converters. In turn with the channel's
least squares these are the joint ones. Measurements are [N, S, C, K] (:mod:`channelfm.impairments`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from channelfm.hardware import (
    AntennaGains,
    ChainGains,
    DeadAntennas,
    Hardware,
    IQImbalance,
    PhaseNoise,
    Quantisation,
)
from channelfm.impairments import (
    Slots,
    best_step,
    borders,
    bussgang_gain,
    mirrored,
    of_samples,
    pilot_response,
    pilot_symbols,
    to_samples,
    without_image,
)
from channelfm.observation import Observation
from channelfm.waves.quantised import expected_error, information_share

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

_SHARPEST = 0.05  # of a step: smallest deviation of the noise that steps are thought to be blurred by
_LEAST_INFORMATION = 0.02  # of the unquantised samples'
_EVERY = 17  # how many samples the mean information needs: every 17th
_PASSES = 2  # of expectation propagation
_SURE = 1e-4  # smallest variance of an antenna's gain


@dataclass(frozen=True)
class Received:
    """What hardware of known models gave: ``values`` complex128 [N, S, C, K] of ``pilots`` [N, S, 1, K], of which the
    user sent ``response`` times as much; ``noise`` float64 [N, 1, 1, 1] before the chains; ``step`` alike, of the
    converters, 0 without. Every frame is a link of its own."""

    hardware: Hardware
    values: Complex
    pilots: Complex
    response: Complex
    noise: Float
    step: Float

    @classmethod
    def of(cls, observation: Observation, values: Complex) -> Received:
        """From an observation and its measurements [N T, ..., F], at whatever scale."""
        hardware, frames = observation.hardware or Hardware(), observation.grid.shape[0]
        slots = Slots.of(hardware, observation.operator, observation.grid)
        each = slots.slots // frames
        pilots, response = (
            np.tile(sequence.reshape(frames, each, 1, -1).astype(np.complex128), (len(observation), 1, 1, 1))
            for sequence in (pilot_symbols(hardware, slots), pilot_response(hardware, slots))
        )
        split = values.reshape(len(values), each, slots.chains, slots.subcarriers)
        told = np.zeros(len(observation)) if observation.noise is None else observation.noise
        scale = np.sum(np.abs(split) ** 2, axis=(1, 2, 3), keepdims=True)
        scale /= np.maximum(_energies(observation.values, frames)[:, None, None, None], 1e-300)
        noise = np.repeat(told, frames)[:, None, None, None] * scale
        step = _step(to_samples(split, pilots), hardware.find(Quantisation))
        return cls(hardware, split, pilots, response, noise, step)

    def select(self, index: Any) -> Received:
        """The links that a NumPy index picks."""
        names = ("values", "pilots", "response", "noise", "step")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    @property
    def converted(self) -> Quantisation | None:
        """The model of the converters."""
        return self.hardware.find(Quantisation)


@dataclass(frozen=True)
class Correction:
    """What is thought of the hardware: gains of ``chains`` complex128 [N, 1, C, 1], ``phases`` float64 [N, S, 1 or C,
    1], ``image`` [N, 1, C, 1] (beta of the mixers), gains of the ``antennas`` [N, m]."""

    chains: Complex
    phases: Float
    image: Complex
    antennas: Complex

    @classmethod
    def none(cls, received: Received, antennas: int) -> Correction:
        """That of ideal hardware."""
        count, slots, chains, _ = received.values.shape
        noise = received.hardware.find(PhaseNoise)
        phases = np.zeros((count, slots, chains if noise is not None and noise.own else 1, 1))
        one = np.ones((count, 1, chains, 1), np.complex128)
        return cls(one, phases, 0 * one, np.ones((count, antennas), np.complex128))

    def select(self, index: Any) -> Correction:
        """The links that a NumPy index picks."""
        return Correction(self.chains[index], self.phases[index], self.image[index], self.antennas[index])

    def factor(self, received: Received) -> Complex:
        """What multiplies ideal measurements before the mixers."""
        return np.asarray(received.response * self.chains * np.exp(1j * self.phases))

    def undone(self, received: Received, ideal: Complex | None) -> Complex:
        """What ideal hardware would have given [N, S, C, K], if ``ideal`` is what the channel says (None: unknown)."""
        seen = self.before_converters(received, ideal)
        return np.asarray(without_image(seen, self.image, received.pilots) / self.factor(received))

    def before_converters(self, received: Received, ideal: Complex | None) -> Complex:
        """What entered the converters: of unknown channels by the Bussgang gain, else by the scores of the samples, as
        one step of Fisher's scoring with the mean information."""
        model = received.converted
        if model is None:
            return received.values
        deviation = received.step / best_step(model.bits)
        if ideal is None:
            return np.asarray(received.values / bussgang_gain(deviation, received.step, model.bits))
        samples = to_samples(self._through_mixers(received, ideal), received.pilots)
        # The gain control tells the mean power, which samples of a few bits do not.
        power = np.maximum(2 * deviation**2 - received.noise, 0.1 * deviation**2)
        samples *= np.sqrt(power / np.maximum(_power(samples), 1e-300))
        score = _scores(samples, to_samples(received.values, received.pilots), received, model.bits)
        return of_samples(samples + score, received.pilots)

    def improved(self, received: Received, ideal: Complex) -> Correction:
        """Estimated anew, all but the antennas, by what the channel says."""
        found = self._with_image(received, ideal)
        clean = without_image(found.before_converters(received, ideal), found.image, received.pilots)
        noise = np.maximum(_power(clean - found.factor(received) * ideal), received.noise)
        return found._with_phases(received, ideal, clean, noise)._with_chains(received, ideal, clean, noise)

    def _through_mixers(self, received: Received, ideal: Complex) -> Complex:
        turned = ideal * self.factor(received)
        if received.hardware.find(IQImbalance) is None:
            return turned
        return np.asarray((1 - self.image.conj()) * turned + self.image * mirrored(turned, received.pilots))

    def _with_image(self, received: Received, ideal: Complex) -> Correction:
        """Least squares of y - s = beta m - conj(beta) s, m the mirror image of s, with normal priors on both parts of
        each chain's beta."""
        model = received.hardware.find(IQImbalance)
        if model is None:
            return self
        turned = ideal * self.factor(received)
        image = mirrored(turned, received.pilots)
        rest = self.before_converters(received, ideal) - turned
        columns = np.stack([image - turned, 1j * (image + turned)], -1)  # of the real and the imaginary part of beta
        normal = np.einsum("nscka,nsckb->ncab", columns.conj(), columns).real
        right = np.einsum("nscka,nsck->nca", columns.conj(), rest).real
        deviations = np.array([np.log(10) / 20 * model.gain_db, np.deg2rad(model.phase_deg)]) / 2
        prior = np.maximum(_power(rest), received.noise)[:, 0] / 2 / np.maximum(deviations, 1e-6) ** 2
        floor = 1e-9 * np.trace(normal, axis1=2, axis2=3)[..., None] + 1e-300
        beta = np.linalg.solve(normal + (prior + floor)[..., None] * np.eye(2), right[..., None])[..., 0]
        return replace(self, image=(beta @ np.array([1, 1j]))[:, None, :, None])

    def _with_phases(self, received: Received, ideal: Complex, clean: Complex, noise: Float) -> Correction:
        """Each slot's phase and its variance, smoothed by the Wiener process; without their mean."""
        model = received.hardware.find(PhaseNoise)
        if model is None:
            return self
        axes = (3,) if model.own else (2, 3)
        expected = ideal * self.factor(received)
        product = (expected.conj() * clean).sum(axes, keepdims=True)
        told = 2 * (np.abs(expected) ** 2).sum(axes, keepdims=True) / np.maximum(noise, 1e-300)  # Fisher information
        measured = self.phases + np.angle(product)
        slots = measured.shape[1]
        told, measured = (np.moveaxis(part[..., 0], 1, 2) for part in (told, measured))  # [N, C, S]
        steps = np.diff(np.eye(slots), axis=0)
        wiener = steps.T @ steps / max(np.deg2rad(model.step_deg) ** 2, 1e-12)
        told = np.maximum(told, 1e-12)
        smooth = np.linalg.solve(wiener + told[..., None] * np.eye(slots), (told * measured)[..., None])[..., 0]
        phases = np.moveaxis(smooth, 2, 1)[..., None]
        return replace(self, phases=phases - phases.mean(axis=(1, 2), keepdims=True))

    def _with_chains(self, received: Received, ideal: Complex, clean: Complex, noise: Float) -> Correction:
        """Least squares of one gain per chain, with its normal prior; their mean is 1."""
        model = received.hardware.find(ChainGains)
        if model is None:
            return self
        expected = ideal * received.response * np.exp(1j * self.phases)
        prior = noise / max(model.share, 1e-6) ** 2 + 1e-300
        gains = (expected.conj() * clean).sum((1, 3), keepdims=True) + prior
        gains = gains / ((np.abs(expected) ** 2).sum((1, 3), keepdims=True) + prior)
        mean = gains.mean(axis=2, keepdims=True)
        return replace(self, chains=gains / np.where(np.abs(mean) > 0, mean, 1))


def has_uneven_antennas(hardware: Hardware | None) -> bool:
    """Whether antennas differ."""
    return hardware is not None and any(hardware.find(kind) is not None for kind in (DeadAntennas, AntennaGains))


def antenna_gains(hardware: Hardware, projection: Complex, fields: Complex, values: Complex, noise: Float) -> Complex:
    """Gains complex128 [N, m] of antennas of ``fields`` [N, m, F] whose mixtures by ``projection`` [N or 1, m, Q] are
    ``values`` [N, Q, F]: their means given the models, dead or complex normal about 1, and white ``noise`` [N].

    Expectation propagation: each antenna's own distribution is replaced by the normal one of the same moments, given
    the others.
    """
    dead, uneven = hardware.find(DeadAntennas), hardware.find(AntennaGains)
    share = 0.0 if dead is None else dead.share
    variance = 0.0 if uneven is None else uneven.share**2
    per_noise = 1 / np.maximum(noise, 1e-300)[:, None]
    gram = (projection.conj() @ np.swapaxes(projection, 1, 2)) * (fields.conj() @ np.swapaxes(fields, 1, 2))
    right = (fields.conj() * (projection.conj() @ values)).sum(2) * per_noise
    gram = gram * per_noise[..., None]
    # Sites: natural parameters of what each antenna's own distribution says; its moments to begin with.
    precision = np.full(right.shape, 1 / max(share * (1 - share) + (1 - share) * variance, _SURE))
    weighted = precision * (1 - share) + 0j
    mean = np.ones_like(right)
    for _ in range(_PASSES):
        system = torch.from_numpy(gram + precision[..., None] * np.eye(right.shape[1]))
        spread = torch.cholesky_inverse(torch.linalg.cholesky_ex(system)[0]).numpy()
        own = np.maximum(np.einsum("nmm->nm", spread).real, 1e-300)
        both = (spread @ (right + weighted)[..., None])[..., 0]
        cavity = np.maximum(1 / own - precision, 1e-9)
        others = (both / own - weighted) / cavity
        mean, tilted = _moments(others, 1 / cavity, share, variance)
        if not share:  # all is normal: the first pass is exact
            break
        precision = np.maximum(1 / np.maximum(tilted, _SURE) - cavity, 1e-6)
        weighted = mean * (precision + cavity) - others * cavity
    seen = np.mean(np.abs(mean) ** 2, axis=1, keepdims=True) > (1 - share) / 4  # or nothing is known of the link
    return np.asarray(np.where(seen, mean, 1))


def _moments(found: Complex, spread: Float, share: float, variance: float) -> tuple[Complex, Float]:
    """Mean and variance of gains that are 0 with probability ``share``, else normal about 1, where ``found`` is the
    gain plus a complex normal error of variance ``spread``."""
    trust = variance / (variance + spread)
    alive, left = 1 + trust * (found - 1), trust * spread
    if not share:
        return alive, left
    unlikely = np.abs(found) ** 2 / spread - np.abs(found - 1) ** 2 / (spread + variance)
    ratio = unlikely + np.log((1 - share) / share) + np.log(spread / (spread + variance))
    probability = 1 / (1 + np.exp(-np.clip(ratio, -60, 60)))
    return np.asarray(probability * alive), np.asarray(probability * (left + (1 - probability) * np.abs(alive) ** 2))


def _scores(samples: Complex, seen: Complex, received: Received, bits: int) -> Complex:
    """The noise's conditional means [N, S, C, K] of both parts of samples, over their mean share of information."""
    deviation = np.maximum(np.sqrt(received.noise / 2), _SHARPEST * received.step)
    step = np.maximum(received.step, 1e-300)
    half, edges = 2 ** (bits - 1), borders(bits)
    scores, shares = [], []
    for expected, part in ((samples.real, seen.real), (samples.imag, seen.imag)):
        number = (np.clip(np.floor(part / step), -half, half - 1) + half).astype(np.int64)
        lower, upper = edges[number] * step, edges[number + 1] * step
        known = [torch.from_numpy(np.ascontiguousarray(x)) for x in (expected, deviation, lower, upper)]
        scores.append(expected_error(*known).numpy())
        some = torch.from_numpy(expected.reshape(len(expected), -1)[:, ::_EVERY].copy())
        blur, wide = (torch.from_numpy(part[:, :, 0, 0]) for part in (deviation, step))
        shares.append(information_share(some, blur, wide, bits).numpy())
    share = np.mean(shares, axis=(0, 2))[:, None, None, None]
    return np.asarray((scores[0] + 1j * scores[1]) / np.maximum(share, _LEAST_INFORMATION))


def _power(values: Complex) -> Float:
    """Mean power [N, 1, 1, 1] of measurements."""
    return np.asarray(np.mean(np.abs(values) ** 2, axis=(1, 2, 3), keepdims=True))


def _step(samples: Complex, model: Quantisation | None) -> Float:
    """The converters' step [N, 1, 1, 1] from the samples that they gave, all of which are odd multiples of its half."""
    count = len(samples)
    if model is None:
        return np.zeros((count, 1, 1, 1))
    parts = np.abs(np.stack([samples.real, samples.imag])).swapaxes(0, 1).reshape(count, -1)
    given = bussgang_gain(np.array(1.0), np.array(best_step(model.bits)), model.bits)
    rough = best_step(model.bits) * np.sqrt(np.mean(parts**2, axis=1) / given)
    least = parts.min(axis=1)
    multiple = 2 * np.maximum(np.round(least / np.maximum(rough, 1e-300) - 0.5), 0) + 1
    return np.asarray(2 * least / multiple)[:, None, None, None]


def _energies(values: NDArray[np.complex64], frames: int) -> Float:
    """Energy [N T] of every frame of observed values [N, T, ...]."""
    parts = values.reshape(len(values) * frames, -1)
    return np.asarray(np.sum(np.abs(parts).astype(np.float64) ** 2, axis=1))
