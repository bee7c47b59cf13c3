"""Networks as predictors of sequences."""

import numpy as np
import pytest
import torch
from torch import nn

from channelfm.errors import InputError
from channelfm.estimator import Estimator, SequenceEstimator
from channelfm.learned.domains import SequenceDomain
from channelfm.learned.estimator import MixtureEstimator, SequenceNetwork
from channelfm.learned.recipe import MixtureModel, SequenceModel
from channelfm.models.lwm_temporal import LWMTemporal
from channelfm.models.mixture import LinearMixture

EVERYTHING = np.ones((1, 1, 1, 1, 1), np.bool_)


class Hold(nn.Module):
    """Answers with the last frame that was seen at all."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, frames, seen):
        last = int(seen[0].any(-1).any(-1).sum()) - 1
        return self.scale * frames[:, last : last + 1].expand_as(frames)


@pytest.mark.parametrize("kind", ["angle-delay", "antenna-frequency"])
def test_a_network_that_holds_predicts_the_last_frame(wave_sequences, kind):
    past = 1e-6 * wave_sequences(3, rows=2, cols=4)
    model = SequenceNetwork(Hold(), SequenceModel(sequence=SequenceDomain(kind=kind)), batch_size=2)
    assert isinstance(model, Estimator)
    assert isinstance(model, SequenceEstimator)
    predicted = model.predict(past, EVERYTHING, 3)
    assert predicted.shape == (3, 3, 2, 4, 8)
    assert predicted == pytest.approx(np.repeat(past[:, -1:], 3, axis=1), abs=1e-11)


def test_delays_that_are_not_kept_are_zero(wave_sequences):
    past = wave_sequences(2)
    kept = SequenceNetwork(Hold(), SequenceModel(sequence=SequenceDomain(taps=5))).predict(past, EVERYTHING, 1)
    delays = np.fft.ifft(kept[:, 0], axis=-1, norm="ortho")
    assert delays[..., 5:] == pytest.approx(0, abs=1e-5)
    assert delays[..., :5] == pytest.approx(np.fft.ifft(past[:, -1], axis=-1, norm="ortho")[..., :5], abs=1e-5)


def test_combs_are_completed_first(wave_sequences):
    past, pilots = wave_sequences(2, frequencies=32, delay=0.0)[:, :6], np.arange(32) % 2 == 0
    predicted = SequenceNetwork(Hold(), SequenceModel()).predict(
        np.where(pilots, past, 0), pilots[None, None, None, None], 1
    )
    last = wave_sequences(2, frequencies=32, delay=0.0)[:, 5]
    error = np.sum(np.abs(predicted[:, 0] - last) ** 2) / np.sum(np.abs(last) ** 2)
    assert error < 0.05  # most of it beyond the last pilot


def test_a_prediction_turns_and_scales_with_the_past(wave_sequences):
    network = LWMTemporal(width=16, depth=1, heads=2, patch=(2, 2))
    nn.init.normal_(network.reconstruct.weight)
    model = SequenceNetwork(network, SequenceModel())
    past = wave_sequences(2)
    assert model.predict(3e-5 * past, EVERYTHING, 2) == pytest.approx(
        3e-5 * model.predict(past, EVERYTHING, 2), rel=1e-3, abs=1e-8
    )
    tokens, summary = model.embed(past)
    assert tokens.shape == (2, 8 * 2 * 4, 16)
    assert summary.shape == (2, 16)
    with pytest.raises(InputError, match="no tokens"):
        SequenceNetwork(Hold(), SequenceModel()).embed(past)


def test_a_mixture_of_one_opinion_is_that_opinion(wave_sequences):
    past = wave_sequences(3, rows=2, cols=4)
    network = LinearMixture(2, 8, 1)
    nn.init.normal_(network.weigh.weight)
    model = MixtureEstimator(network, MixtureModel(candidates=("sample-and-hold",) * 2), batch_size=2)
    predicted = model.predict(past, EVERYTHING, 2)
    assert predicted == pytest.approx(np.repeat(past[:, -1:], 2, axis=1), abs=1e-5)
