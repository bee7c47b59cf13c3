import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.critic import Critic


def inputs(rows, cols, count=2):
    torch.manual_seed(0)
    return torch.randn(count, rows, cols, 2), torch.randn(count, rows, cols, 2), torch.rand(count, rows, cols) < 0.3


@pytest.mark.parametrize(
    ("rows", "cols", "patches"), [(64, 64, (8, 8)), (1, 16, (1, 2)), (5, 9, (1, 2)), (1, 1, (1, 1))]
)
def test_one_logit_per_patch_of_any_array(rows, cols, patches):
    logits = Critic(width=4)(*inputs(rows, cols))
    assert logits.shape == (2, *patches)
    assert logits.dtype == torch.float32


def test_it_looks_at_channel_and_observation_but_not_at_hidden_antennas():
    critic = Critic(width=4).eval()
    channel, observed, mask = inputs(16, 16)
    logits = critic(channel, observed, mask)
    assert not torch.allclose(logits, critic(-channel, observed, mask))
    assert not torch.allclose(logits, critic(channel, -observed, mask))
    assert torch.equal(logits, critic(channel, torch.where(mask[..., None], observed, 9.0), mask))


def test_layers_stretch_nothing_by_more_than_their_spectral_norm():
    # Every weight, as a matrix from its inputs to its outputs, has largest singular value one after enough iterations.
    critic = Critic(width=4).train()
    for _ in range(60):
        critic(*inputs(8, 8))
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2) for layer in critic.layers[::2]]
    torch.testing.assert_close(torch.stack(norms), torch.ones(len(norms)), atol=0.02, rtol=0)


def test_it_learns_to_tell_smooth_channels_from_noise():
    torch.manual_seed(0)
    critic = Critic(width=8)
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
    _, observed, mask = inputs(16, 16, count=16)
    for _ in range(30):
        real, fake = torch.randn(16, 1, 1, 2).expand(-1, 16, 16, -1), torch.randn(16, 16, 16, 2)
        loss = (1 - critic(real, observed, mask)).relu().mean() + (1 + critic(fake, observed, mask)).relu().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert critic(real, observed, mask).mean() > critic(fake, observed, mask).mean() + 0.5


def test_bfloat16():
    logits = Critic(width=4).to(torch.bfloat16)(*inputs(16, 16))
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_bad_size():
    with pytest.raises(InputError, match="levels 0"):
        Critic(levels=0)
