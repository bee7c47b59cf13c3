"""What estimators have in common that see all subcarriers at once through RF chains: users of a cell, scale, waves."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from channelfm.errors import InputError
from channelfm.estimator import ChannelEstimator
from channelfm.observation import Combining, Complex, Observation
from channelfm.waves.received import Received, brought_to_unit_norm, same_weights
from channelfm.waves.scale import at_unit_scale


class SimultaneousEstimator(ChannelEstimator):
    """Estimates all subcarriers of a link together from what RF chains measured; every frame is a link of its own.

    Links through the same weights, the users of a cell, are answered together, since what takes time depends on the
    weights. Subclasses give ``name`` and :meth:`channels`, which meets measurements at unit scale.
    ``links_at_once`` bounds the memory.
    """

    links_at_once = 16

    def __init__(self, spacing_wavelengths: float | None = None) -> None:
        self.spacing_wavelengths = spacing_wavelengths

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        if not isinstance(observation.operator, Combining):
            raise InputError(f"'{self.name}' is for RF chains, not for single entries of the channel")

    @torch.inference_mode()
    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`; where nothing but zeros was measured the answer is zero."""
        self.check(observation)
        operator, (frames, rows, cols, frequencies) = observation.operator, observation.grid.shape
        assert isinstance(operator, Combining)  # checked
        answer = torch.zeros(len(observation) * frames, rows * cols, frequencies, dtype=torch.complex64)
        array = observation.grid.array
        about = (rows, cols, array.spacing_wavelengths, array.carrier_hz)
        detuned = torch.from_numpy(observation.grid.frequencies_hz - array.carrier_hz)
        for links, weights in same_weights(operator, len(observation)):
            samples = torch.from_numpy((links[:, None] * frames + np.arange(frames)).reshape(-1))
            values = torch.from_numpy(observation.values[links]).flatten(0, 1)
            heard = (values != 0).flatten(1).any(1)
            unit, brought = brought_to_unit_norm(weights)

            def channels(values: Tensor, unit: Tensor = unit, brought: Tensor = brought) -> Tensor:
                received = brought @ values.to(brought.dtype)
                return self.channels(Received(received, unit, detuned, *about))

            for part in torch.split(torch.nonzero(heard)[:, 0], self.links_at_once):
                if len(part):
                    answer[samples[part]] = at_unit_scale(channels, values[part])
        shaped = answer.numpy().reshape(len(observation), frames, rows, cols, frequencies)
        return np.ascontiguousarray(shaped)

    @abstractmethod
    def channels(self, received: Received) -> Tensor:
        """Channels complex [n, rows * cols, F] of links of which something was measured that is not zero."""
