"""Masked modelling of sequences and the mixture of linear predictors: batches, losses, whole runs."""

import pickle

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from channelfm.checkpoints import load_model
from channelfm.errors import InputError
from channelfm.pretraining import sequence_views as views
from channelfm.pretraining.loop import StoppedError, pretrain_from
from channelfm.pretraining.objectives import sequence_loss
from channelfm.pretraining.recipe import MixtureObjective, PretrainRecipe, SequenceObjective
from channelfm.pretraining.source import SequenceSource
from channelfm.tokens.sequence_masks import hidden_tokens

CPU = torch.device("cpu")
EVERYTHING = np.ones((1, 1, 1, 1, 1), bool)
NOTHING = np.zeros((0, 8, 1, 4, 8), np.complex64)


@pytest.fixture
def recipe():
    def make(model="lwm-temporal-small", predictor=None, **objective):
        given = {"frames": 8, "horizon": 2, "mask_patch": (2, 2)} | objective
        return PretrainRecipe.model_validate(
            {
                "predictor": {"name": "small", "method": "sequence", "model": model} | (predictor or {}),
                "objective": {"kind": "masked-sequence"} | given,
                "steps": 4,
                "batch_size": 3,
                "warmup_steps": 1,
                "save_every": 1,
                "accelerator": "cpu",
            }
        )

    return make


def batch_of(recipe, sequences, step=0, numbers=range(3)):
    return views.sequence_views(SequenceSource(sequences), recipe, step, numbers, CPU)


@pytest.mark.parametrize("kind", ["random", "rect", "tube", "comb"])
def test_masks_hide_exactly_their_share(wave_sequences, recipe, kind):
    settings = recipe(mask_kinds={kind: 1.0}, dropout=0.0, mask_ratio=(0.4, 0.4))
    batch = batch_of(settings, wave_sequences(5))
    grid = (8, 2, 4)  # frames and patches of 2 x 2
    assert batch.asked.reshape(3, -1).sum(1).tolist() == [4 * hidden_tokens(grid, 0.4)] * 3
    assert torch.equal(batch.mask, ~batch.asked)
    assert not batch.observed[batch.asked].any()


def test_futures_are_the_last_frames_and_what_is_lost_is_not_asked_for(wave_sequences, recipe):
    batch = batch_of(recipe(mask_kinds={"future": 1.0}, dropout=0.9), wave_sequences(5))
    assert batch.asked[:, -2:].all()
    assert not batch.asked[:, :-2].any()
    assert not (batch.mask & batch.asked).any()
    assert not batch.mask[:, :-2].all()
    assert batch.mask.reshape(3, -1).any(1).all()


def test_estimation_asks_for_everything(wave_sequences, recipe):
    batch = batch_of(recipe(mask_kinds={"estimate": 1.0}, dropout=0.0), wave_sequences(5))
    assert batch.mask.all()
    assert batch.asked.all()


def test_the_ratio_grows_with_the_curriculum():
    objective = SequenceObjective(mask_ratio=(0.2, 0.6), curriculum=0.5)
    assert [objective.ratio_at(share) for share in (0.0, 0.25, 0.5, 1.0)] == [0.2, 0.4, 0.6, 0.6]
    assert SequenceObjective(mask_ratio=(0.2, 0.6), curriculum=0.0).ratio_at(0.0) == 0.6


def test_what_is_observed_has_unit_power_but_for_the_amplitude(wave_sequences, recipe):
    settings = recipe(mask_kinds={"random": 1.0}, amplitude_db=0.0, snr_db=None)
    batch = batch_of(settings, 1e-7 * wave_sequences(5))
    power = batch.observed.square().sum((1, 2, 3, 4)) / batch.mask.sum((1, 2, 3))
    assert power.tolist() == pytest.approx([1.0] * 3, rel=1e-4)
    assert torch.equal(batch.observed[batch.mask], batch.clean[batch.mask])


