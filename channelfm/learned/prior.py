"""Learned priors as estimators: they know how channels are, and take whatever was measured of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from channelfm.baselines.off_grid_delay import measurements
from channelfm.baselines.samples import check_alike_over_frequency
from channelfm.errors import InputError
from channelfm.estimator import ChannelEstimator, check_answer
from channelfm.learned.networks import device_of, sharing_weights
from channelfm.learned.recipe import (
    ClusterModel,
    Guided,
    Langevin,
    MeanFlow,
    PriorModel,
    Projected,
    Truncated,
)
from channelfm.models.clusters import LearnedClusters
from channelfm.observation import Complex, Entries, Observation
from channelfm.posterior import Measured, geometric, guided, langevin, one_step, projected, truncated
from channelfm.waves.scale import times_power_of_two
from channelfm.waves.wideband import Wideband

_LINKS_AT_ONCE = 8
_LEAST_SHARE = 1e-2  # of what was received, that is taken for signal
_UNTOLD = 1e-3  # of what was received: noise that nobody tells
_LEAST_NOISE = 1e-6  # of the channel's power
_NEAR = 1e-2  # share of the pilots' noise, below which steps have nothing left to do
_FIRST, _LAST = 3.0, 0.02  # levels of noise of samplers that start from noise


class WholeEstimator(ChannelEstimator):
    """A network that answers all antennas and subcarriers of a moment together, from RF chains or from antennas whose
    mask is the same on all subcarriers that are observed; subclasses give :meth:`channels`.

    Noise that an observation does not tell is taken to be 30 dB below what was measured.
    """

    network: nn.Module
    recipe: ClusterModel | PriorModel

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        check_alike_over_frequency(observation, self.name)

    @torch.no_grad()
    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`; where nothing but zeros was measured the answer is zero."""
        self.check(observation)
        return answered(observation, self.name, device_of(self.network), self.channels)

    @abstractmethod
    def channels(self, measured: Wideband, noise: Tensor, detuned_hz: Tensor) -> Tensor:
        """Channels complex64 [N, antenna, F] at ``detuned_hz`` [F] from the carrier, from measurements of channels of
        unit power and the power [N] of their noise."""

    def embed(self, channel: Complex, spacing_wavelengths: float | None = None) -> Any:
        """InputError: what knows channels as a whole has no tokens."""
        raise InputError(f"model '{self.recipe.model}' has no tokens to give as features: use a 'cddim' one")


class ClusterEstimator(WholeEstimator):
    """The conditional mean of a channel whose clusters a network finds; it knows no squint."""

    def __init__(self, network: nn.Module, recipe: ClusterModel, spacing_wavelengths: float | None = None) -> None:
        assert isinstance(network, LearnedClusters)
        self.name, self.recipe, self.spacing_wavelengths = recipe.name, recipe, spacing_wavelengths
        self.network: LearnedClusters = sharing_weights(network)

    def channels(self, measured: Wideband, noise: Tensor, detuned_hz: Tensor) -> Tensor:
        """See :class:`WholeEstimator`."""
        exact, level = measured.of_type(torch.complex128), noise.double()
        answer: Tensor = self.network(exact, level, self.network.search(exact, level), detuned_hz)[-1]
        return answer.to(torch.complex64)


