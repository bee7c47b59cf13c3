"""Harmonic pursuit: planted waves are found, as exactly as noise allows, on combs too."""

import numpy as np
import pytest
import torch

from channelfm.baselines.time import HarmonicPursuit
from channelfm.baselines.time.wave_fit import Waves, refine, solve_gains, superposition
from channelfm.baselines.time.wave_search import PeakSearch, wave_axes

SIZE = (10, 1, 16, 16)


def setting(size=SIZE, step=1):
    frames, frequencies = np.arange(size[0]), np.arange(0, size[3], step)
    return wave_axes(size, frames, frequencies), PeakSearch(size, frames, frequencies)


def planted(parameters, gains):
    gains = torch.as_tensor(gains, dtype=torch.complex128)[None]
    return Waves(gains, torch.tensor(parameters, dtype=torch.float64)[None], gains.abs() > 0)


def noise(rng, *size):
    return ((rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2)).astype(np.complex64)


def decibel(estimate, truth):
    return 10 * np.log10(np.sum(np.abs(estimate - truth) ** 2) / np.sum(np.abs(truth) ** 2))


@pytest.mark.parametrize("step", [1, 2, 4])
def test_the_search_finds_the_bins_of_a_wave(step):
    axes, search = setting(step=step)
    truth = [0.21, -0.33, 0.0, -0.7 / step]
    parameters, power = search.peaks(superposition(axes, planted([truth], [2.0])), 1)
    assert parameters[0, 0].numpy() == pytest.approx(truth, abs=0.04)
    assert 0.4 < power[0, 0] / (4 * 10 * 16 * 16 / step) <= 1  # the rest is lost between bins


def test_planar_arrays_have_two_angles():
    size = (5, 4, 8, 4)
    axes, search = setting(size)
    truth = [-0.3, 0.4, -0.2, 0.0, -0.5]
    parameters, _ = search.peaks(superposition(axes, planted([truth], [1j])), 1)
    assert parameters[0, 0].numpy() == pytest.approx(truth, abs=0.13)


def test_gauss_newton_steps_reach_the_waves():
    axes, _ = setting()
    truth = planted([[0.2, 0.1, 1e-5, -0.3], [0.22, -0.2, 0.0, -0.31]], [1.0, 0.5j])
    samples = superposition(axes, truth)
    start = Waves(truth.gains, truth.parameters + torch.tensor([0.01, 0.01, 0.0, -0.01]), truth.active)
    level = torch.tensor([1e-8], dtype=torch.float64)
    waves, residual = refine(axes, solve_gains(axes, start, samples, level), samples, level, 10)
    assert waves.parameters.numpy() == pytest.approx(truth.parameters.numpy(), abs=1e-5)
    assert residual.abs().max() < 1e-3


def test_slopes_are_those_of_finite_differences():
    """A small shift is undone by one step, but for what damping leaves of it."""
    axes, _ = setting()
    truth = planted([[0.2, 0.1, 1e-5, -0.3], [-0.1, -0.2, 0.0, -0.1]], [1.0, 0.5j])
    samples = superposition(axes, truth)
    shift = torch.tensor([1e-4, -1e-4, 0.0, 1e-4], dtype=torch.float64)
    moved = Waves(truth.gains, truth.parameters + shift, truth.active)
    level = torch.tensor([1e-9], dtype=torch.float64)
    waves, _ = refine(axes, moved, samples, level, 1)
    assert (waves.parameters - truth.parameters).abs().max() < 0.01 * shift.max()


def test_inactive_waves_are_nothing():
    axes, _ = setting()
    one = planted([[0.2, 0.1, 0.0, -0.3]], [1.0])
    two = one.joined(torch.full((1, 1, 4), 0.3, dtype=torch.float64), torch.tensor([[False]]))
    samples = superposition(axes, one)
    assert torch.allclose(samples, superposition(axes, two), atol=1e-6)
    level = torch.tensor([1e-6], dtype=torch.float64)
    assert refine(axes, solve_gains(axes, two, samples, level), samples, level, 2)[1].abs().max() < 1e-4


