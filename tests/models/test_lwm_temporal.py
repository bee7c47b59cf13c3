"""LWM-Temporal: what tokens see, what they ignore, and that no size is built in."""

import pytest
import torch
from torch import nn

from channelfm.errors import InputError
from channelfm.models.lwm_temporal import LWMTemporal
from channelfm.models.zoo import build

SMALL = {"width": 24, "depth": 2, "heads": 2, "patch": (2, 2), "positions": "axial"}


def network(seed=0, **options):
    torch.manual_seed(seed)
    made = LWMTemporal(**(SMALL | options))
    nn.init.normal_(made.reconstruct.weight, std=0.1)
    return made.eval()


def example(frames=6, angles=6, taps=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    seen = torch.rand(2, frames, angles, taps, generator=generator) < 0.6
    return torch.randn(2, frames, angles, taps, 2, generator=generator), seen


def test_table_i_sizes():
    made = build("lwm-temporal")
    assert (len(made.blocks), made.heads, made.patch, made.cls_token.shape) == (12, 8, (1, 1), (32,))
    assert made.neighbourhood.offsets == (1, 2, 3, 4)
    # per block: 4 width^2 of attention, 12 width^2 of SwiGLU, biases and two norms
    block = sum(weight.numel() for weight in made.blocks[0].parameters())
    assert block == 16 * 32**2 + (3 * 32 + 32 + 8 * 32 + 32) + 4 * 32


@pytest.mark.parametrize("options", [{}, {"dense": True}, {"positions": "flat"}, {"routed": True}])
@pytest.mark.parametrize("size", [(6, 6, 5), (1, 3, 2), (4, 2, 7)])
def test_any_size(options, size):
    frames, seen = example(*size)
    estimate = network(**options)(frames, seen)
    assert estimate.shape == frames.shape
    assert estimate.dtype == torch.float32


def test_hidden_entries_are_ignored():
    frames, seen = example()
    made = network()
    assert torch.equal(made(frames, seen), made(torch.where(seen[..., None], frames, 7.0), seen))


def test_trust_tells_guesses_from_observations():
    frames, seen = example()
    made = network()
    assert torch.equal(made(frames, seen.float()), made(frames, seen))
    half = torch.where(seen, 1.0, 0.5)
    assert not torch.allclose(made(frames, half), made(frames, seen), atol=1e-3)
    assert not torch.allclose(made(frames, half), made(frames, torch.ones_like(half)), atol=1e-3)


def test_hidden_tokens_keep_their_positions():
    frames, seen = example()
    seen[:, 3:] = False
    estimate = network()(frames, seen)
    assert not torch.allclose(estimate[:, 3, :2], estimate[:, 3, 2:4], atol=1e-4)


@pytest.mark.parametrize("dense", [False, True])
def test_causal_tokens_know_nothing_of_later_frames(dense):
    frames, seen = example()
    made, changed = network(causal=True, dense=dense), frames.clone()
    changed[:, 4:] = 5.0
    before, after = made(frames, seen)[:, :4], made(changed, seen)[:, :4]
    assert torch.allclose(before, after, atol=1e-6)
    both = network(dense=dense)
    assert not torch.allclose(both(frames, seen)[:, :4], both(changed, seen)[:, :4], atol=1e-3)


def test_weights_do_not_depend_on_how_tokens_attend():
    made = network()
    frames, seen = example()
    for options in ({"causal": True}, {"dense": True}, {"routed": True}):
        other = network(1, **options)
        other.load_state_dict(made.state_dict())
        assert torch.equal(other.embed_patch.weight, made.embed_patch.weight)
        assert not torch.allclose(other(frames, seen), made(frames, seen), atol=1e-3)


def test_sparse_attention_to_everything_is_dense_attention():
    wide = {"radii": (9, 9), "offsets": (1, 2, 3, 4, 5), "drift": (9.0, 9.0)}
    frames, seen = example()
    sparse, dense = network(**wide), network(dense=True)
    assert torch.allclose(sparse(frames, seen), dense(frames, seen), atol=1e-4)


def test_gradients_reach_every_parameter():
    made = network()
    frames, seen = example()
    made(frames, seen).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in made.parameters())


def test_half_precision():
    frames, seen = example()
    made = network()
    exact = made(frames, seen)
    half = made.to(torch.bfloat16)(frames, seen)
    assert half.dtype == torch.float32
    assert torch.allclose(half, exact, atol=0.1 * float(exact.abs().max()))


def test_bad_shapes_and_sizes():
    frames, seen = example()
    for bad in ((frames[:, :3], seen), (frames[:, :0], seen[:, :0]), (frames[0], seen[0])):
        with pytest.raises(InputError, match="frame, angle, tap"):
            network()(*bad)
    for options, message in (
        ({"width": 25}, "heads"),
        ({"positions": "none"}, "positions"),
        ({"dense": True, "routed": True}, "routing"),
    ):
        with pytest.raises(InputError, match=message):
            network(**options)
