"""Bounds on where a wave comes from: closed forms, and maximum likelihood that reaches them."""

import dataclasses

import numpy as np
import pytest
import torch

from channelfm.arrays import ULA, UPA
from channelfm.errors import InputError
from channelfm.observation import Combined, Entries, Grid, Observation
from channelfm.waves.bounds import SphericalWaves
from channelfm.waves.fit import GainBasis, Waves, refine
from channelfm.waves.gathered import Gathered
from channelfm.waves.geometry import wave_of
from channelfm.waves.source_bounds import place_bound, source_bound


def seen_by(array, noise, mask=None, count=1):
    """An observation of ``count`` links, of which only operator and noise matter."""
    shape = (1, array.rows, array.cols, 1)
    mask = np.ones(shape, bool) if mask is None else mask.reshape(shape)
    grid = Grid(array, np.zeros(1), np.array([array.carrier_hz]))
    return Observation(np.zeros((count, *shape), np.complex64), Entries(mask[None]), grid, np.full(count, noise))


def waves(*rows, gains=(1.0,)):
    """One link's waves."""
    return SphericalWaves(np.array(rows, np.float64)[None], np.array(gains, np.complex128)[None])


@pytest.mark.parametrize("elements", [8, 33])
@pytest.mark.parametrize("spacing", [0.5, 0.3])
def test_a_linear_array_s_sine_has_the_bound_of_a_frequency(elements, spacing):
    # Rife and Boorstyn 1974: 6 noise / (A^2 N (N^2 - 1)) of a frequency in radians a sample, 2 pi times spacing times
    # sine; the curvature is even over the array where the sine's phase is odd, and costs nothing at boresight.
    array = dataclasses.replace(ULA(elements, 7e9), spacing_wavelengths=spacing)
    found = source_bound(waves([0, 0, 1e-6], gains=(2.0,)), seen_by(array, 0.1))[0]
    wanted = 6 * 0.1 / (4 * elements * (elements**2 - 1)) / (2 * np.pi * spacing) ** 2
    assert found[0, 0] == pytest.approx(wanted, rel=1e-3)
    assert found[1, 1] == np.inf
    assert found[0, 2] == pytest.approx(0, abs=1e-3 * np.sqrt(found[0, 0] * found[2, 2]))


def test_a_linear_array_s_range_has_the_bound_of_a_chirp():
    # At boresight the phase is pi q y^2, and sum (y^2 - mean)^2 = d^4 N (N^2 - 1) (N^2 - 4) / 180.
    elements, q = 64, 1e-3
    array = ULA(elements, 7e9)
    observation = seen_by(array, 0.1)
    curvature = 0.5**4 * elements * (elements**2 - 1) * (elements**2 - 4) / 180
    variance = 0.1 / 2 / (np.pi**2 * curvature)
    assert source_bound(waves([0, 0, q]), observation)[0, 2, 2] == pytest.approx(variance, rel=1e-2)
    distance = array.wavelength_m / q
    told = place_bound(waves([0, 0, q]), observation)
    assert told.distance_m[0] == pytest.approx(distance**2 / array.wavelength_m * np.sqrt(variance), rel=1e-2)
    assert told.elevation_rad[0] == np.inf
    assert np.isfinite(told.azimuth_rad[0])


def test_a_planar_array_has_two_angles_of_one_bound_and_a_place_between():
    array = UPA(12, 12, 7e9)
    told = place_bound(waves([0, 0, 4e-3]), seen_by(array, 0.01))
    wanted = 6 * 0.01 / (12 * 12 * (12**2 - 1)) / np.pi**2
    assert told.azimuth_rad[0] ** 2 == pytest.approx(wanted, rel=1e-3)
    assert told.elevation_rad[0] == pytest.approx(told.azimuth_rad[0])
    distance = array.wavelength_m / 4e-3
    aside = 2 * (distance * told.azimuth_rad[0]) ** 2
    assert told.place_m[0] ** 2 == pytest.approx(told.distance_m[0] ** 2 + aside, rel=1e-9)


def test_angles_follow_from_the_sines_by_their_slopes():
    array, source, step = UPA(8, 8, 7e9), np.array([0.3, -0.4, 3e-3]), 1e-6
    errors = source_bound(waves(source), seen_by(array, 0.01))[0]

    def view(source):
        forward = np.sqrt(1 - source[0] ** 2 - source[1] ** 2)
        place = np.array([forward, *source[:2]]) / source[2] * array.wavelength_m
        return np.array([np.linalg.norm(place), np.arctan2(place[1], place[0]), np.arcsin(source[1]), *place])

    slopes = np.stack([(view(source + step * e) - view(source - step * e)) / (2 * step) for e in np.eye(3)], axis=1)
    squares = np.diag(slopes @ errors @ slopes.T)
    told = np.concatenate(place_bound(waves(source), seen_by(array, 0.01)))
    assert told[:3] ** 2 == pytest.approx(squares[:3], rel=1e-5)
    assert told[3] ** 2 == pytest.approx(squares[3:].sum(), rel=1e-5)


