import numpy as np
import torch

from channelfm.learned.estimator import OneShotEstimator
from channelfm.learned.recipe import OneShotModel
from channelfm.tokens.canonical import FrameRecipe

ASKED = []


class Recorder(torch.nn.Module):
    """Keeps what it is asked and answers with one plus its ``noisy`` input."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, noisy, step, observed, mask):
        ASKED.append((noisy, step, observed, mask))
        return noisy + 1


def observation():
    generator = np.random.default_rng(0)
    mask = generator.random((3, 4, 6, 1)) < 0.5
    mask[:, 0, 0] = True
    values = generator.standard_normal((3, 4, 6, 1)) + 1j * generator.standard_normal((3, 4, 6, 1))
    return np.where(mask, values, 0).astype(np.complex64), mask


def test_the_network_is_asked_once_at_step_0_from_nothing():
    observed, mask = observation()
    recipe = OneShotModel(frame=FrameRecipe(kind="raw"))
    ASKED.clear()
    result = OneShotEstimator(Recorder(), recipe).predict(observed, mask)
    ((noisy, step, known, seen),) = ASKED
    assert not noisy.any()
    assert step.tolist() == [0, 0, 0]
    assert np.array_equal(seen.numpy(), mask[..., 0])
    rms = np.sqrt((np.abs(observed) ** 2).sum((1, 2, 3)) / mask.sum((1, 2, 3)))
    strongest = np.take_along_axis(observed.reshape(3, -1), np.abs(observed).reshape(3, -1).argmax(1)[:, None], 1)[:, 0]
    unit = (rms * strongest / np.abs(strongest))[:, None, None, None]
    np.testing.assert_allclose(torch.view_as_complex(known), (observed / unit)[..., 0], rtol=1e-5, atol=1e-6)
    # In the raw frame the answer 1 + 1j means one RMS of the observation in either part, turned as its strongest entry.
    hidden = ~mask
    expected = np.broadcast_to((1 + 1j) * unit, mask.shape)
    np.testing.assert_allclose(result[hidden], expected[hidden], rtol=1e-5)
    np.testing.assert_array_equal(result[mask], observed[mask])


def test_a_generator_is_given_noise_that_the_seed_fixes():
    observed, mask = observation()
    asked = []
    for seed in (1, 1, 2):
        ASKED.clear()
        recipe = OneShotModel(latent=True, noise_seed=seed)
        OneShotEstimator(Recorder(), recipe).predict(observed, mask)
        asked.append(ASKED[0][0])
    assert torch.equal(asked[0], asked[1])
    assert not torch.equal(asked[0], asked[2])
    assert torch.equal(asked[0][0], asked[0][2])  # the same for every sample, whatever the batch
    assert 0.7 < float(asked[0].std()) < 1.3