def test_noise_is_only_on_what_is_observed(wave_sequences, recipe):
    noisy = batch_of(recipe(snr_db=(10, 10), noiseless=0.0, mirror=False), wave_sequences(5))
    error = (noisy.observed - noisy.clean)[noisy.mask].square().sum(-1).mean()
    assert float(error) == pytest.approx(0.1, rel=0.3)


def test_augmented_sequences_are_channels_still(wave_sequences, recipe):
    """Waves with delays above zero stay such: mirror images never turn delays around."""
    sequences = wave_sequences(20, frequencies=32, delay=0.3)
    batch = batch_of(recipe(snr_db=None, amplitude_db=0.0), sequences, numbers=range(40))
    power = batch.clean.square().sum((0, 1, 2, 4))
    assert float(power[:16].sum() / power.sum()) > 0.9


def test_draws_depend_on_their_number_alone(wave_sequences, recipe):
    sequences = wave_sequences(5)
    whole, part = batch_of(recipe(), sequences, 3), batch_of(recipe(), sequences, 3, range(1, 3))
    assert torch.equal(whole.observed[1:], part.observed)
    assert not torch.equal(whole.observed, batch_of(recipe(), sequences, 4).observed)


@pytest.mark.parametrize("kind", ["token", "sample"])
def test_known_losses(wave_sequences, recipe, kind):
    settings = recipe(loss=kind, epsilon=1e-9, mask_kinds={"random": 1.0})
    batch = batch_of(settings, wave_sequences(5))
    for share, expected in ((0.0, 1.0), (1.0, 0.0), (0.5, 0.25)):
        loss = sequence_loss(lambda *_, share=share: share * batch.clean, settings, batch)
        assert float(loss) == pytest.approx(expected, abs=1e-5)
    decibel = settings.objective.model_copy(update={"loss": "decibel"})
    loss = sequence_loss(lambda *_: 0.9 * batch.clean, settings.model_copy(update={"objective": decibel}), batch)
    assert float(loss) == pytest.approx(np.log(0.01), abs=1e-4)


def test_impossible_objectives():
    for values, message in (
        ({"mask_ratio": (0.6, 0.3)}, "first <= last"),
        ({"mask_kinds": {"rect": 0.0}}, "above 0"),
        ({"frames": 4, "horizon": 4}, "no past"),
        ({"mask_patch": (0, 1)}, "at least 1"),
    ):
        with pytest.raises(ValidationError, match=message):
            SequenceObjective(**values)


@pytest.mark.parametrize("model", ["lwm-temporal-small", "lstm-small", "gru-small", "wifo-tiny"])
def test_every_sequence_network_trains_and_predicts(wave_sequences, recipe, tmp_path, model):
    settings = recipe(model, mask_kinds={"future": 1.0}, mask_patch=(1, 1)).model_copy(update={"steps": 2})
    sequences = wave_sequences(6)
    folder = pretrain_from(settings, SequenceSource(sequences), sequences[:2], tmp_path / "run")
    predictor = load_model(folder)
    assert predictor.predict(sequences[:, :6], EVERYTHING, 2).shape == sequences[:, 6:8].shape


def test_a_stopped_run_ends_with_the_same_bytes(wave_sequences, recipe, tmp_path):
    source = SequenceSource(wave_sequences(6))
    whole = pretrain_from(recipe(), source, NOTHING, tmp_path / "whole")
    with pytest.raises(StoppedError):
        pretrain_from(recipe(), source, NOTHING, tmp_path / "stopped", max_seconds=0.0)
    resumed = pretrain_from(recipe(), source, NOTHING, tmp_path / "stopped")
    weights = [(folder / "model.safetensors").read_bytes() for folder in (whole, resumed)]
    assert weights[0] == weights[1]


def test_a_bidirectional_network_is_tuned_as_a_causal_one(wave_sequences, recipe, tmp_path):
    source = SequenceSource(wave_sequences(6))
    first = pretrain_from(recipe(), source, NOTHING, tmp_path / "first")
    causal = recipe(predictor={"model_options": {"causal": True}}).model_copy(update={"start_from": str(first)})
    tuned = load_model(pretrain_from(causal, source, NOTHING, tmp_path / "tuned"))
    assert tuned.network.causal


