"""What the classical sequence predictors share: angle-delay bins, patterns of pilots, and a bound on energies."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex64]
Complex128 = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]

AT_ONCE = 32  # sequences computed together, which bounds the memory
MOST_GROWTH = 2.0  # by how much the energy of a predicted frame may exceed that of the strongest past frame


def to_bins(frames: Complex) -> Complex128:
    """Angle-delay bins complex128 [N, T, row, col, F] of frames of that shape, by unitary transforms."""
    beams = np.fft.fft2(frames.astype(np.complex128), axes=(2, 3), norm="ortho")
    return np.asarray(np.fft.ifft(beams, axis=4, norm="ortho"))


def from_bins(bins: Complex128) -> Complex:
    """Frames complex64 of angle-delay bins; inverse of :func:`to_bins`."""
    beams = np.fft.fft(bins, axis=4, norm="ortho")
    return np.asarray(np.fft.ifft2(beams, axes=(2, 3), norm="ortho"), dtype=np.complex64)


def bounded(prediction: Complex, past: Complex) -> Complex:
    """Predicted frames [N, H, row, col, F], those scaled down whose energy is above twice the largest of ``past``.

    Waves that interfere may raise the energy of a whole frame, but hardly beyond that; errors of a fit may.
    """
    most = MOST_GROWTH * np.sum(np.abs(past) ** 2, axis=(2, 3, 4), dtype=np.float64).max(axis=1)[:, None]
    energy = np.sum(np.abs(prediction) ** 2, axis=(2, 3, 4), dtype=np.float64)
    scale = np.sqrt(np.minimum(most, energy) / np.where(energy > 0, energy, 1))
    return np.asarray(prediction * scale[:, :, None, None, None], dtype=np.complex64)


def in_parts(
    predict: Callable[[Complex, Float, int], Complex128], frames: Complex, noise: Float, horizon: int
) -> Complex:
    """Frames complex64 [N, horizon, row, col, F] after complete ones, bounded: ``predict`` makes their angle-delay bins
    of frames, noise power [N] per entry and horizon, for 32 sequences at a time.
    """
    future = np.zeros((len(frames), horizon, *frames.shape[2:]), dtype=np.complex64)
    for first in range(0, len(frames), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        future[part] = from_bins(predict(frames[part], noise[part], horizon))
    return bounded(future, frames)


def seen_in_common(mask: NDArray[np.bool_]) -> Iterator[tuple[Int, Int, Int]]:
    """Groups of sequences that share pilots, of a mask [N, T, row, col, F].

    Each is (sequences, frames, frequencies): the frames in which anything is seen, and the frequencies that are seen at
    all antennas of all these frames; perhaps none.
    """
    frames: NDArray[np.bool_] = np.any(mask, axis=(2, 3, 4))
    everywhere = np.all(np.all(mask, axis=(2, 3)) | ~frames[:, :, None], axis=1)
    patterns, group = np.unique(np.concatenate([frames, everywhere], axis=1), axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        chosen = np.flatnonzero(group.reshape(-1) == number)
        yield chosen, np.flatnonzero(pattern[: frames.shape[1]]), np.flatnonzero(pattern[frames.shape[1] :])