def test_a_wave_beside_it_costs_and_one_far_below_the_noise_is_left_out():
    array = UPA(16, 16, 7e9)
    alone, near = waves([0.1, 0, 2e-3]), waves([0.1, 0, 2e-3], [0.16, 0.05, 1e-3], gains=(1.0, 0.5))
    faint = waves([0.1, 0, 2e-3], [0.16, 0.05, 1e-3], gains=(1.0, 1e-6))
    observation = seen_by(array, 0.1)
    assert source_bound(near, observation)[0, 2, 2] > 1.2 * source_bound(alone, observation)[0, 2, 2]
    assert source_bound(faint, observation)[0, 2, 2] > 1.2 * source_bound(alone, observation)[0, 2, 2]
    assert place_bound(faint, observation).distance_m == pytest.approx(place_bound(alone, observation).distance_m)
    assert place_bound(near, observation).azimuth_rad > 1.2 * place_bound(alone, observation).azimuth_rad


def test_what_is_left_out_shifts_the_range_as_a_fit_without_it_is_shifted():
    array, truth, gain = UPA(16, 16, 7e9), np.array([[0.1, 0, 2e-3], [0.22, -0.1, 1e-3]]), 1e-3j
    field = sum(
        g * wave_of(torch.from_numpy(source[None]), 16, 16, 0.5)[0].to(torch.complex128)
        for g, source in zip((1.0, gain), truth, strict=True)
    )
    antennas = Gathered.entries(field[None], torch.ones(1, 16, 16, dtype=torch.bool), 0.5)
    start = Waves.none(1).joined(torch.from_numpy(truth[:1]))
    basis = dataclasses.replace(GainBasis.of_array(16, 16, 0.5), exponents=((0, 0),))
    shifted = refine(antennas, start, basis, 30).waves.sources[0, 0].numpy() - truth[0]
    told = place_bound(waves(*truth, gains=(1.0, gain)), seen_by(array, 1e-12))
    both = source_bound(waves(*truth, gains=(1.0, gain)), seen_by(array, 1e-12))
    assert told.distance_m == pytest.approx(array.wavelength_m / 2e-3**2 * np.sqrt(both[:, 2, 2]))  # both are estimated
    distance = array.wavelength_m / 2e-3**2 * abs(shifted[2])
    # in so much noise that the second wave is not worth it, what remains of the error is that shift
    noise = 1e-4
    single = place_bound(waves(truth[0]), seen_by(array, noise)).distance_m
    left = np.sqrt(place_bound(waves(*truth, gains=(1.0, gain)), seen_by(array, noise)).distance_m ** 2 - single**2)
    assert left == pytest.approx([distance], rel=0.05)


def test_maximum_likelihood_reaches_the_bound():
    array, noise, trials = UPA(12, 16, 7e9), 1e-3, 300
    truth = np.array([[0.2, -0.1, 4e-3], [-0.3, 0.15, 1e-3]])
    gains = np.array([1.0, 0.4j])
    generator = np.random.default_rng(0)
    mask = generator.random((12, 16)) < 0.5
    field = sum(
        g * wave_of(torch.from_numpy(source[None]), 12, 16, 0.5)[0].numpy().astype(np.complex128)
        for g, source in zip(gains, truth, strict=True)
    )
    drawn = generator.normal(size=(trials, 12, 16, 2)) @ [1, 1j] * np.sqrt(noise / 2)
    antennas = Gathered.entries(torch.from_numpy(field + drawn), torch.from_numpy(mask).expand(trials, -1, -1), 0.5)
    start = Waves.none(trials)
    for source in truth:
        start = start.joined(torch.from_numpy(source).expand(trials, 3))
    basis = dataclasses.replace(GainBasis.of_array(12, 16, 0.5), exponents=((0, 0),))
    found = refine(antennas, start, basis, 8).waves.sources[:, 0].numpy() - truth[0]
    wanted = source_bound(waves(*truth, gains=gains), seen_by(array, noise, mask))[0]
    assert np.sqrt(np.mean(found**2, axis=0)) == pytest.approx(np.sqrt(np.diag(wanted)), rel=0.12)
    sizes = np.sqrt(np.diag(wanted))
    assert np.abs((np.cov(found.T) - wanted) / np.outer(sizes, sizes)).max() < 0.2


def test_any_operator_and_what_it_does_not_tell():
    array = UPA(4, 4, 7e9)
    observation = seen_by(array, 0.1)
    every = np.eye(16, dtype=np.complex64).reshape(1, 16, 4, 4)
    combined = dataclasses.replace(observation, operator=Combined(every), values=np.zeros((1, 1, 16, 1), np.complex64))
    one = waves([0.1, 0.2, 1e-2])
    assert np.allclose(source_bound(one, combined), source_bound(one, observation))
    blind = seen_by(array, 0.1, np.arange(16) < 2)
    assert np.isinf(place_bound(one, blind).distance_m).all()
    assert np.isinf(place_bound(waves([0.1, 0, 0]), observation).distance_m).all()
    with pytest.raises(InputError, match="noise"):
        place_bound(one, dataclasses.replace(observation, noise=None))