class PriorEstimator(WholeEstimator):
    """Samples of the posterior, or its mean, under a prior that knows noisy channels in angle and delay.

    It takes all subcarriers; ``truncated`` and ``mean-flow`` samplers take noisy pilots of the whole channel only.
    """

    recipe: PriorModel

    def __init__(self, network: nn.Module, recipe: PriorModel, spacing_wavelengths: float | None = None) -> None:
        self.name, self.recipe, self.spacing_wavelengths = recipe.name, recipe, spacing_wavelengths
        self.network = sharing_weights(network)

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        seen = observation.operator.mask if isinstance(observation.operator, Entries) else None
        if seen is not None and not seen.any(axis=(1, 2, 3)).all():
            raise InputError(f"'{self.name}' takes antennas that are observed on all subcarriers")
        if isinstance(self.recipe.sampler, Truncated | MeanFlow) and (seen is None or not seen.all()):
            raise InputError(
                f"'{self.name}' cleans noisy pilots of the whole channel, and this observation measures a part: use a "
                "langevin, guided or projected sampler"
            )

    def channels(self, measured: Wideband, noise: Tensor, detuned_hz: Tensor) -> Tensor:
        """See :class:`WholeEstimator`."""
        size = (measured.rows, measured.cols, measured.values.shape[2])

        def forward(clean: Tensor) -> Tensor:
            channel = out_of_angle_and_delay(clean, size).flatten(1, 2).mT
            if measured.place is not None:
                channel = channel.gather(2, measured.place[:, None].expand(-1, size[2], -1))
            return measured.measured(channel).mT

        def adjoint(values: Tensor) -> Tensor:
            return in_angle_and_delay(measured.on_grid(values.mT).permute(0, 2, 3, 1))

        largest = 1.0 if measured.projection is None else float(torch.linalg.matrix_norm(measured.projection, 2).amax())
        noise = noise.clamp_min(_LEAST_NOISE)
        pilots = Measured(measured.values, forward, adjoint, noise, largest**2)
        return out_of_angle_and_delay(self._sampled(pilots, adjoint(measured.values)), size).flatten(1, 2)

    def _sampled(self, pilots: Measured, back: Tensor) -> Tensor:
        """Clean samples in angle and delay; ``back`` are the measurements put back there."""
        sampler, sigma = self.recipe.sampler, pilots.noise.sqrt()
        generator = torch.Generator(back.device).manual_seed(self.recipe.noise_seed)

        def draw(like: Tensor) -> Tensor:
            # The same for every sample, so that none depends on its neighbours in the batch.
            one = torch.randn(like.shape[1:], dtype=like.dtype, generator=generator, device=like.device)
            return one.expand_as(like)

        match sampler:
            case Truncated():
                return truncated(self._denoised, back, geometric(1.0, _NEAR, sampler.steps).to(sigma)[:, None] * sigma)
            case MeanFlow():
                return one_step(lambda *at: (at[0] - self._clean(*at)) / at[1][:, None, None], back, sigma)
            case Langevin():
                levels = geometric(_FIRST, _LAST, sampler.levels)[:-1].tolist()
                start = _FIRST * draw(back)
                return langevin(self._denoised, pilots, start, levels, sampler.steps, sampler.size, draw)
            case Guided() | Projected():
                condition = guided if isinstance(sampler, Guided) else projected
                levels_of = geometric(_FIRST, _LAST, sampler.steps).to(sigma)[:, None].expand(-1, len(sigma))
                start = _FIRST * draw(back)
                return truncated(condition(self._denoised, pilots, sampler.solves), start, levels_of)

    def _denoised(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        return self._clean(noisy, sigma, sigma)

    def _clean(self, noisy: Tensor, sigma: Tensor, until: Tensor) -> Tensor:
        pairs = torch.view_as_real(noisy).contiguous()
        return torch.view_as_complex(self.network(pairs, sigma, until).contiguous())


def in_angle_and_delay(channels: Tensor) -> Tensor:
    """Channels complex [N, row, col, F] by discrete Fourier transforms: [N, angles, F], or [N, row, col] for one
    frequency; unitary."""
    if channels.shape[3] == 1:
        plain: Tensor = torch.fft.fft2(channels[..., 0], norm="ortho")
        return plain
    angles = torch.fft.fft2(channels, dim=(1, 2), norm="ortho")
    whole: Tensor = torch.fft.ifft(angles, dim=3, norm="ortho").flatten(1, 2)
    return whole


def out_of_angle_and_delay(samples: Tensor, size: tuple[int, int, int]) -> Tensor:
    """The inverse of :func:`in_angle_and_delay` for channels of ``size`` (rows, columns, frequencies)."""
    whole = samples.reshape(-1, *size)
    if size[2] > 1:
        whole = torch.fft.fft(whole, dim=3, norm="ortho")
    channels: Tensor = torch.fft.ifft2(whole, dim=(1, 2), norm="ortho")
    return channels


def answered(
    observation: Observation, name: str, device: torch.device, channels: Callable[[Wideband, Tensor, Tensor], Tensor]
) -> Complex:
    """What ``channels`` says of every moment and polarisation of every link, brought to about unit power and back.

    It is given measurements in complex64, the power [N] of their noise and the frequencies [F] less the carrier.
    """
    frames, rows, cols, frequencies = observation.grid.shape
    measured, exponents = measurements(observation)
    measured = moved(measured.of_type(torch.complex64), device)
    tones, copies = observation.grid.tones_hz, observation.grid.polarizations
    wanted = torch.from_numpy(tones - observation.grid.array.carrier_hz).to(device)
    power = measured.values.abs().double().square().sum((1, 2)) / measured.numbers
    noise = _UNTOLD * power
    if observation.noise is not None:
        told = torch.from_numpy(np.repeat(observation.noise, frames * copies)).to(device)
        # Noise is told of the values as they came, which may have been through weights of any norm.
        noise = torch.ldexp(told, -2 * exponents.to(device)) / measured.norm**2
    signal = torch.maximum(power - noise, _LEAST_SHARE * power)
    answer = torch.zeros(len(measured), rows * cols, len(tones), dtype=torch.complex64)
    heard = torch.nonzero(power > 0)[:, 0]
    for links in torch.split(heard, _LINKS_AT_ONCE) if len(heard) else ():
        root = signal[links].sqrt().float()[:, None, None]
        some = measured.select(links)
        some = replace(some, values=some.values / root)
        fields = channels(some, (noise[links] / signal[links]).float(), wanted) * root
        answer[links.cpu()] = times_power_of_two(fields.cpu(), exponents[links.cpu()])
    check_answer(answer.numpy(), name)
    whole = answer.numpy().reshape(-1, frames, copies, rows, cols, len(tones))
    return np.ascontiguousarray(np.moveaxis(whole, 2, 4)).reshape(-1, frames, rows, cols, frequencies)


def moved(measured: Wideband, device: torch.device) -> Wideband:
    """The same measurements on a device."""
    names = ("values", "projection", "place", "weight", "detuned_hz")
    tensors = {name: getattr(measured, name) for name in names}
    there: dict[str, Any] = {name: None if part is None else part.to(device) for name, part in tensors.items()}
    return replace(measured, **there)
