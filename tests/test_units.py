import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelfm import units


def test_wavelength_at_7_ghz():
    assert units.wavelength(7e9) == pytest.approx(0.042827494, rel=1e-8)


def test_rayleigh_distance_of_a_64x64_array_at_7_ghz_is_about_170_m():
    # SPEC 1: D_R of about 170 m; the diagonal between outermost elements is 63 sqrt(2) lambda/2
    wavelength = units.wavelength(7e9)
    aperture = 63 * math.sqrt(2) * wavelength / 2
    assert units.rayleigh_distance(aperture, wavelength) == pytest.approx(170, abs=0.1)


@given(st.floats(-200, 200))
def test_decibels_there_and_back(decibel):
    assert units.power_to_db(units.db_to_power(decibel)) == pytest.approx(decibel, abs=1e-9)


def test_known_decibels():
    np.testing.assert_allclose(units.power_to_db([1.0, 10.0, 2.0]), [0.0, 10.0, 3.0103], atol=1e-4)
    assert units.power_to_db(0.0) == -np.inf


@given(st.floats(-1e4, 1e4))
def test_wrapped_angle_is_the_same_direction_and_in_range(angle):
    wrapped = float(units.wrap_angle(angle))
    assert -math.pi <= wrapped < math.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-8)
    assert math.sin(wrapped) == pytest.approx(math.sin(angle), abs=1e-8)
