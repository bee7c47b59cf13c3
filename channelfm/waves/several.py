"""A few spherical waves per sample, as fields over the whole array: what the canonical frame subtracts."""

from __future__ import annotations

import torch
from torch import Tensor

from channelfm.waves.greedy import SeenAntennas, find_waves, gain_functions, phasors
from channelfm.waves.spherical import element_coordinates

_ANTENNAS = 512  # observed antennas that are looked at


def fit_waves(
    observed: Tensor, mask: Tensor, waves: int, spacing_wavelengths: float = 0.5
) -> tuple[Tensor, Tensor, Tensor]:
    """Decompose complex64 [N, rows, cols] seen where bool ``mask`` is True into at most ``waves`` spherical waves.

    Returns the fields of the waves over the whole array, complex64 [N, waves, rows, cols], and their gains at the array
    centre, complex64 [N, waves]; 0 where a sample holds fewer waves (see :func:`channelfm.waves.greedy.find_waves`). A
    field is gain times wave, times exp(-deviation^2 / 2) of its phase: what is expected of it where the observed
    antennas leave the source uncertain, far from a small sub-array say. The third result, float32 [N], is the RMS over
    the array of what this uncertainty may hide.
    """
    rows, cols = observed.shape[1:]
    antennas = SeenAntennas.gather(observed, mask.expand_as(observed), spacing_wavelengths, _ANTENNAS)
    found = find_waves(antennas, waves)
    y, z = element_coordinates(rows, cols, spacing_wavelengths, observed.device)
    y, z = (axis.expand(rows, cols).reshape(1, -1) for axis in (y, z))
    functions = gain_functions(y, z, rows, cols, spacing_wavelengths)
    parts = torch.zeros(*found.present.shape, rows, cols, dtype=torch.complex64, device=observed.device)
    heard = found.together()
    fields = phasors(heard.sources, y, z)[0] * (heard.gains[0] @ functions[0].to(torch.complex64))
    expected = torch.exp(-heard.phase_deviation(y, z)[0].square() / 2)
    parts[found.present] = (fields * expected).reshape(-1, rows, cols)
    hidden = torch.zeros_like(found.gains[..., 0].real)
    hidden[found.present] = (fields.abs().square() * (1 - expected.square())).mean(1)
    return parts, found.gains[..., 0], hidden.sum(1).sqrt()
