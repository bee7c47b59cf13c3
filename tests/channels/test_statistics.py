"""Statistics of channels against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import j0

from channelfm.channels.statistics import (
    angular_spread,
    doppler_spectrum,
    power_delay_profile,
    rician_k,
    rms_delay_spread,
    temporal_autocorrelation,
)
from channelfm.errors import InputError


def test_two_equal_paths_spread_by_half_their_distance():
    assert rms_delay_spread([1e-6, 3e-6], [2.0, 2.0]) == pytest.approx(1e-6)
    assert rms_delay_spread([[0.0, 4.0], [0.0, 4.0]], [[1.0, 3.0], [1.0, 0.0]]) == pytest.approx([np.sqrt(3.0), 0.0])


def test_an_exponential_profile_spreads_by_its_time_constant():
    delay = np.arange(100_000) * 1e-9
    assert rms_delay_spread(delay, np.exp(-delay / 2e-6)) == pytest.approx(2e-6, rel=1e-3)


@pytest.mark.parametrize("statistic", [rms_delay_spread, angular_spread])
@pytest.mark.parametrize("power", [[0.0, 0.0], [1.0, -0.5]])
def test_profiles_without_power_are_refused(statistic, power):
    with pytest.raises(InputError, match="some power in every profile"):
        statistic([0.0, 1.0], power)


def test_narrow_angular_spread_is_the_root_mean_square():
    assert angular_spread([-0.01, 0.01], [1.0, 1.0]) == pytest.approx(0.01, rel=1e-4)


def test_opposite_rays_have_no_mean_direction():
    assert angular_spread([0.0, np.pi], [1.0, 1.0]) > 8.0


@given(
    angles=arrays(np.float64, 6, elements=st.floats(-np.pi, np.pi)),
    power=arrays(np.float64, 6, elements=st.floats(0.1, 1.0)),
    turn=st.floats(-10.0, 10.0),
)
def test_angular_spread_does_not_depend_on_the_zero_of_the_angle(angles, power, turn):
    # nearly equal angles have a resultant near 1, where rounding of 1e-16 is 1e-8 in the spread
    assert angular_spread(angles + turn, power) == pytest.approx(angular_spread(angles, power), rel=1e-5, abs=1e-6)


def test_a_gaussian_azimuth_spreads_by_its_standard_deviation():
    angle = np.linspace(-np.pi, np.pi, 20_001)
    assert angular_spread(angle, np.exp(-((angle / 0.3) ** 2) / 2)) == pytest.approx(0.3, rel=1e-6)


def test_delay_profile_has_the_paths_where_they_are():
    frequencies = 3e9 + np.arange(512) * 1e6
    delay = np.array([0.0, 100e-9, 400e-9])
    gain = np.sqrt([1.0, 0.5, 0.25])
    response = np.exp(-2j * np.pi * frequencies[:, None] * delay) @ gain
    axis, power = power_delay_profile(response, frequencies)
    assert power.sum() == pytest.approx(gain @ gain, rel=0.02)
    for place, strength in zip(delay, gain**2, strict=True):
        assert power[np.abs(axis - place) < 10e-9].sum() == pytest.approx(strength, rel=0.02)
    assert rms_delay_spread(axis, power) == pytest.approx(rms_delay_spread(delay, gain**2), rel=0.02)


def test_delay_profile_wants_a_regular_grid():
    with pytest.raises(InputError, match="uniformly"):
        power_delay_profile(np.ones(4), [1.0, 2.0, 4.0, 8.0])
    with pytest.raises(InputError, match="rising"):
        power_delay_profile(np.ones(4), [1.0, 2.0, 3.0])


def test_a_single_wave_stays_correlated_and_turns():
    lags = np.arange(50)
    correlation = temporal_autocorrelation(np.exp(2j * np.pi * 0.07 * lags) * np.array([[2.0], [1j]]))
    assert np.allclose(correlation, np.exp(2j * np.pi * 0.07 * lags))


def jakes(speed_hz, steps, interval_s, series, rng):
    """Fading [series, steps] of 64 waves from all around: Clarke's model."""
    shift = speed_hz * np.cos(rng.uniform(0, 2 * np.pi, (series, 64, 1)))
    phase = rng.uniform(0, 2 * np.pi, (series, 64, 1))
    return np.exp(1j * (2 * np.pi * shift * np.arange(steps) * interval_s + phase)).sum(axis=1) / 8.0


def test_fading_from_all_around_decorrelates_as_a_bessel_function():
    series = jakes(100.0, 40, 1e-3, 2000, np.random.default_rng(0))
    expected = j0(2 * np.pi * 100.0 * np.arange(40) * 1e-3)
    assert np.abs(temporal_autocorrelation(series)[:20] - expected[:20]).max() < 0.05


def test_doppler_spectrum_ends_at_the_greatest_shift():
    series = jakes(100.0, 200, 1e-3, 300, np.random.default_rng(1))
    shifts, density = doppler_spectrum(series, 1e-3)
    assert np.all(np.diff(shifts) > 0)
    assert density.sum() * (shifts[1] - shifts[0]) == pytest.approx(1.0, rel=0.05)
    assert density[np.abs(shifts) > 115].sum() < 1e-3 * density.sum()
    assert density[(shifts > 80) & (shifts < 105)].mean() > 2.0 * density[np.abs(shifts) < 40].mean()  # the bathtub


def test_doppler_spectrum_has_the_sign_of_the_shift():
    shifts, density = doppler_spectrum(np.exp(2j * np.pi * 50.0 * np.arange(100) * 1e-3), 1e-3)
    assert shifts[np.argmax(density)] == pytest.approx(50.0)


@pytest.mark.parametrize("expected", [2.0, 10.0, 200.0])
def test_rician_k_is_found(expected):
    rng = np.random.default_rng(2)
    scattered = (rng.standard_normal(200_000) + 1j * rng.standard_normal(200_000)) / np.sqrt(2.0)
    samples = np.sqrt(expected) * np.exp(2j * np.pi * rng.uniform(size=200_000)) + scattered
    assert rician_k(samples) == pytest.approx(expected, rel=0.03)
    assert rician_k(scattered) < 200_000**-0.25 * 2.0


def test_constant_power_has_infinite_k():
    assert rician_k(np.array([1.0, 1.0j, -1.0])) == float("inf")