@pytest.mark.parametrize("step", [1, 2])
def test_frequencies_near_the_cramer_rao_bound(step):
    """One wave of n samples, evenly spaced over L of an axis: var f = 6 noise / (4 pi^2 |g|^2 n (L^2 - 1))."""
    axes, search = setting(step=step)
    rng, truth, level = np.random.default_rng(0), [0.213, -0.171, 0.0, -0.137], 0.5
    clean = superposition(axes, planted([truth], [1.0]))
    samples = clean.expand(30, -1, -1, -1) + np.sqrt(level) * torch.from_numpy(noise(rng, 30, *clean.shape[1:]))
    fitted = HarmonicPursuit()._fitted(axes, samples, torch.full((30,), level).double(), search)
    assert fitted.active[:, 0].all()
    assert fitted.active[:, 1:].sum() <= 2  # false alarms
    error = fitted.parameters[:, 0].numpy() - truth
    lengths = np.array([10, 16, 2, 16 / step])  # of curvature there is no such bound
    bound = np.sqrt(6 * level / (4 * np.pi**2 * clean[0].numel() * (lengths**2 - 1))) / [1, 1, 1, step]
    found = np.sqrt(np.mean(error**2, axis=0))
    assert (found[[0, 1, 3]] < 1.4 * bound[[0, 1, 3]]).all()
    assert (found[[0, 1, 3]] > 0.6 * bound[[0, 1, 3]]).all()


def test_combs_in_noise_do_not_hold_it_up():
    axes, _ = setting((18, 1, 16, 16))
    waves = planted([[0.21, 0.1, 0.0, -0.1], [-0.15, -0.3, 0.0, -0.05], [0.02, 0.33, 0.0, -0.2]], [1.0, 0.7j, 0.4])
    frames = superposition(axes, waves).reshape(1, 18, 1, 16, 16).numpy()
    mask = (np.arange(16) % 2 == 0).reshape(1, 1, 1, 1, -1)
    past = (frames[:, :10] + 0.4 * noise(np.random.default_rng(1), *frames[:, :10].shape)) * mask
    predicted = HarmonicPursuit().predict(past, mask, 8)
    assert decibel(predicted[:, :1], frames[:, 10:11]) < -20
    assert decibel(predicted[:, 7:], frames[:, 17:]) < -15


def test_a_path_that_ended_is_not_continued():
    size = (18, 1, 16, 16)
    axes, _ = setting(size)
    places = [[0.21, 0.1, 0.0, -0.1], [-0.15, -0.3, 0.0, -0.05]]
    stays, ends = (superposition(axes, planted([place], [1.0])).reshape(1, *size).numpy() for place in places)
    frames = stays + ends * (np.arange(18) < 4).reshape(1, -1, 1, 1, 1)
    predicted = HarmonicPursuit(most_waves=4).predict(frames[:, :10], np.ones((1, 1, 1, 1, 1), bool), 8)
    assert decibel(predicted, frames[:, 10:]) < -40


def test_pure_noise_is_hardly_predicted():
    past = noise(np.random.default_rng(2), 8, 10, 1, 16, 16)
    predicted = HarmonicPursuit().predict(past, np.ones((1, 1, 1, 1, 1), bool), 4)
    assert np.mean(np.abs(predicted) ** 2) < 0.1


def test_frames_that_are_missing_are_bridged():
    axes, _ = setting((18, 1, 16, 16))
    frames = superposition(axes, planted([[0.21, 0.1, 0.0, -0.1]], [1.0])).reshape(1, 18, 1, 16, 16).numpy()
    mask = np.ones((1, 10, 1, 1, 1), bool)
    mask[0, [0, 3, 7, 9]] = False
    predicted = HarmonicPursuit().predict(frames[:, :10] * mask, mask, 8)
    assert decibel(predicted, frames[:, 10:]) < -40


def test_masks_without_a_common_comb_are_completed_first():
    axes, _ = setting((18, 1, 16, 16))
    frames = superposition(axes, planted([[0.21, 0.1, 0.0, -0.1]], [1.0])).reshape(1, 18, 1, 16, 16).numpy()
    mask = (np.arange(16) + np.arange(10)[:, None]) % 2 == 0
    mask = mask.reshape(1, 10, 1, 1, 16)
    assert decibel(HarmonicPursuit().predict(frames[:, :10] * mask, mask, 4), frames[:, 10:14]) < -10
