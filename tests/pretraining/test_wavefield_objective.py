"""The wavefield objective: waves found beside the training, an error that is relative, a loss that falls."""

import numpy as np
import pytest
import torch

from channelfm.pretraining.feed import prepare
from channelfm.pretraining.loop import pretrain
from channelfm.pretraining.objectives import fresh_networks, wavefield_loss
from channelfm.pretraining.source import ArraySource
from channelfm.pretraining.views import WavefieldBatch

WAVEFIELD = {
    "objective": {"kind": "wavefield"},
    "predictor_method": "wavefield",
    "predictor_model": "wavefield-small",
    "predictor_model_options": {"width": 8, "steps": 1, "waves": 2},
    "predictor_sampler": {"data_consistency": False},
    "mask_ratio": (0.5, 0.9),
}


@pytest.fixture
def recipe(make_recipe):
    return make_recipe(**WAVEFIELD, source={"snr_db": (0.0, 10.0)})


def test_a_batch_holds_the_waves_of_what_was_received(recipe, channels):
    batch = prepare(ArraySource(channels(side=16)), recipe, 0, range(4))
    assert isinstance(batch, WavefieldBatch)
    assert not batch.observed[~batch.mask].any()
    torch.testing.assert_close(batch.clean.square().sum(3).mean((1, 2)), torch.ones(4))
    assert batch.present.any(1).all()
    noise = (batch.observed - batch.clean)[batch.mask].square().mean()
    assert 0.05 < float(noise) < 0.6  # 0 to 10 dB below a unit channel, over real and imaginary part


def test_the_loss_is_the_logarithm_of_the_relative_error(recipe, channels):
    batch = prepare(ArraySource(channels(side=16)), recipe, 0, range(4))

    def off_by_a_tenth(field, mask, spacing, found):
        return 1.1 * torch.view_as_complex(batch.clean)

    assert float(wavefield_loss(off_by_a_tenth, recipe, batch)) == pytest.approx(np.log(0.1), abs=1e-3)


def test_training_lowers_the_loss(recipe, channels):
    batch = prepare(ArraySource(channels(side=16)), recipe, 0, range(12))
    network = fresh_networks(recipe)["network"][0]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = wavefield_loss(network, recipe, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1


def test_a_run_ends_with_a_usable_predictor(recipe, channels, tmp_path):
    from channelfm.checkpoints import load_model

    model = load_model(pretrain(recipe, channels(side=16), channels(4, seed=1, side=16), tmp_path))
    truth = channels(2, seed=2, side=16)
    mask = np.random.default_rng(0).random((2, 16, 16, 1)) < 0.4
    error = np.abs(model.predict(np.where(mask, truth, 0), mask) - truth) ** 2
    assert (error.sum((1, 2, 3)) < 0.1 * (np.abs(truth) ** 2).sum((1, 2, 3))).all()
