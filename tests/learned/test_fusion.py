"""Heads that fuse several diffusion steps: any number of tokens, every weight learns, what the waves tell is seen."""

import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.checkpoints import load_model
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.estimator import CLASSES, Examples, antennas_seen
from channelfm.learned.adaptation import Adapted
from channelfm.learned.domains import enter_frame
from channelfm.learned.fusion import STEP_SHARES, FusedHead, InformedClassHead, in_cells, range_told, timed_tokens
from channelfm.learned.heads import ClassHead, FocalClassHead, asked_for
from channelfm.tasks.observing import Partial, partial
from channelfm.tokens.canonical import FrameRecipe

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def model():
    return load_model("cddim-tiny", spacing_wavelengths=0.5)


def examples(count, seed, size=16):
    """One wave from within half of the Rayleigh distance or beyond twice of it, half of the antennas seen."""
    generator, target = RNG(seed), np.arange(count) % 2
    rayleigh = (2 * (size - 1) ** 2 * 2) * 0.25
    distance = rayleigh * np.where(target, generator.uniform(0.2, 0.5, count), generator.uniform(2, 5, count))
    direction = generator.uniform([0.8, -0.4, -0.4], [1, 0.4, 0.4], (count, 3))
    places = direction / np.linalg.norm(direction, axis=1)[:, None] * distance[:, None]
    channel = spherical_wave(size, size, places)[:, None, :, :, None].astype(np.complex64)
    grid = antennas_seen(channel[:, 0], np.ones(channel[:, 0].shape, bool), 0.5).grid
    blocks = unlabelled(channel, grid)
    return Examples(partial(blocks, Partial("random", 0.5, 20.0), seed), target, blocks)


@pytest.mark.parametrize(
    ("rows", "cols", "cells"), [(8, 8, (2, 2)), (64, 64, (4, 4)), (12, 40, (3, 4)), (4, 4, (1, 1))]
)
def test_tokens_of_any_array_fit(model, rows, cols, cells):
    known, seen = torch.randn(2, rows, cols, 2), torch.rand(2, rows, cols) < 0.7
    with torch.no_grad():
        tokens = timed_tokens(model, known, seen)
    assert tokens.shape == (2, len(STEP_SHARES), *cells, 96)
    assert not torch.equal(tokens[:, 0], tokens[:, 1])
    taken_out, target = torch.randn(2, 9), torch.tensor([0, 1])
    assert FusedHead(96, taken_out, target)(tokens, taken_out).shape == (2, 2)


def test_cells_are_means_of_tokens_where_they_lie():
    tokens = torch.arange(8 * 16.0).reshape(1, 128, 1)  # 8 down, 16 across
    cells = in_cells(tokens, 32, 64)
    assert cells.shape == (1, 4, 4, 1)
    torch.testing.assert_close(cells[0, 0, :, 0], torch.tensor([9.5, 13.5, 17.5, 21.5]))
    assert in_cells(torch.zeros(1, 7, 3), 5, 5).shape == (1, 1, 4, 3)


def test_every_weight_of_the_head_learns_and_steps_and_places_count():
    torch.manual_seed(0)
    taken_out, target = torch.randn(6, 9), torch.tensor([0, 1, 0, 1, 1, 0])
    head, tokens = FusedHead(16, taken_out, target), torch.randn(6, 5, 2, 3, 16)
    torch.nn.init.normal_(head.head.layers[-1].weight)  # it starts at zero
    head.loss(head(tokens, taken_out), target).backward()
    assert all(weight.grad is not None for weight in head.parameters())
    still = [name for name, weight in head.named_parameters() if not weight.grad.abs().sum() > 0]
    assert not still
    output = head(tokens, taken_out)
    assert not torch.allclose(head(tokens.flip(1), taken_out), output, atol=1e-6)
    assert not torch.allclose(head(tokens.flip(2), taken_out), output, atol=1e-6)


