"""What holds for every method: the same tests for all METHODS that ask a denoiser."""

import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.checkpoints import load_model, packaged_models
from channelfm.diffusion import DiffusionRecipe, SamplerRecipe
from channelfm.errors import InputError
from channelfm.estimator import Estimator, SequenceEstimator
from channelfm.learned.estimator import estimator_of
from channelfm.learned.recipe import DiffusionModel, OneShotModel
from channelfm.models.denoiser import Denoiser

METHODS = {
    "diffusion": DiffusionModel(diffusion=DiffusionRecipe(prediction="sample"), sampler=SamplerRecipe(steps=2)),
    "one-shot": OneShotModel(),
    "generator": OneShotModel(latent=True),
}


def predictor(method, **values):
    torch.manual_seed(0)
    network = Denoiser(width=16, depth=1, heads=2)
    torch.nn.init.normal_(network.project.weight, std=0.02)
    return estimator_of(network, METHODS[method].model_copy(update=values))


def channels(count=5, rows=8, cols=8, frequencies=2):
    generator = np.random.default_rng(0)
    sources = generator.uniform([50, -60, -60], [200, 60, 60], (count, 3))
    turn = np.exp(2j * np.pi * generator.random((count, 1, 1, frequencies)))
    return (1e-5 * spherical_wave(rows, cols, sources)[..., None] * turn).astype(np.complex64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (1, 12), (6, 5)])
def test_observed_antennas_keep_their_values(method, rows, cols, hide):
    task = hide(channels(rows=rows, cols=cols), 0.5)
    model = predictor(method)
    result = model.predict(task.observed, task.mask)
    assert isinstance(model, Estimator)
    assert result.shape == task.target.shape
    assert result.dtype == np.complex64
    assert np.isfinite(result).all()
    assert np.abs(result[~np.broadcast_to(task.mask, result.shape)]).min() > 0
    np.testing.assert_array_equal(np.where(task.mask, result, 0), task.observed)


