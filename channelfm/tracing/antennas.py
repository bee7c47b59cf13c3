"""Polarised antenna patterns in the scene's frame, and the orientation that looks at a point."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import ElementPattern, Polarization, check_choice, element_amplitude

Float = NDArray[np.float64]
UserPolarization = Literal["V", "H"]

# Slant [rad] of each antenna at an element, in the order of the antenna axis.
SLANTS: dict[Polarization, tuple[float, ...]] = {
    "V": (0.0,),
    "H": (np.pi / 2,),
    "VH": (0.0, np.pi / 2),
    "cross": (-np.pi / 4, np.pi / 4),
}
VERTICAL_TOLERANCE = 1e-5  # a horizontal part below this share counts as looking straight up or down


def check_user_antenna(pattern: ElementPattern, polarization: UserPolarization) -> None:
    """Raise InputError on a pattern or polarisation that users' antennas do not have."""
    check_choice("user_pattern", pattern, ElementPattern)
    check_choice("user_polarization", polarization, UserPolarization)


def look_at_angles(position_m: Float, target_m: Float) -> tuple[float, float, float]:
    """(yaw, pitch, roll) [rad] that turn local +x from a position [3] towards a target [3].

    Roll is zero, so local z stays in the vertical plane of the view; yaw is zero when the view is vertical.
    (The rule of Sionna RT's ``look_at``.) The two points must differ.
    """
    x, y, z = np.asarray(target_m, dtype=np.float64) - np.asarray(position_m, dtype=np.float64)
    horizontal = np.hypot(x, y)
    yaw = 0.0 if horizontal < VERTICAL_TOLERANCE * np.hypot(horizontal, z) else float(np.arctan2(y, x))
    return yaw, float(np.arctan2(horizontal, z) - np.pi / 2), 0.0


def field_pattern(pattern: ElementPattern, slant_rad: float, rotation: Float, directions: Float) -> Float:
    """Field vectors [N, 3] of an antenna towards unit ``directions`` [N, 3], both in the scene's frame.

    ``rotation`` [3, 3] takes the antenna's frame to the scene's. The vector is the pattern's amplitude times
    cos(slant) along the antenna's own zenith and sin(slant) along its azimuth unit vector: TR 38.901, polarisation
    model 2 (eq. 7.3-4 and 7.3-5).
    """
    local = directions @ rotation
    horizontal = np.hypot(local[:, 0], local[:, 1])
    zenith = np.arctan2(horizontal, local[:, 2])
    azimuth = np.where(horizontal > 0.0, np.arctan2(local[:, 1], local[:, 0]), 0.0)
    cosine, sine = np.cos(azimuth), np.sin(azimuth)
    along_zenith = np.stack([np.cos(zenith) * cosine, np.cos(zenith) * sine, -np.sin(zenith)], axis=-1)
    along_azimuth = np.stack([-sine, cosine, np.zeros_like(sine)], axis=-1)
    unit = np.cos(slant_rad) * along_zenith + np.sin(slant_rad) * along_azimuth
    return np.asarray((element_amplitude(pattern, zenith, azimuth)[:, None] * unit) @ rotation.T)