def test_focal_loss_is_cross_entropy_that_forgets_what_is_right():
    taken_out, target = torch.randn(5, 3), torch.tensor([0, 0, 0, 1, 1])
    plain, focal = ClassHead(4, taken_out, target), FocalClassHead(4, taken_out, target)
    output = torch.randn(5, 2)
    focal.focus = 0.0
    torch.testing.assert_close(focal.loss(output, target), plain.loss(output, target))
    focal.focus = 2.0
    right = torch.nn.functional.one_hot(target, 2) * 10.0
    assert focal.loss(right, target) < 1e-6 * plain.loss(right, target)
    assert asked_for(target.numpy()) == CLASSES


def test_what_the_waves_tell_is_the_range():
    """Known ranges, in Rayleigh distances, of clean waves."""
    shares = np.array([0.3, 1.0, 3.0])
    places = np.array([[0.9, 0.2, -0.3]]) / np.linalg.norm([0.9, 0.2, -0.3]) * shares[:, None] * 4 * 15**2 * 0.25
    field = torch.from_numpy(spherical_wave(16, 16, places).astype(np.complex64)) * 1e-5
    inside = enter_frame(field, torch.ones(3, 16, 16, dtype=torch.bool), FrameRecipe(waves=4))
    told = range_told(inside)
    np.testing.assert_allclose(told[:, 0].exp() - 0.01, 1 / shares, rtol=2e-2)
    assert (told[:, 1] < -3).all()
    assert told[0, 2] > 1
    assert told[2, 2] < -1
    assert told[0, 3] == 30
    assert told[2, 3] == -30


def test_evidence_counts_as_far_as_examples_confirm_it():
    generator = torch.Generator().manual_seed(0)
    evidence = 4 * torch.randn(400, generator=generator)
    said = (torch.rand(400, generator=generator) < evidence.sigmoid()).long()
    other = torch.randint(0, 2, (400,), generator=generator)
    taken_out, tokens = torch.stack([torch.zeros(400), evidence], dim=1), torch.zeros(400, 1, 4)
    confirmed, unrelated = (InformedClassHead(4, taken_out, target) for target in (said, other))
    assert confirmed.share >= 0.7
    assert unrelated.share <= 0.05
    answer = confirmed.answer(confirmed(tokens, taken_out).detach())
    np.testing.assert_allclose(answer[:, 1], (confirmed.share.detach() * evidence).sigmoid(), atol=1e-6)
    three = InformedClassHead(4, taken_out, torch.arange(400) % 3)
    assert not three(tokens, taken_out).any()


@pytest.mark.slow
def test_a_fused_head_learns_near_and_far(model):
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    train, test = examples(96, 0), examples(40, 1)
    learner = Adapted(model, fused=True, steps=60)
    assert learner.name == "cddim-tiny-fusion"
    learner.learn(train)
    answer = learner.estimate(test.observation)
    assert learner.gives == CLASSES
    assert np.mean(answer.argmax(1) == test.target) > 0.9
    again = Adapted(model, fused=True, steps=60)
    torch.rand(3)
    again.learn(train)
    np.testing.assert_array_equal(again.estimate(test.observation), answer)
    assert all(torch.equal(weight, before[name]) for name, weight in model.network.state_dict().items())


@pytest.mark.slow
def test_last_blocks_learn_with_the_fusion(model):
    train = examples(12, 0)
    learner = Adapted(model, "partial", fused=True, last=2, steps=2)
    learner.learn(train)
    changed = [
        not all(torch.equal(a, b) for a, b in zip(new.parameters(), old.parameters(), strict=True))
        for new, old in zip(learner._encoder.network.blocks, model.network.blocks, strict=True)
    ]
    assert changed == [False, False, True, True]


def test_networks_without_steps_are_refused():
    with pytest.raises(InputError, match="no steps of diffusion"):
        Adapted(load_model("mcm-tiny"), fused=True).learn(examples(4, 0))
