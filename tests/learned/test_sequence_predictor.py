"""Networks as predictors of sequences."""

import numpy as np
import pytest
import torch
from channelfm.learned.methods import predictor_of, sequence_predictor_of
from channelfm.learned.mixture import MixturePredictor
from channelfm.learned.network import PredictorRecipe
from channelfm.learned.sequence import SequenceDomain, SequenceNetwork
from torch import nn

from channelfm.baselines.time import SampleAndHold
from channelfm.errors import InputError
from channelfm.models.lwm_temporal import LWMTemporal
from channelfm.models.mixture import LinearMixture
from channelfm.tasks.prediction import SequencePredictor, prediction_examples

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
    model = SequenceNetwork("hold", Hold(), SequenceDomain(kind=kind), batch_size=2)
    assert isinstance(model, SequencePredictor)
    predicted = model.predict(past, EVERYTHING, 3)
    assert predicted.shape == (3, 3, 2, 4, 8)
    assert predicted == pytest.approx(np.repeat(past[:, -1:], 3, axis=1), abs=1e-11)


def test_delays_that_are_not_kept_are_zero(wave_sequences):
    past = wave_sequences(2)
    kept = SequenceNetwork("hold", Hold(), SequenceDomain(taps=5)).predict(past, EVERYTHING, 1)
    delays = np.fft.ifft(kept[:, 0], axis=-1, norm="ortho")
    assert delays[..., 5:] == pytest.approx(0, abs=1e-5)
    assert delays[..., :5] == pytest.approx(np.fft.ifft(past[:, -1], axis=-1, norm="ortho")[..., :5], abs=1e-5)


def test_combs_are_completed_first(wave_sequences):
    case = prediction_examples(wave_sequences(2, frequencies=32, delay=0.0), 6, 1, comb=2)
    predicted = SequenceNetwork("hold", Hold(), SequenceDomain()).predict(case.past, case.mask, 1)
    last = wave_sequences(2, frequencies=32, delay=0.0)[:, 5]
    error = np.sum(np.abs(predicted[:, 0] - last) ** 2) / np.sum(np.abs(last) ** 2)
    assert error < 0.05  # most of it beyond the last pilot


def test_a_prediction_turns_and_scales_with_the_past(wave_sequences):
    network = LWMTemporal(width=16, depth=1, heads=2, patch=(2, 2))
    nn.init.normal_(network.reconstruct.weight)
    model = SequenceNetwork("small", network, SequenceDomain())
    past = wave_sequences(2)
    assert model.predict(3e-5 * past, EVERYTHING, 2) == pytest.approx(
        3e-5 * model.predict(past, EVERYTHING, 2), rel=1e-3, abs=1e-8
    )
    tokens, summary = model.embed(past)
    assert tokens.shape == (2, 8 * 2 * 4, 16)
    assert summary.shape == (2, 16)
    with pytest.raises(InputError, match="no tokens"):
        SequenceNetwork("hold", Hold(), SequenceDomain()).embed(past)


def test_a_model_is_asked_for_what_it_was_made_for():
    sequences, links = PredictorRecipe(method="sequence"), PredictorRecipe(method="diffusion")
    with pytest.raises(InputError, match="predicts sequences"):
        predictor_of(Hold(), sequences)
    with pytest.raises(InputError, match="predicts none"):
        sequence_predictor_of(Hold(), links)


def test_a_mixture_of_one_opinion_is_that_opinion(wave_sequences):
    past = wave_sequences(3, rows=2, cols=4)
    network = LinearMixture(2, 8, 1)
    nn.init.normal_(network.weigh.weight)
    model = MixturePredictor("one", network, [SampleAndHold(), SampleAndHold()], batch_size=2)
    predicted = model.predict(past, EVERYTHING, 2)
    assert predicted == pytest.approx(np.repeat(past[:, -1:], 2, axis=1), abs=1e-5)
