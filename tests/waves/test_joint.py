"""All waves fitted together: known answers, deviations that hold, and antennas that are left out."""

import numpy as np
import pytest
import torch

from channelfm.waves.geometry import wave_of
from channelfm.waves.joint import joint_waves


def fields(sources, gains, rows=24, cols=20):
    """Sums complex128 [N, rows, cols] of waves from sources [N, L, 3] with gains [N, L]."""
    waves = [wave_of(torch.from_numpy(part), rows, cols, 0.5).numpy() for part in sources]
    return np.einsum("nl,nlrc->nrc", gains, np.array(waves).astype(np.complex128))


def drawn(count, waves, seed=0):
    """Sources well apart, and gains of 1, 0.5, ... in any phase."""
    rng = np.random.default_rng(seed)
    sources = np.concatenate(
        [rng.uniform(-0.25, 0.25, (count, waves, 2)), rng.uniform(2e-3, 8e-3, (count, waves, 1))], 2
    )
    sources[:, :, 0] += np.linspace(-0.3, 0.3, waves) if waves > 1 else 0
    return sources, 0.5 ** np.arange(waves) * np.exp(2j * np.pi * rng.random((count, waves)))


def seen(count, share=0.5, rows=24, cols=20, seed=1):
    return np.random.default_rng(seed).random((count, rows, cols)) < share


def found(field, mask, most=4):
    return joint_waves(torch.from_numpy(np.where(mask, field, 0).astype(np.complex64)), torch.tensor(mask), 0.5, most)


def test_known_waves_are_found_strongest_first():
    sources, gains = drawn(8, 2)
    waves = found(fields(sources, gains), seen(8))
    assert waves.sources[:, :2].numpy() == pytest.approx(sources, abs=2e-5)
    assert waves.gains[:, :2].numpy() == pytest.approx(gains, abs=1e-3)
    assert waves.gains[:, 2:].abs().max() < 0.01
    assert not waves.covariance[~waves.present].any()


def test_deviations_are_those_of_the_errors():
    sources, gains = drawn(1, 2)
    count = 200
    rng, mask = np.random.default_rng(3), np.broadcast_to(seen(1), (count, 24, 20))
    noise = rng.normal(size=(count, 24, 20, 2)) @ [1, 1j] * 0.05
    waves = found(fields(sources, gains) + noise, mask)
    off = waves.sources[:, 0].numpy() - sources[0, 0]
    told = waves.covariance[:, 0].diagonal(dim1=1, dim2=2).sqrt().numpy()
    assert np.sqrt(np.mean((off / told) ** 2, axis=0)) == pytest.approx([1, 1, 1], rel=0.2)


def test_antennas_that_miss_the_waves_by_far_are_left_out():
    sources, gains = drawn(10, 1, seed=5)
    field = fields(sources, gains)
    spoilt = field.copy()
    spoilt[:, :4, :4] *= np.exp(0.3j)
    clean, corner = (found(part, seen(10), most=1).sources[:, 0].numpy() for part in (field, spoilt))
    assert clean == pytest.approx(sources[:, 0], abs=1e-5)
    assert corner == pytest.approx(sources[:, 0], abs=1e-5)


def test_nothing_has_no_wave_and_few_antennas_are_finite():
    mask = seen(3)
    mask[1] = False
    mask[1, 3, 4] = True
    field = fields(*drawn(3, 1))
    field[2] = 0
    waves = found(field, mask)
    assert not waves.present[2].any()
    assert all(bool(torch.isfinite(torch.view_as_real(part) if part.is_complex() else part).all()) for part in waves)
