"""Adapted networks: what learns, that nobody else's network changes, and that they see what they are to see."""

import numpy as np
import pytest
import torch
from torch import nn

from channelfm.arrays import spherical_wave
from channelfm.checkpoints import load_model
from channelfm.datasets.blocks import link_blocks
from channelfm.datasets.dataset import open_dataset
from channelfm.errors import InputError
from channelfm.estimator import CLASSES, Examples, Learns
from channelfm.learned.adaptation import Adapted, adapted
from channelfm.models.denoiser import Denoiser
from channelfm.tasks import LineOfSight
from channelfm.tasks.observing import Partial, partial

MODES = ("probe", "partial", "lora", "full")


@pytest.fixture(scope="module")
def model():
    return load_model("cddim-tiny", spacing_wavelengths=0.5)


def examples(count, seed):
    """One wave from the left or the right, half of the antennas seen: classes that direction alone tells apart."""
    generator = np.random.default_rng(seed)
    target = np.arange(count) % 2
    sources = generator.uniform([50, 20, -30], [90, 60, 30], (count, 3)) * np.where(target, 1, -1)[:, None] ** [0, 1, 0]
    channel = spherical_wave(8, 8, sources)[..., None].astype(np.complex64)
    blocks = Examples.of_channels(channel).blocks
    return Examples(partial(blocks, Partial("random", 0.5, 20.0), seed), target, blocks)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_what_learns_and_what_stays(model, mode):
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    learner = Adapted(model, mode, steps=60, learning_rate=5e-3)
    assert isinstance(learner, Learns)
    train, test = examples(128, 0), examples(20, 1)
    learner.learn(train)
    assert learner.gives == CLASSES
    answer = learner.estimate(test.observation)
    assert answer.shape == (20, 2)
    np.testing.assert_allclose(answer.sum(1), 1)
    assert np.mean(answer.argmax(1) == test.target) >= 0.9
    assert all(torch.equal(weight, before[name]) for name, weight in model.network.state_dict().items())
    again = Adapted(model, mode, steps=60, learning_rate=5e-3)
    torch.rand(7)  # other random numbers in between
    again.learn(train)
    np.testing.assert_array_equal(again.estimate(test.observation), answer)


def test_how_many_weights_each_mode_trains():
    network = Denoiser(width=16, depth=2, heads=2)
    whole = sum(weight.numel() for weight in network.parameters())
    learns = {
        mode: sum(weight.numel() for weight in adapted(network, mode).parameters() if weight.requires_grad)
        for mode in MODES
    }
    assert learns["probe"] == 0
    assert learns["full"] == whole
    assert learns["partial"] == sum(weight.numel() for weight in network.blocks[-1].parameters())
    last_two = adapted(network, "partial", last=2)
    assert [any(weight.requires_grad for weight in block.parameters()) for block in last_two.blocks] == [True, True]
    linear = [module for module in network.blocks.modules() if isinstance(module, nn.Linear)]
    assert learns["lora"] == sum(4 * (layer.in_features + layer.out_features) for layer in linear)
    assert all(weight.requires_grad for weight in network.parameters())


def test_low_rank_changes_start_at_zero():
    network, given = Denoiser(width=16, depth=1, heads=2), torch.randn(2, 8, 8, 2)
    arguments = given, torch.zeros(2, dtype=torch.int64), given, torch.ones(2, 8, 8, dtype=torch.bool)
    torch.testing.assert_close(adapted(network, "lora").features(*arguments), network.features(*arguments))


def test_what_cannot_be_adapted_is_refused(model):
    with pytest.raises(InputError, match="use one of: probe, partial, lora, full"):
        adapted(nn.Linear(1, 1), "half")
    with pytest.raises(InputError, match="no blocks to adapt; use probe or full"):
        adapted(nn.Linear(1, 1), "lora")
    with pytest.raises(InputError, match="no tokens for a head"):
        Adapted(load_model("gru-small"))
    with pytest.raises(InputError, match="no head gives 'beams'"):
        Adapted(model, gives="beams")
    with pytest.raises(InputError, match="call learn first"):
        Adapted(model).estimate(examples(4, 0).observation)
    alike = examples(8, 0)
    with pytest.raises(InputError, match="no head answers targets of type complex64"):
        Adapted(model).learn(Examples(alike.observation, alike.channel, alike.blocks))
    with pytest.raises(InputError, match="gives classes, not targets of type float64"):
        Adapted(model, gives="classes").learn(Examples(alike.observation, np.zeros((8, 3)), alike.blocks))
    with pytest.raises(InputError, match="give examples of each"):
        Adapted(model).learn(Examples(alike.observation, np.zeros(8, np.int64), alike.blocks))


@pytest.mark.slow
def test_a_probe_sees_whether_users_are_in_sight(model):
    task, dataset = LineOfSight(), open_dataset("laetwin-hard")
    case = task.cases()[0]
    train, test = (
        task.examples(link_blocks(dataset, split, np.arange(0, count, 3), (16, 16)), case, 0)
        for split, count in (("train", 330), ("test", 720))
    )
    learner = Adapted(model)
    learner.learn(train)
    majority = np.tile(np.bincount(train.target) / len(train), (len(test), 1))
    scores, trivial = (task.score(answer, test) for answer in (learner.estimate(test.observation), majority))
    assert scores["balanced"].mean() > trivial["balanced"].mean() + 0.3
    assert scores["log_loss"].mean() < trivial["log_loss"].mean() / 2
