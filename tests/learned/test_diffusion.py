import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.diffusion import DiffusionRecipe, SamplerRecipe
from channelfm.estimator import Estimator
from channelfm.learned.estimator import DiffusionEstimator
from channelfm.learned.recipe import DiffusionModel
from channelfm.models.zoo import build
from channelfm.tokens.canonical import FrameRecipe

OPTIONS = {"width": 16, "depth": 1, "heads": 2}


def predictor(**values):
    torch.manual_seed(0)
    recipe = DiffusionModel(
        **({"diffusion": DiffusionRecipe(prediction="sample"), "sampler": SamplerRecipe(steps=3)} | values),
        model_options=OPTIONS,
    )
    network = build(recipe.model, **OPTIONS)
    torch.nn.init.normal_(network.project.weight, std=0.02)
    return DiffusionEstimator(network, recipe)


def channels(count=6, frequencies=2, rows=8, cols=8):
    generator = np.random.default_rng(0)
    sources = generator.uniform([50, -60, -60], [200, 60, 60], (count, 3))
    wave = spherical_wave(rows, cols, sources)[..., None] * np.exp(
        2j * np.pi * generator.random((count, 1, 1, frequencies))
    )
    return (1e-5 * wave).astype(np.complex64)


def test_it_is_a_predictor_that_keeps_what_was_observed(hide):
    task = hide(channels(), 0.5)
    model = predictor()
    result = model.predict(task.observed, task.mask)
    assert isinstance(model, Estimator)
    assert result.shape == task.target.shape
    assert result.dtype == np.complex64
    np.testing.assert_array_equal(np.where(task.mask, result, 0), task.observed)


def test_an_untrained_network_on_several_waves_gives_the_waves(hide):
    # A zero output of a clean-sample network means "nothing beside the waves".
    recipe = DiffusionModel(
        frame=FrameRecipe(waves=2), diffusion=DiffusionRecipe(prediction="sample"), model_options=OPTIONS
    )
    task = hide(channels(rows=16, cols=16), 0.75)
    result = DiffusionEstimator(build(recipe.model, **OPTIONS), recipe).predict(task.observed, task.mask)
    error = (np.abs(result - task.target) ** 2).sum() / (np.abs(task.target) ** 2).sum()
    assert 10 * np.log10(error) < -30


@pytest.mark.parametrize("frame", [FrameRecipe(), FrameRecipe(kind="raw"), FrameRecipe(waves=2)])
def test_prediction_does_not_depend_on_the_batch(frame, hide):
    task = hide(channels(), 0.5)
    model = predictor(frame=frame)
    whole = model.predict(task.observed, task.mask)
    model.batch_size = 5
    np.testing.assert_allclose(model.predict(task.observed, task.mask), whole, atol=1e-8)
    one = model.predict(task.observed[3:4], task.mask[3:4])
    np.testing.assert_allclose(one, whole[3:4], atol=1e-8)


def test_features_are_those_of_a_slightly_noisy_step():
    model = predictor()
    asked = []
    features, model.network.features = model.network.features, lambda *given: asked.append(given) or features(*given)
    model.embed(channels())
    noisy, step, observed, mask = asked[0]
    assert step.tolist() == [100] * 12
    assert torch.equal(noisy, observed)
    assert mask.all()
