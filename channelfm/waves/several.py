"""A few spherical waves per sample: greedy search with cyclic refinement (RELAX, Li and Stoica 1996).

A light, batched relative of the off-grid estimator: a fixed number of waves, gains that may slope linearly over the
aperture, no model order. It serves the canonical frame, where what it misses is left for the network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from channelfm.waves.spherical import (
    element_coordinates,
    gauss_newton_step,
    largest_inverse_range,
    move_in_front,
    search_grid,
    wave_of,
)

_SEARCH_RANGES = 6
_SEARCH_OVERSAMPLING = 1.0
# Ridge on the gains, relative to the observed antennas: bounds waves that can hardly be told apart, and asks for
# more evidence before a gain slopes.
_RIDGE_CONSTANT, _RIDGE_SLOPE = 1e-3, 1e-2


def fit_waves(
    observed: Tensor, mask: Tensor, waves: int, spacing_wavelengths: float = 0.5, newest_steps: int = 2
) -> tuple[Tensor, Tensor]:
    """Decompose complex64 [N, rows, cols] seen where bool ``mask`` is True into ``waves`` spherical waves.

    Returns the fields of the waves over the whole array, complex64 [N, waves, rows, cols] (gain times wave), and their
    gains at the array centre, complex64 [N, waves]. A sample that holds fewer waves gets weak ones; one with few
    antennas gets gains shrunk towards zero.
    """
    field = torch.where(mask, observed, 0)
    seen = mask.expand_as(observed).to(torch.float32)
    count, rows, cols = field.shape
    slopes = _gain_functions(rows, cols, field.device)
    parameters = torch.zeros(count, 0, 3, device=field.device)
    basis = parts = torch.zeros(count, 0, rows, cols, dtype=torch.complex64, device=field.device)
    gains = torch.zeros(count, 0, dtype=torch.complex64, device=field.device)
    for number in range(1, waves + 1):
        rest = field - seen * parts.sum(1)
        sines, inverse_range = search_grid(rest, spacing_wavelengths, _SEARCH_RANGES, _SEARCH_OVERSAMPLING, 1)
        newest = torch.cat([sines, inverse_range[..., None]], dim=-1)[:, 0]
        wave = wave_of(newest, rows, cols, spacing_wavelengths)
        for _ in range(newest_steps):
            newest, wave = _improve(rest, seen, newest, wave, spacing_wavelengths)
        parameters = torch.cat([parameters, newest[:, None]], dim=1)
        basis = torch.cat([basis, wave[:, None]], dim=1)
        parts, gains = _joint_gains(field, seen, basis, slopes)
        # All waves move again whenever their number has doubled, and at the end.
        if number > 1 and (number == waves or number & (number - 1) == 0):
            for k in range(number):
                rest = field - seen * (parts.sum(1) - parts[:, k])
                parameters[:, k], basis[:, k] = _improve(rest, seen, parameters[:, k], basis[:, k], spacing_wavelengths)
            parts, gains = _joint_gains(field, seen, basis, slopes)
    return parts, gains


def _improve(rest: Tensor, seen: Tensor, parameters: Tensor, wave: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """Move one wave [N, 3] by a Gauss-Newton step towards what the others leave, where that explains more of it."""
    rows, cols = rest.shape[1:]
    y, z = element_coordinates(rows, cols, spacing, rest.device)
    step, gain = gauss_newton_step(rest, seen, parameters, y, z)
    trial = move_in_front(parameters + step, largest_inverse_range(rows, cols, spacing))
    moved = wave_of(trial, rows, cols, spacing)
    moved_gain = (rest * moved.conj()).sum((1, 2)) / seen.sum((1, 2)).clamp_min(1)
    better = moved_gain.abs() > gain.abs()
    return torch.where(better[:, None], trial, parameters), torch.where(better[:, None, None], moved, wave)


def _gain_functions(rows: int, cols: int, device: torch.device) -> Tensor:
    """1, y and z over the array, of unit RMS and without those that a single row or column cannot tell: [P, r, c]."""
    functions = [torch.ones(rows, cols, device=device)]
    for axis in element_coordinates(rows, cols, 1.0, device):
        if axis.numel() > 1:
            functions.append((axis / axis.square().mean().sqrt()).expand(rows, cols))
    return torch.stack(functions)


def _joint_gains(field: Tensor, seen: Tensor, basis: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge least squares of all gain coefficients together: wave fields [N, K, rows, cols], centre gains [N, K]."""
    count, waves = basis.shape[:2]
    columns = (basis[:, :, None] * slopes).flatten(3)
    visible = (columns * seen.flatten(1)[:, None, None]).flatten(1, 2)
    adjoint = visible.conj()
    gram = (adjoint @ visible.mT).to(torch.complex128)
    right = (adjoint @ field.flatten(1)[..., None]).to(torch.complex128)
    ridge = torch.full((len(slopes),), _RIDGE_SLOPE, dtype=torch.float64, device=field.device)
    ridge[0] = _RIDGE_CONSTANT
    damping = ridge.repeat(waves) * seen.sum((1, 2)).double().clamp_min(1)[:, None]
    solution = torch.linalg.solve(gram + torch.diag_embed(damping.to(torch.complex128)), right)[..., 0]
    coefficients = solution.to(torch.complex64).unflatten(1, (waves, -1))
    parts = (coefficients[:, :, None] @ columns)[:, :, 0].reshape(count, waves, *field.shape[1:])
    return parts, coefficients[:, :, 0]
