"""Whole frames from pilots on some subcarriers: LMMSE over frequency for a rectangular delay profile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.baselines.time.noise import estimate_noise
from channelfm.datasets.sequences import FIRST_ARRIVAL

Complex = NDArray[np.complex64]
Complex128 = NDArray[np.complex128]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_LEAST_LOADING = 1e-6  # relative to the power of an entry: keeps irregular patterns invertible


def complete_frames(past: Complex, mask: Bool, noise: Float | None = None) -> Complex:
    """Frames complex64 [N, T, row, col, F], from ``past`` where ``mask`` (bool, same shape) is True.

    Spectra with hidden frequencies are estimated R_ho (R_oo + w I)^-1 y, where R belongs to delays that are spread
    evenly over [-1/32, 1/S - 1/32) of the delay axis, S being the widest step between pilots, and w is the noise over
    the signal power of each sequence: the robust design of Edfors et al. 1998 (OFDM channel estimation by
    singular value decomposition). Full spectra are returned as they are. Where an antenna sees nothing in a frame, its
    nearest frame is held over, the earlier of two; where it never does, it is 0.

    ``noise`` float64 [N]: power per entry; estimated if not given.
    """
    if mask.all():
        return past
    noise = estimate_noise(past, mask) if noise is None else noise
    whole = np.zeros_like(past)
    patterns, group = _patterns(mask)
    power = np.sum(np.abs(past) ** 2, axis=(1, 2, 3, 4)) / mask.sum(axis=(1, 2, 3, 4))
    loading = np.maximum(noise / np.maximum(power - noise, 0.01 * power + np.finfo(float).tiny), _LEAST_LOADING)
    for number, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        where = group == number
        whole[where] = _interpolated(past[where], pattern, loading[np.nonzero(where)[0]])
    seen: Bool = np.asarray(np.any(mask, axis=4))
    return _held_over(whole, seen)


def _patterns(mask: Bool) -> tuple[Bool, NDArray[np.int64]]:
    """The distinct rows [P, F] of a mask [..., F], and which of them each one is, [...]."""
    first = mask[(0,) * (mask.ndim - 1)]
    if (mask == first).all():  # the usual comb needs no sorting
        return first[None], np.zeros(mask.shape[:-1], dtype=np.int64)
    patterns, group = np.unique(mask.reshape(-1, mask.shape[-1]), axis=0, return_inverse=True)
    return patterns, group.reshape(mask.shape[:-1])


def _interpolated(spectra: Complex, pattern: Bool, loading: Float) -> Complex:
    """Spectra [n, F] of which ``pattern`` [F] was observed, under relative noise powers [n]."""
    if pattern.all():
        return spectra
    seen = np.flatnonzero(pattern)
    step = int(np.diff(seen).max(initial=1))
    values, turn = np.linalg.eigh(_covariance(seen, seen, step))
    parts = (spectra[:, seen] @ turn.conj()) / (np.maximum(values, 0) + loading[:, None])
    return np.asarray(parts @ (_covariance(np.arange(len(pattern)), seen, step) @ turn).T, dtype=np.complex64)


def _covariance(left: NDArray[np.int64], right: NDArray[np.int64], step: int) -> Complex128:
    """Covariance of subcarriers ``left`` with ``right`` for unit power spread over the delays."""
    apart = left[:, None] - right[None, :]
    middle = 0.5 / step - FIRST_ARRIVAL
    return np.asarray(np.sinc(apart / step) * np.exp(-2j * np.pi * middle * apart))


def _held_over(frames: Complex, seen: Bool) -> Complex:
    """Frames [N, T, row, col, F] with each antenna's nearest seen frame where ``seen`` [N, T, row, col] is False."""
    if seen.all():
        return frames
    times = np.arange(frames.shape[1])
    apart = np.abs(times[:, None] - times).astype(float)  # argmin takes the earlier of two that are as near
    reach = np.where(seen[:, None], apart[None, :, :, None, None], np.inf)
    nearest = reach.argmin(axis=2)
    return np.take_along_axis(frames, nearest[..., None], axis=1)
