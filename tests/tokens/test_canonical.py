import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import spherical_wave
from channelfm.errors import InputError
from channelfm.tokens.canonical import FrameRecipe, coarse_spherical_wave, find_frame, from_canonical, to_canonical
from channelfm.tokens.masks import random_mask
from channelfm.waves.geometry import largest_inverse_range
from channelfm.waves.several import fit_waves


def random_sources(generator, count, nearest, farthest, largest_sine=0.8, planar=False):
    radius, angle = np.sqrt(generator.random(count)) * largest_sine, generator.uniform(0, 2 * np.pi, count)
    sines = np.stack([radius * np.cos(angle), np.zeros(count) if planar else radius * np.sin(angle)], axis=1)
    forward = np.sqrt(1 - (sines**2).sum(1, keepdims=True))
    return np.concatenate([forward, sines], axis=1) * generator.uniform(nearest, farthest, (count, 1))


def masked(field, ratio, seed=0):
    mask = random_mask(np.random.default_rng(seed), *field.shape, ratio)[..., 0]
    return torch.from_numpy(np.where(mask, field, 0).astype(np.complex64)), torch.from_numpy(mask)


@pytest.mark.parametrize(
    ("rows", "cols", "spacing", "ratio"),
    [(32, 32, 0.5, 0.9), (16, 16, 0.5, 0.75), (1, 128, 0.5, 0.75), (64, 1, 0.5, 0.5), (24, 40, 0.4, 0.9)],
)
def test_single_wave_is_found_from_a_few_antennas(rows, cols, spacing, ratio):
    generator = np.random.default_rng(rows)
    nearest = 1.1 / largest_inverse_range(rows, cols, spacing)
    sources = random_sources(generator, 24, nearest, 20 * nearest, planar=rows == 1)
    if cols == 1:
        sources = sources[:, [0, 2, 1]]
        sources[:, 1], sources[:, 0] = 0.0, np.hypot(sources[:, 0], sources[:, 1])
    gains = np.exp(2j * np.pi * generator.random(24))
    field = spherical_wave(rows, cols, sources, spacing) * gains[:, None, None]
    found = coarse_spherical_wave(*masked(field, ratio), spacing)
    estimate = spherical_wave(rows, cols, found.source.numpy(), spacing) * found.amplitude.numpy()[:, None, None]
    nmse = (np.abs(estimate - field) ** 2).mean((1, 2))
    assert nmse.max() < 1e-4
    assert found.score.min() > 0.999


def test_single_wave_position_error_is_small():
    sources = random_sources(np.random.default_rng(3), 16, 300, 600)
    found = coarse_spherical_wave(*masked(spherical_wave(32, 32, sources), 0.9))
    assert np.linalg.norm(found.source.numpy() - sources, axis=1).max() < 5.0  # wavelengths, of 300 to 600


def test_noise_does_not_break_the_search():
    generator = np.random.default_rng(5)
    sources = random_sources(generator, 16, 900, 9000)
    clean = spherical_wave(32, 32, sources)
    noise = generator.standard_normal((2, *clean.shape)) / np.sqrt(2)
    found = coarse_spherical_wave(*masked(clean + noise[0] + 1j * noise[1], 0.75))  # 0 dB
    angle = np.arccos((found.direction.numpy() * sources).sum(1) / np.linalg.norm(sources, axis=1))
    assert np.rad2deg(angle).max() < 1.0


def test_a_hidden_antenna_has_no_influence():
    generator = np.random.default_rng(1)
    field = (generator.standard_normal((4, 8, 8)) + 0j).astype(np.complex64)
    _, mask = masked(field, 0.5)
    changed = torch.where(mask, torch.from_numpy(field), 1e3 + 1e3j)
    for recipe in (FrameRecipe(), FrameRecipe(kind="raw"), FrameRecipe(waves=3)):
        first, second = (find_frame(values, mask, recipe) for values in (torch.from_numpy(field), changed))
        for name in ("wave", "offset", "scale", "share"):
            assert torch.equal(getattr(first, name), getattr(second, name))


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    kind=st.sampled_from([("raw", 1), ("canonical", 1), ("canonical", 3)]),
    spacing=st.sampled_from([0.3, 0.5, 1.0]),
    ratio=st.floats(0, 1),
    seed=st.integers(0, 1000),
    size=st.floats(1e-9, 1e3),
)
def test_frames_are_invertible_for_any_array(rows, cols, kind, spacing, ratio, seed, size):
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((2, 3, rows, cols)) * size
    channel = torch.from_numpy((values[0] + 1j * values[1]).astype(np.complex64))
    _, mask = masked(channel.numpy(), ratio, seed)
    frame = find_frame(channel, mask, FrameRecipe(kind=kind[0], waves=kind[1], spacing_wavelengths=spacing))
    inside = to_canonical(channel, frame)
    assert torch.isfinite(torch.view_as_real(inside)).all()
    back = from_canonical(inside, frame)
    # Rounding is relative to the largest value on the way, which a wave fitted to few antennas can exceed.
    largest = max(channel.abs().max(), (frame.offset.abs()).max(), (inside.abs() * frame.scale[:, None, None]).max())
    assert (back - channel).abs().max() <= 1e-5 * largest


def test_canonical_frame_turns_one_wave_into_a_constant():
    field = 3e-6j * spherical_wave(16, 16, random_sources(np.random.default_rng(0), 8, 100, 1000))
    observed, mask = masked(field, 0.8)
    inside = to_canonical(torch.from_numpy(field.astype(np.complex64)), find_frame(observed, mask, FrameRecipe()))
    assert (inside - 1).abs().max() < 0.01


def test_zero_channel_stays_finite():
    nothing = torch.zeros(2, 4, 6, dtype=torch.complex64)
    mask = torch.ones(2, 4, 6, dtype=torch.bool)
    for recipe in (FrameRecipe(), FrameRecipe(kind="raw"), FrameRecipe(waves=2)):
        frame = find_frame(nothing, mask, recipe)
        assert torch.equal(from_canonical(to_canonical(nothing, frame), frame), nothing)


def test_several_waves_are_separated():
    generator = np.random.default_rng(4)
    sources = random_sources(generator, 16 * 3, 500, 5000).reshape(16, 3, 3)
    gains = np.array([1.0, 0.5, 0.25]) * np.exp(2j * np.pi * generator.random((16, 3)))
    field = (spherical_wave(32, 32, sources) * gains[..., None, None]).sum(1)
    found = fit_waves(*masked(field, 0.9), 4, 0.5)
    nmse = np.abs(found.total.numpy() - field) ** 2
    ratio = nmse.sum((1, 2)) / (np.abs(field) ** 2).sum((1, 2))
    assert 10 * np.log10(np.median(ratio)) < -30
    strongest = spherical_wave(32, 32, sources[:, 0]) * gains[:, 0, None, None]
    error = np.abs(found.strongest.numpy() - strongest) ** 2
    assert 10 * np.log10(np.median(error.sum((1, 2)) / 32**2)) < -20


def test_wrong_shape_is_an_input_error():
    with pytest.raises(InputError, match="sample, row, column"):
        coarse_spherical_wave(torch.zeros(4, 4, dtype=torch.complex64), torch.ones(4, 4, dtype=torch.bool))
