import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.ce_head import CEHead


def test_the_published_number_of_parameters():
    with torch.device("meta"):
        head = CEHead()
    assert round(sum(weight.numel() for weight in head.parameters()) / 1e6, 2) == 3.13


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (5, 18), (16, 16), (33, 7)])
def test_any_size_and_nothing_at_hidden_antennas(rows, cols):
    torch.manual_seed(0)
    head = CEHead(width=4).eval()
    torch.nn.init.normal_(head.last.weight)
    received, mask = torch.randn(3, rows, cols, 2), torch.rand(3, rows, cols) < 0.7
    answer = head(received, mask)
    assert answer.shape == received.shape
    assert not answer[~mask].any()
    hidden = torch.where(mask[..., None], received, 7.0)
    torch.testing.assert_close(head(hidden, mask), answer)


def test_it_starts_from_the_pilots_and_every_weight_learns():
    torch.manual_seed(0)
    head = CEHead(width=4)
    received, mask = torch.randn(4, 16, 16, 2), torch.rand(4, 16, 16) < 0.5
    torch.testing.assert_close(head(received, mask), torch.where(mask[..., None], received, 0))
    torch.nn.init.normal_(head.last.weight)
    head(received, mask).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in head.parameters())


def test_sizes_that_are_none_are_refused():
    for wrong in ({"width": 0}, {"dropout": 1.0}):
        with pytest.raises(InputError, match="at least 1"):
            CEHead(**wrong)