def test_a_pretrained_network_gets_a_feedback_head(wave_sequences, recipe, tmp_path):
    source = SequenceSource(wave_sequences(6))
    first = pretrain_from(recipe(), source, NOTHING, tmp_path / "first")
    headed = recipe("lwm-temporal-small-feedback", mask_kinds={"estimate": 1.0})
    folder = pretrain_from(headed.model_copy(update={"start_from": str(first)}), source, NOTHING, tmp_path / "headed")
    assert load_model(folder).network.feedback.bits == 2
    other = recipe("gru-small").model_copy(update={"start_from": str(first)})
    with pytest.raises(InputError, match="do not fit"):
        pretrain_from(other, source, NOTHING, tmp_path / "other")


def test_sequences_that_are_too_short(wave_sequences, recipe, tmp_path):
    with pytest.raises(InputError, match=r"objective.frames = 8, but sequences have 5"):
        pretrain_from(recipe(), SequenceSource(wave_sequences(3, frames=5)), NOTHING, tmp_path)


@pytest.fixture
def mixture_recipe():
    return PretrainRecipe.model_validate(
        {
            "predictor": {
                "name": "mix",
                "method": "mixture",
                "model": "linear-mixture",
                "model_options": {"candidates": 2, "width": 8, "depth": 1},
                "candidates": ["ar-shared", "sample-and-hold"],
            },
            "objective": {"kind": "mixture", "frames": 8, "horizon": 2, "draws": 2, "combs": [1, 2]},
            "steps": 60,
            "batch_size": 8,
            "warmup_steps": 5,
            "learning_rate": 1e-2,
            "ema_decay": 0.5,
            "accelerator": "cpu",
        }
    )


def test_a_mixture_learns_whom_to_believe(wave_sequences, mixture_recipe, tmp_path):
    sequences = wave_sequences(24)
    source = views.MixtureSource(mixture_recipe, sequences)
    assert len(source) == 2 * len(sequences)
    model = load_model(pretrain_from(mixture_recipe, source, sequences[:4], tmp_path / "run"))
    unseen = wave_sequences(12, seed=5)
    error = [
        np.mean(np.sum(np.abs(predictor.predict(unseen[:, :6], EVERYTHING, 2) - unseen[:, 6:8]) ** 2, axis=(2, 3, 4)))
        for predictor in (model, *model.candidates)
    ]
    assert error[0] < 0.01 * max(error[1:])


def test_a_finished_mixture_asks_its_candidates_no_more(wave_sequences, mixture_recipe, tmp_path, monkeypatch):
    sequences, recipe = wave_sequences(8), mixture_recipe.model_copy(update={"steps": 1})
    first = pretrain_from(recipe, views.MixtureSource(recipe, sequences), NOTHING, tmp_path / "run")
    sent = pickle.loads(pickle.dumps(views.MixtureSource(recipe, sequences)))

    def refuse(*_):
        raise AssertionError("predicted again")

    monkeypatch.setattr(views, "_predicted", refuse)
    assert pretrain_from(recipe, views.MixtureSource(recipe, sequences), NOTHING, tmp_path / "run") == first
    assert len(sent.predicted[2]) == len(sent) == 16


def test_a_mixture_of_unknown_candidates(wave_sequences, mixture_recipe, tmp_path):
    sequences = wave_sequences(8)
    recipe = mixture_recipe.model_copy(update={"steps": 1})
    folder = pretrain_from(recipe, views.MixtureSource(recipe, sequences), NOTHING, tmp_path / "run")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("- ar-shared", "- crystal-ball", 1))
    with pytest.raises(InputError, match="crystal-ball"):
        load_model(folder)


def test_mixture_defaults_are_the_benchmark_s():
    assert MixtureObjective().frames == 18
