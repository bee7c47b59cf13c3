"""The mixture of linear predictions."""

import pytest
import torch
from torch import nn

from channelfm.errors import InputError
from channelfm.models.mixture import LinearMixture

AHEAD = torch.tensor([1, 4])


def network():
    torch.manual_seed(0)
    made = LinearMixture(3, 8, 1)
    nn.init.normal_(made.weigh.weight, std=0.3)
    return made


def guesses():
    return torch.randn(2, 3, 2, 5, 6, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 0.1])


def test_it_turns_and_scales_with_the_channel():
    made, (candidates, noise) = network(), guesses()
    turned = torch.view_as_real(torch.view_as_complex(candidates) * (0.3 - 0.4j))
    answer = torch.view_as_complex(made(candidates, noise, AHEAD)) * (0.3 - 0.4j)
    assert torch.allclose(torch.view_as_complex(made(turned, noise, AHEAD)), answer, atol=1e-5)


def test_it_commutes_with_shifts_in_angle_and_delay():
    made, (candidates, noise) = network(), guesses()
    shifted = made(candidates.roll((2, 1), (3, 4)), noise, AHEAD)
    assert torch.allclose(shifted, made(candidates, noise, AHEAD).roll((2, 1), (2, 3)), atol=1e-5)


def test_horizons_are_told_apart_and_do_not_mix():
    made, (candidates, noise) = network(), guesses()
    both = made(candidates, noise, AHEAD)
    assert torch.allclose(both[:, 1:], made(candidates[:, :, 1:], noise, AHEAD[1:]), atol=1e-6)
    assert not torch.allclose(both, made(candidates, noise, AHEAD + 3), atol=1e-4)


def test_gradients_reach_every_parameter():
    made = network()
    made(*guesses(), AHEAD).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in made.parameters())


def test_zeros_are_answered_with_zeros():
    candidates, noise = guesses()
    assert not network()(0 * candidates, noise, AHEAD).abs().max() > 1e-6


def test_bad_input():
    candidates, noise = guesses()
    with pytest.raises(InputError, match="horizon, angle"):
        network()(candidates[:, :2], noise, AHEAD)
    with pytest.raises(InputError, match="at least 1"):
        LinearMixture(candidates=0)
