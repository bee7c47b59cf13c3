import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.diffusion import DiffusionRecipe, SamplerRecipe
from channelfm.errors import InputError
from channelfm.models.zoo import build
from channelfm.tasks.diffusion_predictor import DiffusionPredictor, PredictorRecipe
from channelfm.tasks.extrapolation import examples
from channelfm.tasks.predictor import Predictor, fold_frequency, unfold_frequency
from channelfm.tokens.canonical import FrameRecipe

OPTIONS = {"width": 16, "depth": 1, "heads": 2}


def predictor(**values):
    torch.manual_seed(0)
    recipe = PredictorRecipe(
        **({"diffusion": DiffusionRecipe(prediction="sample"), "sampler": SamplerRecipe(steps=3)} | values),
        model_options=OPTIONS,
    )
    network = build(recipe.model, **OPTIONS)
    torch.nn.init.normal_(network.project.weight, std=0.02)
    return DiffusionPredictor(network, recipe)


def channels(count=6, frequencies=2, rows=8, cols=8):
    generator = np.random.default_rng(0)
    sources = generator.uniform([50, -60, -60], [200, 60, 60], (count, 3))
    wave = spherical_wave(rows, cols, sources)[..., None] * np.exp(
        2j * np.pi * generator.random((count, 1, 1, frequencies))
    )
    return (1e-5 * wave).astype(np.complex64)


def test_it_is_a_predictor_that_keeps_what_was_observed():
    task = examples(channels(), 0.5)
    model = predictor()
    result = model.predict(task.observed, task.mask)
    assert isinstance(model, Predictor)
    assert result.shape == task.target.shape
    assert result.dtype == np.complex64
    np.testing.assert_allclose(np.where(task.mask, result, 0), task.observed, atol=1e-9)


def test_an_untrained_network_on_several_waves_gives_the_waves():
    # A zero output of a clean-sample network means "nothing beside the waves".
    recipe = PredictorRecipe(
        frame=FrameRecipe(waves=2), diffusion=DiffusionRecipe(prediction="sample"), model_options=OPTIONS
    )
    task = examples(channels(rows=16, cols=16), 0.75)
    result = DiffusionPredictor(build(recipe.model, **OPTIONS), recipe).predict(task.observed, task.mask)
    error = (np.abs(result - task.target) ** 2).sum() / (np.abs(task.target) ** 2).sum()
    assert 10 * np.log10(error) < -30


@pytest.mark.parametrize("frame", [FrameRecipe(), FrameRecipe(kind="raw"), FrameRecipe(waves=2)])
def test_prediction_does_not_depend_on_the_batch(frame):
    task = examples(channels(), 0.5)
    model = predictor(frame=frame)
    whole = model.predict(task.observed, task.mask)
    model.batch_size = 5
    np.testing.assert_allclose(model.predict(task.observed, task.mask), whole, atol=1e-8)
    one = model.predict(task.observed[3:4], task.mask[3:4])
    np.testing.assert_allclose(one, whole[3:4], atol=1e-8)


def test_scale_of_the_channel_carries_over():
    task = examples(channels(), 0.5)
    model = predictor()
    small, large = model.predict(task.observed, task.mask), model.predict(1000 * task.observed, task.mask)
    np.testing.assert_allclose(large, 1000 * small, atol=2e-4 * np.abs(large).max())


def test_channel_without_a_path_stays_zero_where_observed_and_finite():
    nothing = np.zeros((1, 8, 8, 1), dtype=np.complex64)
    assert np.isfinite(predictor().predict(nothing, np.ones_like(nothing, dtype=bool))).all()


def test_empty_batch():
    empty = np.zeros((0, 8, 8, 1), dtype=np.complex64)
    assert predictor().predict(empty, np.ones((1, 8, 8, 1), dtype=bool)).shape == empty.shape


def test_a_frequency_without_any_observed_antenna():
    grid = channels()
    mask = np.ones(grid.shape, dtype=bool)
    mask[0, :, :, 1] = False
    with pytest.raises(InputError, match="at some frequency"):
        predictor().predict(grid, mask)


def test_embed():
    tokens, pooled = predictor().embed(channels())
    assert tokens.shape == (6, 2 * 4, 16)
    np.testing.assert_allclose(pooled, tokens.mean(axis=1))
    assert np.isfinite(tokens).all()


def test_folding_is_inverted():
    grid = channels(frequencies=3)
    assert np.array_equal(fold_frequency(grid)[4], grid[1, :, :, 1])
    assert np.array_equal(unfold_frequency(fold_frequency(grid), 3), grid)
