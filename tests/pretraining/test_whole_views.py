"""Views of whole channels, and that both objectives on them learn."""

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA
from channelfm.checkpoints import load_model
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.learned.prior import ClusterEstimator, PriorEstimator
from channelfm.observation import Grid
from channelfm.pretraining import data
from channelfm.pretraining.feed import prepare
from channelfm.pretraining.loop import pretrain_from
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import WholeSource

NOTHING = np.zeros((0, 1, 1, 1), np.complex64)
CLUSTERS = {
    "predictor": {"method": "clusters", "model_options": {"clusters": 2, "rays": 8, "steps": 2, "width": 4}},
    "objective": {"kind": "clusters", "measurements": [6, 9]},
}
PRIOR = {"predictor": {"method": "prior", "model_options": {"width": 4, "depth": 1}}, "objective": {"kind": "prior"}}
FLOW = {
    "predictor": {**PRIOR["predictor"], "sampler": {"kind": "mean-flow"}},
    "objective": {"kind": "mean-flow", "averaged": 0.5},
}


def source(seed=0):
    parts = np.random.default_rng(seed).standard_normal((5, 1, 12, 4, 2)) @ np.array([1, 1j])
    return WholeSource(7 * parts.astype(np.complex64), np.arange(4.0) * 1e7, 0.5)


def recipe(values, **changes):
    return PretrainRecipe(**{"steps": 2, "batch_size": 4, **values, **changes})


def test_channels_come_at_unit_power_and_empty_ones_are_refused():
    np.testing.assert_allclose(np.mean(np.abs(source().channels) ** 2, axis=(1, 2, 3)), 1, rtol=1e-5)
    with pytest.raises(InputError, match="any path"):
        WholeSource(np.zeros((2, 1, 4, 3), np.complex64), np.zeros(3), 0.5)


def test_each_polarisation_is_a_link_of_its_own(monkeypatch):
    array = UPA(1, 4, 28e9, polarization="VH")
    grid = Grid(array, np.zeros(1), np.tile(28e9 + np.arange(3) * 1e7, 2))
    parts = np.random.default_rng(0).standard_normal((2, 1, 1, 4, 6, 2)) @ np.array([1, 1j])
    blocks = unlabelled(parts.astype(np.complex64), grid)
    monkeypatch.setattr(data, "link_blocks", lambda dataset, split: blocks)
    found = data.whole_source([object()])
    np.testing.assert_allclose(found.detuned_hz, np.arange(3) * 1e7)
    assert found.channels.shape == (4, 1, 4, 3)
    second = blocks.channel[0, 0, :, :, 3:]
    np.testing.assert_allclose(found.channels[2], second / np.sqrt(np.mean(np.abs(second) ** 2)), rtol=1e-5)


@pytest.mark.parametrize("values", [CLUSTERS, PRIOR, FLOW], ids=["clusters", "prior", "mean-flow"])
def test_a_sample_is_the_same_whoever_prepares_it(values):
    whole = prepare(source(), recipe(values), 3, range(4))
    part = prepare(source(), recipe(values), 3, range(2, 4))
    for name in ("clean", "weight"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[2:])


def test_pilots_have_the_noise_they_tell_of():
    batch = prepare(source(), recipe(CLUSTERS), 0, range(4))
    clean = torch.view_as_complex(batch.clean).flatten(1, 2)
    sent = batch.measured().measured(clean.mT).mT
    left = (torch.view_as_complex(batch.values) - sent).abs().square().mean((1, 2))
    assert ((left / batch.noise > 0.3) & (left / batch.noise < 3)).all()
    assert batch.values.shape[1] in (6, 9)


def test_noisy_samples_have_the_noise_they_tell_of():
    batch = prepare(source(), recipe(FLOW), 0, range(4))
    left = (batch.noisy - batch.clean).square().sum(3).mean((1, 2))
    torch.testing.assert_close(left, batch.sigma.square(), rtol=0.5, atol=0)
    assert (batch.until <= batch.sigma).all()


@pytest.mark.parametrize(
    ("values", "kind"), [(CLUSTERS, ClusterEstimator), (PRIOR, PriorEstimator), (FLOW, PriorEstimator)]
)
def test_a_run_ends_in_a_checkpoint_that_answers(values, kind, tmp_path):
    checkpoint = pretrain_from(recipe(values), source(), NOTHING, tmp_path)
    assert isinstance(load_model(checkpoint), kind)


@pytest.mark.parametrize("values", [CLUSTERS, PRIOR])
def test_settings_of_masked_links_are_refused(values):
    with pytest.raises(ValueError, match="does not apply"):
        recipe(values, mask_ratio=[0.1, 0.5])
