"""The field of a few spherical waves over the whole array: what the canonical frame subtracts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from channelfm.waves.geometry import coordinates, waves_at
from channelfm.waves.greedy import FoundWaves, gain_functions
from channelfm.waves.search import search_waves


class ExpectedField(NamedTuple):
    """Expected field of the waves of N observations: ``total`` complex64 [N, rows, cols]; ``strongest`` alike, of the
    strongest wave; ``doubt`` float32 [N]: RMS over the array of what their uncertainty may hide. All are 0 where
    nothing was found."""

    total: Tensor
    strongest: Tensor
    doubt: Tensor


def fit_waves(observed: Tensor, mask: Tensor, waves: int, spacing_wavelengths: float) -> ExpectedField:
    """The expected field of at most ``waves`` waves of complex64 [N, rows, cols] seen where bool ``mask`` is True."""
    found = search_waves(observed, mask.expand_as(observed), spacing_wavelengths, waves)
    rows, cols = observed.shape[1:]
    return expected_field(found, rows, cols, spacing_wavelengths)


def expected_field(found: FoundWaves, rows: int, cols: int, spacing_wavelengths: float) -> ExpectedField:
    """The expected field of waves (:func:`channelfm.waves.search.search_waves`) over an array.

    The field of a wave is its probability times gain times wave, times exp(-deviation^2 / 2) of its phase: what is
    expected of it where the observed antennas leave the source uncertain, far from a small sub-array say.
    """
    count = len(found.present)
    y, z = coordinates(rows, cols, spacing_wavelengths, found.gains.device, torch.float32)
    functions = gain_functions(y, z, rows, cols, spacing_wavelengths)
    heard, sample = found.together(), torch.nonzero(found.present)[:, 0]
    fields = waves_at(heard.sources, y, z)[0] * (heard.gains[0] @ functions[0].to(torch.complex64))
    probability = heard.probability[0][:, None]
    share = probability * torch.exp(-heard.phase_deviation(y, z)[0].square() / 2)
    hidden = (fields.abs().square() * (probability - share.square())).mean(1)
    fields = fields * share
    total = fields.new_zeros(count, rows * cols).index_add_(0, sample, fields)
    size = (found.gains[..., 0].abs() * found.probability)[found.present]
    largest = size.new_zeros(count).scatter_reduce_(0, sample, size, "amax")
    chosen = size == largest[sample]
    strongest = torch.zeros_like(total)
    strongest[sample[chosen]] = fields[chosen]
    doubt = hidden.new_zeros(count).index_add_(0, sample, hidden).clamp_min(0).sqrt()
    return ExpectedField(total.reshape(count, rows, cols), strongest.reshape(count, rows, cols), doubt)
