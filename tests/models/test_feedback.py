"""Feedback through a few bits."""

import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.feedback import FeedbackHead, LWMFeedback
from channelfm.models.lwm_temporal import LWMTemporal

SMALL = {"width": 16, "depth": 1, "heads": 2, "patch": (2, 2)}


def network():
    torch.manual_seed(0)
    made = LWMFeedback(values=3, bits=2, **SMALL)
    torch.nn.init.normal_(made.reconstruct.weight)
    return made


def example():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 4, 5, 2, generator=generator), torch.ones(2, 3, 4, 5, dtype=torch.bool)


def test_what_comes_back_follows_from_the_codes_alone():
    made, (frames, seen) = network(), example()
    codes = made.encode(frames, seen)
    assert codes.shape == (2, 3 * 2 * 3, 3)
    assert codes.dtype == torch.uint8
    assert codes.max() < 4
    assert torch.allclose(made(frames, seen), made.decode(codes, (3, 4, 5)), atol=1e-5)


def test_gradients_pass_the_rounding():
    made = network()
    made(*example()).square().sum().backward()
    assert made.feedback.shrink.weight.grad.abs().sum() > 0
    assert made.embed_patch.weight.grad.abs().sum() > 0


def test_it_takes_the_weights_of_the_network_without_the_head():
    made = network()
    missing, unexpected = made.load_state_dict(LWMTemporal(**SMALL).state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("feedback.") for name in missing)


def test_codes_of_no_bits():
    for values, bits in ((0, 2), (2, 0), (2, 9)):
        with pytest.raises(InputError, match="1 to 8 bits"):
            FeedbackHead(8, values, bits)
