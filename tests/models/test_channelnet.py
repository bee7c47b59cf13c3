import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.channelnet import ChannelNet


def test_the_published_number_of_parameters():
    with torch.device("meta"):
        network = ChannelNet()
    assert round(sum(weight.numel() for weight in network.parameters()) / 1e6, 2) == 0.68


def test_every_size_and_a_gradient_to_every_weight_of_each_stage():
    torch.manual_seed(0)
    network, image = ChannelNet(width=6, depth=4), torch.randn(2, 9, 14, 2)
    torch.testing.assert_close(network(image), image)
    for stage in (network.super_resolution, network.restoration):
        torch.nn.init.normal_(stage[-1].weight)
    assert network(image).shape == image.shape
    network.resolved(image).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.super_resolution.parameters())
    assert all(weight.grad is None for weight in network.restoration.parameters())
    network.restored(image).square().sum().backward()
    assert all(weight.grad is not None for weight in network.restoration.parameters())


def test_real_and_imaginary_part_are_seen_alike():
    torch.manual_seed(0)
    network, image = ChannelNet(width=6, depth=4).eval(), torch.randn(2, 9, 14, 2)
    torch.nn.init.normal_(network.restoration[-1].weight)
    torch.testing.assert_close(network(image.flip(-1)), network(image).flip(-1))


def test_sizes_that_are_none_are_refused():
    with pytest.raises(InputError, match="at least 2 and 3"):
        ChannelNet(depth=2)
