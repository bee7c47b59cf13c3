"""Antenna arrays: element positions, orientation, element patterns and codebooks.

The local frame of an array has its boresight along +x and its elements in the y-z plane:
columns run along +y, rows along +z (system model of LAETwin-XL, eq. 1). Antenna ``m`` of a flat
antenna axis is row ``m // cols``, column ``m % cols``; row 0 is the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError
from channelfm.units import rayleigh_distance, wavelength

ElementPattern = Literal["tr38901", "isotropic", "dipole"]
Polarization = Literal["V", "H", "VH", "cross"]


@dataclass(frozen=True)
class UPA:
    """Uniform planar array.

    Attributes
    ----------
    rows, cols : number of elements along local z and local y, >= 1.
    carrier_hz : carrier frequency [Hz].
    position : array centre [m] in the scene's frame.
    spacing_wavelengths : element spacing in both directions, in carrier wavelengths.
    orientation_rad : (yaw, pitch, roll) [rad]: rotation about z, then y, then x (Sionna's order);
        positive pitch turns the boresight downwards.
    pattern, polarization : element pattern and its polarisation. "VH" and "cross" (slants of -45 and +45 degrees)
        put two antennas at every element: the antenna axis then holds all elements of the first polarisation,
        followed by all of the second.

    Raises
    ------
    InputError : on fewer than one element, a carrier or spacing that is not positive and finite, a position or
        orientation that is not three finite numbers, and a pattern or polarisation that is none of these.
    """

    rows: int
    cols: int
    carrier_hz: float
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spacing_wavelengths: float = 0.5
    orientation_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pattern: ElementPattern = "tr38901"
    polarization: Polarization = "V"

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise InputError(f"array of {self.rows} x {self.cols} elements: give rows and cols of at least 1")
        if not 0 < self.carrier_hz < np.inf:
            raise InputError(f"carrier_hz = {self.carrier_hz}: give a positive frequency in Hz, e.g. 7e9")
        if not 0 < self.spacing_wavelengths < np.inf:
            raise InputError(f"spacing_wavelengths = {self.spacing_wavelengths}: give a positive spacing, e.g. 0.5")
        if len(self.position) != 3 or not np.all(np.isfinite(self.position)):
            raise InputError(f"array position {self.position}: give three finite coordinates in metres")
        if len(self.orientation_rad) != 3 or not np.all(np.isfinite(self.orientation_rad)):
            raise InputError(f"orientation_rad = {self.orientation_rad}: give yaw, pitch and roll, finite, in radians")
        check_choice("pattern", self.pattern, ElementPattern)
        check_choice("polarization", self.polarization, Polarization)

    @classmethod
    def of_plain(cls, values: dict[str, Any]) -> Self:
        """The array of JSON values: those of its fields, lists for tuples."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**fields)

    @property
    def num_elements(self) -> int:
        """Number of elements M = rows * cols."""
        return self.rows * self.cols

    @property
    def num_polarizations(self) -> int:
        """1, or 2 for "VH" and "cross"."""
        return 2 if self.polarization in ("VH", "cross") else 1

    @property
    def num_antennas(self) -> int:
        """Length A of the antenna axis: elements times polarisations."""
        return self.num_elements * self.num_polarizations

    @property
    def wavelength_m(self) -> float:
        """Carrier wavelength [m]."""
        return wavelength(self.carrier_hz)

    @property
    def spacing_m(self) -> float:
        """Element spacing [m]."""
        return self.spacing_wavelengths * self.wavelength_m

    @property
    def aperture_m(self) -> float:
        """Diagonal of the array between its outermost elements [m]."""
        return float(np.hypot(self.rows - 1, self.cols - 1) * self.spacing_m)

    @property
    def rayleigh_distance_m(self) -> float:
        """Rayleigh distance 2 D^2 / lambda [m] of the diagonal aperture D."""
        return rayleigh_distance(self.aperture_m, self.wavelength_m)

    @cached_property
    def rotation(self) -> NDArray[np.float64]:
        """Rotation matrix [3, 3] from the array's local frame to the scene's."""
        return rotation_matrix(self.orientation_rad)

    @cached_property
    def element_offsets(self) -> NDArray[np.float64]:
        """Element offsets from the array centre [M, 3] in m, in the scene's frame."""
        row, col = np.divmod(np.arange(self.num_elements), self.cols)
        local = np.zeros((self.num_elements, 3))
        local[:, 1] = (col - (self.cols - 1) / 2) * self.spacing_m
        local[:, 2] = (row - (self.rows - 1) / 2) * self.spacing_m
        return np.asarray(local @ self.rotation.T)

    @property
    def antenna_offsets(self) -> NDArray[np.float64]:
        """Offsets [A, 3] in m of all antennas: the elements', once per polarisation."""
        return np.tile(self.element_offsets, (self.num_polarizations, 1))

    @property
    def element_positions(self) -> NDArray[np.float64]:
        """Element positions [M, 3] in m, in the scene's frame."""
        return np.asarray(self.position, dtype=np.float64) + self.element_offsets

    def to_grid(self, response: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """[snapshot, antenna, frequency] -> [snapshot, row, column, polarisation x frequency].

        The second of two polarisations follows the frequencies of the first: to a predictor both are narrow-band
        samples of the same array.
        """
        if response.ndim != 3 or response.shape[1] != self.num_antennas:
            raise InputError(
                f"channel of shape {response.shape} does not fit {self.rows} x {self.cols} elements: "
                f"give [snapshot, {self.num_antennas}, frequency]"
            )
        split = response.reshape(len(response), self.num_polarizations, self.rows, self.cols, response.shape[2])
        folded = self.num_polarizations * response.shape[2]
        return np.moveaxis(split, 1, 3).reshape(len(response), self.rows, self.cols, folded)

    def from_grid(self, grid: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """[snapshot, row, column, polarisation x frequency] -> [snapshot, antenna, frequency]; undoes ``to_grid``."""
        if grid.ndim != 4 or grid.shape[1:3] != (self.rows, self.cols) or grid.shape[3] % self.num_polarizations:
            raise InputError(f"grid of shape {grid.shape}: give [snapshot, {self.rows}, {self.cols}, frequency]")
        frequencies = grid.shape[3] // self.num_polarizations
        split = grid.reshape(*grid.shape[:3], self.num_polarizations, frequencies)
        return np.moveaxis(split, 3, 1).reshape(len(grid), self.num_antennas, frequencies)

    def view_angles(self, positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance [m], azimuth and elevation [rad] of points [..., 3] seen in the array's frame: [..., 3]."""
        local = (positions_m - np.asarray(self.position)) @ self.rotation
        horizontal = np.hypot(local[..., 0], local[..., 1])
        return np.stack(
            [
                np.linalg.norm(local, axis=-1),
                np.arctan2(local[..., 1], local[..., 0]),
                np.arctan2(local[..., 2], horizontal),
            ],
            axis=-1,
        )


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise InputError unless a value is one of a Literal's."""
    if value not in get_args(choices):
        raise InputError(f"{name} = '{value}': give one of {', '.join(map(repr, get_args(choices)))}")


def ULA(  # noqa: N802  (the field's name; a linear array is a planar one with a single row)
    elements: int,
    carrier_hz: float,
    position: tuple[float, float, float] = (0.0, 0.0, 0.0),
    spacing_wavelengths: float = 0.5,
    orientation_rad: tuple[float, float, float] = (0.0, 0.0, 0.0),
    pattern: ElementPattern = "tr38901",
    polarization: Polarization = "V",
) -> UPA:
    """Uniform linear array along local y: a :class:`UPA` with one row."""
    return UPA(1, elements, carrier_hz, position, spacing_wavelengths, orientation_rad, pattern, polarization)


def rotation_matrix(orientation_rad: tuple[float, float, float]) -> NDArray[np.float64]:
    """Rotation [3, 3] = Rz(yaw) Ry(pitch) Rx(roll) (TR 38.901, eq. 7.1-2)."""
    yaw, pitch, roll = orientation_rad
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return np.asarray(about_z @ about_y @ about_x)


def element_amplitude(
    pattern: ElementPattern, zenith_rad: NDArray[np.float64], azimuth_rad: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Field amplitude (square root of the gain over isotropic) of a vertically polarised element.

    Shapes broadcast; angles are in the element's own frame, zenith from +z, azimuth from +x.
    ``tr38901`` is TR 38.901 table 7.3-1 (8 dBi, 65 degree beams, 30 dB floor); ``dipole`` is the short
    dipole along z (1.76 dBi).
    """
    if pattern == "isotropic":
        return np.ones(np.broadcast_shapes(np.shape(zenith_rad), np.shape(azimuth_rad)))
    if pattern == "dipole":
        return np.asarray(np.sqrt(1.5) * np.abs(np.sin(zenith_rad)) * np.ones_like(azimuth_rad))
    beamwidth, floor_db, peak_dbi = np.deg2rad(65.0), 30.0, 8.0
    vertical = np.minimum(12.0 * ((zenith_rad - np.pi / 2) / beamwidth) ** 2, floor_db)
    horizontal = np.minimum(12.0 * (azimuth_rad / beamwidth) ** 2, floor_db)
    gain_db = peak_dbi - np.minimum(vertical + horizontal, floor_db)
    return np.asarray(10.0 ** (gain_db / 20.0))


def dft_codebook(elements: int, oversampling: int = 1) -> NDArray[np.complex64]:
    """Unit-norm plane-wave steering vectors [elements, elements * oversampling] on a uniform grid of
    spatial frequencies in [-1/2, 1/2) cycles per element."""
    spatial = np.arange(elements * oversampling) / (elements * oversampling) - 0.5
    steering = np.exp(2j * np.pi * np.outer(np.arange(elements), spatial)) / np.sqrt(elements)
    return np.asarray(steering, dtype=np.complex64)


def spherical_wave(
    rows: int, cols: int, source_wavelengths: NDArray[np.float64], spacing_wavelengths: float = 0.5
) -> NDArray[np.complex128]:
    """Unit-modulus spherical waves exp(-j 2 pi (|s - e_m| - |s|) / lambda) over a planar array.

    ``source_wavelengths`` [..., 3] are source positions in the array's local frame, in wavelengths; the
    result is [..., rows, cols], with phase zero at the array centre. (SPEC 1: exact element distances.)
    """
    y = (np.arange(cols) - (cols - 1) / 2) * spacing_wavelengths
    z = (np.arange(rows) - (rows - 1) / 2) * spacing_wavelengths
    source = np.asarray(source_wavelengths, dtype=np.float64)[..., None, None, :]
    distance = np.sqrt(source[..., 0] ** 2 + (source[..., 1] - y[None, :]) ** 2 + (source[..., 2] - z[:, None]) ** 2)
    centre = np.linalg.norm(source, axis=-1)
    return np.asarray(np.exp(-2j * np.pi * (distance - centre)))
