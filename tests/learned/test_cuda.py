"""Networks on a GPU answer as on the processor, in single precision, in bfloat16, and compiled."""

import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.checkpoints import load_model
from channelfm.diffusion import noise_sample
from channelfm.learned.estimator import estimator_of
from channelfm.metrics import nmse
from channelfm.models.zoo import build
from channelfm.tokens.masks import random_mask

pytestmark = pytest.mark.cuda
DEVICE = "cuda"


@pytest.fixture(scope="module")
def links():
    """Observed channels of two waves each, 16 x 16, their mask, and the channels."""
    generator = np.random.default_rng(0)
    places = generator.uniform((50, -100, -60), (300, 100, 60), (2, 8, 3))
    channel = sum(gain * spherical_wave(16, 16, part) for gain, part in zip((1.0, 0.5), places, strict=True))
    channel = channel[..., None].astype(np.complex64)
    mask = random_mask(generator, 8, 16, 16, 0.75)
    return channel * mask, mask, channel


@pytest.mark.parametrize("name", ["cddim-tiny", "unet-tiny", "wavefield-small"])
def test_a_network_answers_as_on_the_processor(name, links):
    observed, mask, channel = links
    here, there = (load_model(name, device).predict(observed, mask, 0.5) for device in ("cpu", DEVICE))
    assert np.median(nmse(there, channel)) < 2 * np.median(nmse(here, channel)) + 1e-6
    assert np.median(nmse(there, here)) < 1e-4


def test_bfloat16_costs_little(links):
    observed, mask, channel = links
    model = load_model("cddim-tiny", DEVICE)
    half = estimator_of(build("cddim-tiny").to(DEVICE), model.recipe)
    half.network.load_state_dict(model.network.state_dict())
    half.network.to(torch.bfloat16)
    whole, rounded = (np.median(nmse(part.predict(observed, mask, 0.5), channel)) for part in (model, half))
    assert rounded < 2 * whole + 1e-3


def test_a_compiled_network_trains_as_a_plain_one():
    torch.manual_seed(0)
    plain = build("cddim-tiny", width=32, depth=1, heads=2).to(DEVICE)
    recipe = load_model("cddim-tiny").recipe.diffusion
    clean, noise = torch.randn(2, 4, 16, 16, 2, device=DEVICE)
    step, mask = torch.full((4,), 500, device=DEVICE), torch.rand(4, 16, 16, device=DEVICE) < 0.5
    noisy, target = noise_sample(recipe, clean, noise, step)
    gradients = []
    for network in (plain, torch.compile(plain)):
        plain.zero_grad()
        (network(noisy, step, clean * mask[..., None], mask) - target).square().mean().backward()
        gradients.append([weight.grad.clone() for weight in plain.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
