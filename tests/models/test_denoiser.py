import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.denoiser import Denoiser
from channelfm.models.layers import grid_positions
from channelfm.models.zoo import BUILDERS, build


def inputs(rows, cols, count=2):
    torch.manual_seed(0)
    mask = torch.rand(count, rows, cols) < 0.3
    mask[:, 0, 0] = True
    return torch.randn(count, rows, cols, 2), torch.tensor([3, 900])[:count], torch.randn(count, rows, cols, 2), mask


def awake(**options):
    """A network whose output layer is not zero, as it is at the start of training."""
    torch.manual_seed(1)
    network = Denoiser(width=32, depth=2, heads=2, **options)
    torch.nn.init.normal_(network.project.weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (1, 16), (5, 7), (64, 1)])
def test_any_array_size(rows, cols):
    noisy, step, observed, mask = inputs(rows, cols)
    output = awake()(noisy, step, observed, mask)
    assert output.shape == noisy.shape
    assert torch.isfinite(output).all()


def test_bfloat16():
    noisy, step, observed, mask = inputs(8, 8)
    network = awake()
    exact = network(noisy, step, observed, mask)
    rough = network.to(torch.bfloat16)(noisy, step, observed, mask)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("observed_in_query", [True, False])
def test_hidden_antennas_are_not_looked_at(observed_in_query):
    network = awake(observed_in_query=observed_in_query)
    noisy, step, observed, mask = inputs(8, 8)
    changed = torch.where(mask[..., None], observed, 100.0)
    assert torch.equal(network(noisy, step, observed, mask), network(noisy, step, changed, mask))


def test_tokens_without_an_observed_antenna_have_no_key():
    # With the patch of one antenna alone observed, the cross-attention has a single key: its weights are all one.
    network = awake(observed_in_query=False)
    noisy, step, observed, _ = inputs(8, 8)
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[:, 1, 1] = True
    seen = []
    hook = network.blocks[0].cross_attention.register_forward_hook(lambda _, given, out: seen.append((given, out)))
    network(noisy, step, observed, mask)
    hook.remove()
    (_, context, bias), mixed = seen[0]
    attention = network.blocks[0].cross_attention
    value = attention.key_value(context[:, :1])[..., attention.out.in_features :]
    assert torch.isinf(bias[:, 0, 0, 1:]).all()
    torch.testing.assert_close(mixed, attention.out(value).expand_as(mixed))


def test_step_and_noisy_input_matter():
    network = awake()
    noisy, step, observed, mask = inputs(8, 8)
    output = network(noisy, step, observed, mask)
    assert not torch.allclose(output, network(noisy, step + 50, observed, mask))
    assert not torch.allclose(output, network(noisy + 1, step, observed, mask))


@pytest.mark.parametrize("observed_in_query", [True, False])
def test_a_sample_without_observation_does_no_harm(observed_in_query):
    # Attention to nothing would be 0 / 0: neither answer nor gradient may be NaN, and other samples stay as they are.
    network = awake(observed_in_query=observed_in_query)
    noisy, step, observed, mask = inputs(8, 8)
    both = network(noisy, step, observed, mask)
    biases = []
    network.blocks[0].register_forward_pre_hook(lambda _, given: biases.append(given[2]))
    mask[0] = False
    output = network(noisy, step, observed, mask)
    assert torch.isfinite(biases[0]).any(dim=-1).all()
    output.square().sum().backward()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
    torch.testing.assert_close(output[1], both[1])


def test_partly_observed_tokens_count_as_observed():
    # One antenna of a token is enough for a key, and the others of that token stay unseen.
    network = awake(observed_in_query=False)
    noisy, step, observed, _ = inputs(8, 12)
    mask = torch.zeros(2, 8, 12, dtype=torch.bool)
    mask[:, 5, 9] = True
    output = network(noisy, step, observed, mask)
    seen, unseen = observed.clone(), observed.clone()
    seen[:, 5, 9] += 1
    unseen[:, 5, 10] += 1
    assert not torch.allclose(network(noisy, step, seen, mask), output)
    assert torch.equal(network(noisy, step, unseen, mask), output)


def test_padding_is_as_good_as_hidden_antennas():
    # 6 x 7 is padded to 8 x 8: the answer inside is that of an 8 x 8 array with nothing in the two extra rows.
    network = awake()
    noisy, step, observed, mask = inputs(6, 7)
    pad = (0, 0, 0, 1, 0, 2)
    grow = torch.nn.functional.pad
    whole = network(grow(noisy, pad), step, grow(observed, pad), grow(mask, pad[2:]))
    torch.testing.assert_close(network(noisy, step, observed, mask), whole[:, :6, :7])


@pytest.mark.parametrize(("rows", "cols"), [(8, 12), (1, 10)])
def test_it_compiles_without_graph_breaks(rows, cols):
    network, given = awake(), inputs(rows, cols)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*given), network(*given))


def test_positions_are_all_different():
    positions = grid_positions(4, 6, 32)
    assert positions.shape == (24, 32)
    assert torch.cdist(positions, positions).fill_diagonal_(1.0).min() > 0.1


def test_base_has_the_parameters_of_the_paper():
    parameters = sum(weight.numel() for weight in BUILDERS["cddim-base"]().parameters())
    assert parameters == pytest.approx(44.19e6, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("cddim-tiny", 0.5, 1),
        ("cddim-small", 3, 6),
        ("unet-tiny", 0.62, 0.76),
        ("unet-small", 3.3, 3.7),
        ("critic", 0.3, 1.6),
    ],
)
def test_sizes_of_the_zoo(name, least, most):
    assert least < sum(weight.numel() for weight in build(name).parameters()) / 1e6 < most


def test_bad_names_and_options():
    with pytest.raises(InputError, match="cddim-base"):
        build("cddim-huge")
    with pytest.raises(InputError, match="colour"):
        build("cddim-tiny", colour=3)
    with pytest.raises(InputError, match="multiple"):
        Denoiser(width=30, heads=4)
