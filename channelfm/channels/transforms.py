"""Transforms of channels on a grid: angle and delay (exact, invertible), and range (polar domain).

Grids are [snapshot, row, column, frequency] as ``UPA.to_grid`` gives them; lengths are in wavelengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from channelfm.arrays import spherical_wave
from channelfm.errors import InputError

Float = NDArray[np.float64]
Power = NDArray[np.float32]
Complex = NDArray[np.complex64]


def angle_delay(grid: Complex) -> Complex:
    """Angle-delay spectrum of a channel grid, of the same shape and energy.

    A unitary DFT over rows and columns (bin k: k / N cycles per element, in FFT order) and a unitary inverse
    DFT over frequency: exp(-j 2 pi f tau) peaks at delay bin tau * F * spacing.
    """
    _check_grid(grid)
    return np.asarray(scipy.fft.ifft(scipy.fft.fft2(grid, axes=(1, 2), norm="ortho"), axis=3, norm="ortho"))


def from_angle_delay(spectrum: Complex) -> Complex:
    """Channel grid of an angle-delay spectrum; inverse of :func:`angle_delay`."""
    _check_grid(spectrum)
    return np.asarray(scipy.fft.ifft2(scipy.fft.fft(spectrum, axis=3, norm="ortho"), axes=(1, 2), norm="ortho"))


def matched_filter_power(grid: Complex, source_wavelengths: Float, spacing_wavelengths: float = 0.5) -> Float:
    """Power [snapshot, source] of a grid in the spherical waves of sources [N, 3], summed over frequency.

    Sources are in the array's local frame, in wavelengths. A channel that is one such wave gives all its
    energy: the waves are normalised to unit energy.
    """
    _check_grid(grid)
    rows, cols = grid.shape[1:3]
    sources = np.asarray(source_wavelengths, dtype=np.float64)
    if sources.ndim != 2 or sources.shape[1] != 3:
        raise InputError(f"sources of shape {sources.shape}: give [source, 3] positions in wavelengths")
    waves = spherical_wave(rows, cols, sources, spacing_wavelengths).reshape(len(sources), -1)
    flat = grid.reshape(grid.shape[0], rows * cols, grid.shape[3])
    projection = np.einsum("na,saf->snf", waves.conj(), flat, optimize=True)
    return np.asarray(np.sum(np.abs(projection) ** 2, axis=2) / (rows * cols))


def polar_ranges(count: int, aperture_wavelengths: float, coherence_parameter: float = 1.2) -> Float:
    """Ranges [count] in wavelengths, uniform in 1 / r from infinity inwards.

    r_s = D^2 / (2 beta^2 s), s = 0, 1, ...: Cui and Dai, "Channel estimation for extremely large-scale MIMO:
    far-field or near-field?" (2022), their polar-domain sampling at boresight. beta = 1.2 keeps the
    coherence of neighbouring rings near one half; a smaller beta samples more densely.
    """
    if count < 1 or not aperture_wavelengths >= 0 or not coherence_parameter > 0:
        raise InputError(
            f"{count} rings, aperture {aperture_wavelengths}, beta {coherence_parameter}: give positive ones"
        )
    with np.errstate(divide="ignore"):
        return np.asarray(aperture_wavelengths**2 / (2.0 * coherence_parameter**2) / np.arange(count))


@dataclass(frozen=True)
class PolarCodebook:
    """Polar-domain dictionary of a planar array, kept implicit: rings times an oversampled DFT.

    Atom (ring, ky, kx) at element (row, column) is w_ring[row, column] exp(j 2 pi (ky row / Ky + kx column / Kx))
    / sqrt(rows cols), where w_ring is the spherical wave of a source on boresight at the ring's range. The phase
    ramp turns it; the range that an atom focuses on at direction cosines (uy, uz) is r (1 - u^2) along each
    axis to second order, which is the sampling of Cui and Dai for a linear array.
    """

    rows: int
    cols: int
    ring_ranges_wavelengths: tuple[float, ...]
    oversampling: int
    spacing_wavelengths: float

    @property
    def bins(self) -> tuple[int, int]:
        """Numbers (Ky, Kx) of spatial frequencies along rows and columns; 1 along an axis of one element."""
        along_rows = 1 if self.rows == 1 else self.rows * self.oversampling
        along_cols = 1 if self.cols == 1 else self.cols * self.oversampling
        return along_rows, along_cols

    @property
    def num_atoms(self) -> int:
        """Number of atoms: rings * Ky * Kx."""
        return len(self.ring_ranges_wavelengths) * self.bins[0] * self.bins[1]

    def ring_wave(self, ring: int) -> Complex:
        """Spherical wave [rows, cols], of unit modulus, of the boresight source of a ring."""
        distance = self.ring_ranges_wavelengths[ring]
        if np.isinf(distance):
            return np.ones((self.rows, self.cols), dtype=np.complex64)
        source = np.array([distance, 0.0, 0.0])
        return spherical_wave(self.rows, self.cols, source, self.spacing_wavelengths).astype(np.complex64)

    def atoms(self, ring: NDArray[np.int64], ky: NDArray[np.int64], kx: NDArray[np.int64]) -> Complex:
        """Unit-norm atoms [N, rows, cols] for indices [N] of ring and spatial frequencies."""
        rows, cols = np.arange(self.rows), np.arange(self.cols)
        bins_y, bins_x = self.bins
        along_rows = np.exp(2j * np.pi * np.outer(ky, rows) / bins_y)
        along_cols = np.exp(2j * np.pi * np.outer(kx, cols) / bins_x)
        waves = np.stack([self.ring_wave(index) for index in range(len(self.ring_ranges_wavelengths))])[ring]
        ramps = along_rows[:, :, None] * along_cols[:, None, :]
        return np.asarray((waves * ramps / np.sqrt(self.rows * self.cols)).astype(np.complex64))

    def correlate(self, grid: Complex, ring: int) -> Complex:
        """Inner products <atom, h> [snapshot, ky, kx, frequency] of a grid with one ring's atoms, by FFT."""
        _check_grid(grid)
        if grid.shape[1:3] != (self.rows, self.cols):
            raise InputError(f"grid of shape {grid.shape}: give [snapshot, {self.rows}, {self.cols}, frequency]")
        flattened = grid * self.ring_wave(ring).conj()[None, :, :, None]
        spectrum = scipy.fft.fft2(flattened, s=self.bins, axes=(1, 2))
        return np.asarray(spectrum / np.float32(np.sqrt(self.rows * self.cols)))

    def spectrum(self, grid: Complex) -> Power:
        """Power [snapshot, ring, ky, kx] in every atom, summed over frequency."""
        rings = range(len(self.ring_ranges_wavelengths))
        return np.stack([np.sum(np.abs(self.correlate(grid, ring)) ** 2, axis=3) for ring in rings], axis=1)


