import numpy as np
import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.wifo import WiFo, _cut, _join, stf_positions, wifo_mask


def inputs(times=8, rows=8, cols=8, future=4, count=2):
    torch.manual_seed(0)
    seen = torch.ones(count, times, rows, cols, dtype=torch.bool)
    seen[:, times - future :] = False
    return torch.randn(count, times, rows, cols, 2), seen


def small():
    torch.manual_seed(1)
    return WiFo(width=32, depth=2, decoder_depth=2, heads=4).eval()


@pytest.mark.parametrize(("times", "rows", "cols"), [(8, 8, 8), (1, 1, 1), (5, 7, 3), (18, 4, 9)])
def test_any_size(times, rows, cols):
    frames, seen = inputs(times, rows, cols, future=times // 2)
    output = small()(frames, seen)
    assert output.shape == frames.shape
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()


def test_tokens_are_blocks_and_join_again():
    frames, _ = inputs(6, 7, 9)
    tokens = _cut(frames, (4, 4, 4))
    assert tokens.shape == (2, 2 * 2 * 3, 128)
    assert (tokens[:, 0].reshape(2, 4, 4, 4, 2)[:, :2] == 0).all()  # time is padded at the front
    torch.testing.assert_close(tokens[:, 7].reshape(2, 4, 4, 4, 2), frames[:, 2:, :4, 4:8])
    assert torch.equal(_join(tokens, (6, 7, 9), (4, 4, 4)), frames)


def test_a_future_of_whole_patches_makes_whole_tokens():
    _, seen = inputs(times=14, future=4)
    patches = _cut(seen[..., None], (4, 4, 4))[0].reshape(4, 4, -1)
    assert not patches[-1].any()
    assert patches[:-1].any(dim=-1).all()


def test_only_seen_entries_matter():
    network = small()
    frames, seen = inputs()
    seen &= torch.rand(seen.shape) < 0.5
    seen[1, :, :4] = False
    changed = torch.where(seen[..., None], frames, 100.0)
    assert torch.equal(network(frames, seen), network(changed, seen))


def test_the_past_matters_to_the_future():
    network = small()
    frames, seen = inputs()
    changed = frames.clone()
    changed[:, 0] += 1
    assert not torch.allclose(network(frames, seen)[:, 4:], network(changed, seen)[:, 4:])


def test_samples_with_other_masks_do_not_notice_each_other():
    network = small()
    frames, seen = inputs(count=3)
    seen[1, :, :, 4:] = False
    seen[2, :, 4:] = False
    seen[2, :4, 4:, :4] = True
    together = network(frames, seen)
    for sample in range(3):
        torch.testing.assert_close(network(frames[sample, None], seen[sample, None])[0], together[sample])


def test_a_sample_without_observation_does_no_harm():
    network = small()
    frames, seen = inputs()
    both = network(frames, seen)
    seen[0] = False
    output = network(frames, seen)
    output.square().sum().backward()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
    torch.testing.assert_close(output[1], both[1])
    seen[1] = False
    assert torch.isfinite(network(frames, seen)).all()


def test_hidden_tokens_do_not_pass_the_encoder():
    network = small()
    frames, seen = inputs()
    lengths = []
    network.encoder[0].register_forward_hook(lambda _, given, out: lengths.append(out.shape[1]))
    network.decoder[0].register_forward_hook(lambda _, given, out: lengths.append(out.shape[1]))
    network(frames, seen)
    assert lengths == [4, 8]


def test_gradients_reach_every_parameter():
    network = small()
    network(*inputs()).square().mean().backward()
    assert all(weight.grad.abs().max() > 0 for weight in network.parameters())


def test_bfloat16():
    network, given = small(), inputs()
    exact = network(*given)
    rough = network.to(torch.bfloat16)(*given)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(("width", "parameters", "published"), [(64, 355_776, 0.3e6), (512, 21_424_768, 21.6e6)])
def test_parameters(width, parameters, published):
    # The published numbers hold 0.1 million (base) of position tables that sinusoids leave unused.
    count = sum(weight.numel() for weight in WiFo(width).parameters())
    assert count == parameters
    assert count == pytest.approx(published, rel=0.2)


@pytest.mark.parametrize(("width", "shares"), [(64, (22, 22, 20)), (256, (86, 86, 84)), (512, (170, 170, 172))])
def test_positions_have_the_published_shares(width, shares):
    positions = stf_positions((3, 4, 5), width).reshape(3, 4, 5, width)
    time, row, col = positions.split(shares, dim=-1)
    assert (time == time[:, :1, :1]).all()
    assert (row == row[:1, :, :1]).all()
    assert (col == col[:1, :1]).all()
    flat = positions.reshape(-1, width)
    assert torch.cdist(flat, flat).fill_diagonal_(1.0).min() > 0.1


@pytest.mark.parametrize(("kind", "hidden"), [("random", 51), ("temporal", 30), ("frequency", 30)])
def test_masks(kind, hidden):
    ratio = 0.85 if kind == "random" else 0.5
    seen = wifo_mask(kind, 14, 18, 10, ratio, np.random.default_rng(0))
    assert seen.shape == (14, 18, 10)
    patches = _cut(torch.from_numpy(seen)[None, ..., None], (4, 4, 4))[0]
    whole = _cut(torch.ones(1, 14, 18, 10, 1, dtype=torch.bool), (4, 4, 4))[0]
    visible = patches.any(dim=-1)
    assert torch.equal(patches, whole & visible[:, None])
    grid = visible.reshape(4, 5, 3)
    if kind == "random":
        assert int((~visible).sum()) == hidden
    elif kind == "temporal":
        assert seen[:6].all()
        assert not seen[6:].any()
    else:
        assert torch.equal(grid, torch.tensor([True, False, False]).expand(4, 5, 3))


def test_masks_leave_something_and_refuse_nonsense():
    generator = np.random.default_rng(0)
    assert wifo_mask("temporal", 3, 4, 4, 0.9, generator).all()
    with pytest.raises(InputError, match="temporal"):
        wifo_mask("space", 4, 4, 4, 0.5, generator)
    with pytest.raises(InputError, match="ratio"):
        wifo_mask("random", 4, 4, 4, 1.0, generator)


def test_bad_options():
    with pytest.raises(InputError, match="even"):
        WiFo(width=7, heads=7)
    with pytest.raises(InputError, match="multiple"):
        WiFo(width=30, heads=8)
