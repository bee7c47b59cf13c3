import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.unet import UNet


def inputs(rows, cols, count=2):
    torch.manual_seed(0)
    mask = torch.rand(count, rows, cols) < 0.3
    return torch.randn(count, rows, cols, 2), torch.tensor([3, 900])[:count], torch.randn(count, rows, cols, 2), mask


def awake(**options):
    """A network whose output layer is not zero, as it is at the start of training."""
    torch.manual_seed(1)
    network = UNet(**({"width": 8} | options))
    torch.nn.init.normal_(network.body.conv_out.weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (1, 16), (5, 7), (64, 1), (1, 1)])
def test_any_array_size(rows, cols):
    given = inputs(rows, cols)
    output = awake()(*given)
    assert output.shape == given[0].shape
    assert torch.isfinite(output).all()


def test_untrained_it_answers_zero():
    assert not UNet(width=8)(*inputs(8, 8)).any()


def test_padding_is_as_good_as_hidden_antennas():
    network = awake()
    noisy, step, observed, mask = inputs(6, 7)
    grow = torch.nn.functional.pad
    whole = network(grow(noisy, (0, 0, 0, 1, 0, 2)), step, grow(observed, (0, 0, 0, 1, 0, 2)), grow(mask, (0, 1, 0, 2)))
    torch.testing.assert_close(network(noisy, step, observed, mask), whole[:, :6, :7])


def test_hidden_antennas_are_not_looked_at():
    network = awake()
    noisy, step, observed, mask = inputs(8, 8)
    changed = torch.where(mask[..., None], observed, 100.0)
    assert torch.equal(network(noisy, step, observed, mask), network(noisy, step, changed, mask))


def test_step_observation_and_noisy_input_matter():
    network = awake()
    noisy, step, observed, mask = inputs(8, 8)
    output = network(noisy, step, observed, mask)
    for changed in (
        (noisy + 1, step, observed, mask),
        (noisy, step + 50, observed, mask),
        (noisy, step, -observed, mask),
    ):
        assert not torch.allclose(output, network(*changed), rtol=1e-3)


def test_bfloat16():
    given = inputs(8, 8)
    network = awake()
    exact = network(*given)
    rough = network.to(torch.bfloat16)(*given)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_bad_width():
    with pytest.raises(InputError, match="multiple of 4"):
        UNet(width=30)