def polar_codebook(
    rows: int, cols: int, rings: int, oversampling: int = 1, spacing_wavelengths: float = 0.5
) -> PolarCodebook:
    """Polar codebook of an array: ``rings`` ranges by :func:`polar_ranges` over its longer side."""
    if rows < 1 or cols < 1 or oversampling < 1:
        raise InputError(f"{rows} x {cols} elements, oversampling {oversampling}: give numbers of at least 1")
    ranges = polar_ranges(rings, max(rows, cols) * spacing_wavelengths)
    return PolarCodebook(rows, cols, tuple(ranges.tolist()), oversampling, spacing_wavelengths)


def polar_spectrum(
    grid: Complex, ring_ranges_wavelengths: Float, oversampling: int = 1, spacing_wavelengths: float = 0.5
) -> Power:
    """Power [snapshot, ring, ky, kx] of a grid in a polar codebook of given ranges (infinity: plane waves)."""
    _check_grid(grid)
    ranges = tuple(float(value) for value in np.atleast_1d(ring_ranges_wavelengths))
    if oversampling < 1 or not ranges or not all(value > 0 for value in ranges):
        raise InputError(
            f"rings {ranges}, oversampling {oversampling}: give positive ranges and a factor of at least 1"
        )
    return PolarCodebook(grid.shape[1], grid.shape[2], ranges, oversampling, spacing_wavelengths).spectrum(grid)


def _check_grid(grid: Complex) -> None:
    if grid.ndim != 4 or 0 in grid.shape[1:]:
        raise InputError(f"grid of shape {grid.shape}: give [snapshot, row, column, frequency]")
