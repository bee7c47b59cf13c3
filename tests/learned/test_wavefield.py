import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.checkpoints import load_model, save_checkpoint
from channelfm.errors import InputError
from channelfm.learned.estimator import estimator_of
from channelfm.learned.recipe import WavefieldModel
from channelfm.models.zoo import build

RECIPE = WavefieldModel(sampler={"data_consistency": False})


def one_source(rows=16, cols=12, spacing=0.5, distance_m=3.0):
    """Free space from one user at 7 GHz, complex64 [1, rows, cols, 1], and a mask of every third antenna or so."""
    bs = UPA(rows=rows, cols=cols, carrier_hz=7e9, position=(0, 0, 0), spacing_wavelengths=spacing)
    away = np.linalg.norm(np.array([distance_m, 0.7, -0.4]) - bs.element_positions, axis=1)
    channel = np.exp(-2j * np.pi * away / bs.wavelength_m) / away
    mask = np.random.default_rng(0).random((1, rows, cols, 1)) < 0.35
    return bs.to_grid(channel[None, :, None].astype(np.complex64)), mask


def nmse_db(estimate, truth):
    return 10 * np.log10((np.abs(estimate - truth) ** 2).sum() / (np.abs(truth) ** 2).sum())


@pytest.mark.parametrize("spacing", [0.5, 0.25])
def test_it_knows_the_exact_wave_at_any_spacing(spacing, tmp_path):
    truth, mask = one_source(spacing=spacing)
    folder = save_checkpoint(tmp_path / "model", build("wavefield-small"), RECIPE, {})
    model = load_model(folder, spacing_wavelengths=spacing)
    assert nmse_db(model.predict(np.where(mask, truth, 0), mask), truth) < -40


def test_it_filters_noise_at_observed_antennas():
    """Data consistency is off: what it answers at observed antennas is the model's field, not the noisy values."""
    truth, mask = one_source()
    generator = np.random.default_rng(1)
    noise = generator.standard_normal((*truth.shape, 2)) @ np.array([1, 1j])
    noisy = (truth + 0.1 * np.abs(truth).mean() * noise).astype(np.complex64)
    answer = estimator_of(build("wavefield-small"), RECIPE).predict(np.where(mask, noisy, 0), mask)
    assert not np.array_equal(answer[mask], noisy[mask])
    assert nmse_db(answer, truth) < -20


def test_it_has_no_features_to_give():
    truth, _ = one_source()
    with pytest.raises(InputError, match="no tokens"):
        estimator_of(build("wavefield-small"), RECIPE).embed(truth)