@pytest.mark.parametrize("method", METHODS)
def test_without_data_consistency_the_network_has_the_last_word(method, hide):
    task = hide(channels(), 0.5)
    sampler = METHODS[method].sampler.model_copy(update={"data_consistency": False})
    free = predictor(method, sampler=sampler)
    result = free.predict(task.observed, task.mask)
    assert (np.abs(result - task.target)[np.broadcast_to(task.mask, result.shape)] > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_everything_observed_is_returned_as_it_is(method):
    grid = channels()
    model = predictor(method)
    model.network.forward = None  # not asked at all
    np.testing.assert_array_equal(model.predict(grid, np.ones((1, 1, 1, 1), dtype=bool)), grid)


@pytest.mark.parametrize("method", METHODS)
def test_a_link_without_a_path_is_answered_with_zeros(method, hide):
    task = hide(channels(), 0.5)
    model = predictor(method)
    usual = model.predict(task.observed, task.mask)
    nothing = task.observed.copy()
    nothing[2, :, :, 1] = 0
    result = model.predict(nothing, task.mask)
    assert not result[2, :, :, 1].any()
    usual[2, :, :, 1] = 0
    np.testing.assert_allclose(result, usual, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_prediction_does_not_depend_on_the_batch(method, hide):
    task = hide(channels(), 0.5)
    model = predictor(method)
    whole = model.predict(task.observed, task.mask)
    model.batch_size = 3
    np.testing.assert_allclose(model.predict(task.observed, task.mask), whole, atol=1e-9)
    np.testing.assert_allclose(model.predict(task.observed[3:4], task.mask[3:4]), whole[3:4], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_scale_of_the_channel_carries_over(method, hide):
    task = hide(channels(), 0.5)
    model = predictor(method)
    small, large = model.predict(task.observed, task.mask), model.predict(1000 * task.observed, task.mask)
    np.testing.assert_allclose(large, 1000 * small, atol=2e-4 * np.abs(large).max())


@pytest.mark.parametrize("method", METHODS)
def test_a_network_in_bfloat16(method, hide):
    task = hide(channels(), 0.5)
    model = predictor(method)
    exact = model.predict(task.observed, task.mask)
    model.network.to(torch.bfloat16)
    rough = model.predict(task.observed, task.mask)
    assert rough.dtype == np.complex64
    np.testing.assert_allclose(rough, exact, atol=0.1 * np.abs(exact).max())
    assert model.embed(task.target)[0].dtype == np.float32


@pytest.mark.parametrize("method", METHODS)
def test_bad_input(method):
    model, grid = predictor(method), channels()
    everything = np.ones(grid.shape, dtype=bool)
    one_missing, one_frequency = everything.copy(), everything.copy()
    one_missing[3] = False
    one_frequency[0, :, :, 1] = False
    broken = grid.copy()
    broken[1, 2, 3, 0] = np.nan
    for observed, mask, complaint in (
        (broken, everything, "NaN"),
        (grid[..., 0], everything, "shape"),
        (grid.real, everything, "float32"),
        (grid, everything[:, :4], "does not broadcast"),
        (grid, one_missing, "hides every antenna of some snapshot"),
        (grid, one_frequency, "at some frequency"),
    ):
        with pytest.raises(InputError, match=complaint):
            model.predict(observed, mask)


def test_what_is_hidden_has_no_influence_not_even_nan(hide):
    task = hide(channels(), 0.5)
    model = predictor("one-shot")
    odd = np.where(task.mask, task.observed, np.complex64(complex("nan")))
    np.testing.assert_array_equal(model.predict(odd, task.mask), model.predict(task.observed, task.mask))


@pytest.mark.parametrize("method", METHODS)
def test_empty_batch(method):
    empty = np.zeros((0, 8, 8, 1), dtype=np.complex64)
    assert predictor(method).predict(empty, np.ones((1, 8, 8, 1), dtype=bool)).shape == empty.shape
    with pytest.raises(InputError, match="at least one"):
        predictor(method).embed(empty)


@pytest.mark.parametrize("method", METHODS)
def test_embed(method):
    tokens, pooled = predictor(method).embed(channels())
    assert tokens.shape == (5, 2 * 4, 16)
    np.testing.assert_allclose(pooled, tokens.mean(axis=1))
    assert np.isfinite(tokens).all()


def test_a_network_without_tokens_has_no_features():
    with pytest.raises(InputError, match="no tokens"):
        estimator_of(torch.nn.Linear(1, 1), METHODS["one-shot"]).embed(channels())


@pytest.mark.parametrize("method", METHODS)
def test_a_network_in_training_stays_in_training_and_shares_its_weights(method, hide):
    task = hide(channels(), 0.5)
    network = Denoiser(width=16, depth=1, heads=2).train()
    model = estimator_of(network, METHODS[method])
    before = model.predict(task.observed, task.mask)
    model.embed(task.target)
    assert all(module.training for module in network.modules())
    assert not any(module.training for module in model.network.modules())
    torch.nn.init.normal_(network.project.weight, std=0.2)  # as a step of training changes it
    assert not np.array_equal(model.predict(task.observed, task.mask), before)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", packaged_models())
def test_features_of_packaged_models(name, wave_sequences):
    model = load_model(name)
    given = wave_sequences(2) if isinstance(model, SequenceEstimator) else channels(2)
    if name in ("wavefield-small", "linear-mixture", "cluster-prior"):
        with pytest.raises(InputError, match="has no tokens"):
            model.embed(given)
        return
    tokens, pooled = model.embed(given)
    assert tokens.dtype == np.float32
    assert tokens.shape[0] == 2
    assert pooled.shape == (2, tokens.shape[2])
    assert tokens.std() > 0
    np.testing.assert_array_equal(model.embed(given)[0], tokens)
