"""Operations counted, the machine's peak, rates."""

import pytest
import torch
from lightning_fabric import Fabric

from channelfm.pretraining.feed import prepare
from channelfm.pretraining.learner import Learner
from channelfm.pretraining.objectives import OBJECTIVES, fresh_networks
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.sequence_views import MixtureSource
from channelfm.pretraining.source import ArraySource, SequenceSource
from channelfm.pretraining.utilisation import Meter, matmul_peak, step_flops

CPU = torch.device("cpu")
LSTM = {"kind": "masked-sequence", "frames": 8, "horizon": 2}
SMALL = {"model": "lstm-small", "model_options": {"width": 32, "layers": 1}}


def learner_of(recipe):
    return Learner(Fabric(accelerator="cpu", devices=1), recipe, fresh_networks(recipe))


def sample_flops(recipe, channels, side, samples=2):
    batch = prepare(ArraySource(channels(side=side)), recipe, 0, range(samples))
    return step_flops(learner_of(recipe), batch) / samples


def test_operations_of_a_transformer(make_recipe, channels):
    recipe = make_recipe(predictor_model_options={"width": 32, "depth": 3, "heads": 2, "patch": 4})
    tokens, width = 4 * 4, 32
    found = sample_flops(recipe, channels, 16)
    # forward: two operations for each weight of the blocks' 16 width^2 and token, and for each entry of the products
    # of queries and keys and of weights and values, self and cross; backward twice that; ends of the network besides
    blocks = 3 * 3 * (2 * 16 * width**2 * tokens + 2 * 4 * tokens**2 * width)
    assert blocks < found < 1.5 * blocks
    assert 4 * found < sample_flops(recipe, channels, 32) < 16 * found
    assert sample_flops(recipe, channels, 16, samples=6) == pytest.approx(found)


def test_operations_of_the_other_objectives(make_recipe, objective_values, channels):
    plain = sample_flops(make_recipe(), channels, 8)
    assert sample_flops(make_recipe(**objective_values["masked autoencoder"]), channels, 8) == plain
    assert sample_flops(make_recipe(**objective_values["adversarial"]), channels, 8) > 1.1 * plain
    wavefield = {"predictor_method": "wavefield", "predictor_model": "wavefield-small"}
    options = {"predictor_model_options": {"width": 8, "steps": 1, "waves": 2}}
    assert sample_flops(make_recipe(**wavefield, **options, objective={"kind": "wavefield"}), channels, 16) > 0


def test_operations_of_a_recurrent_network(wave_sequences):
    """4 gates, weights from 3 x 16 inputs and from the state, two operations each, 7 frames, backward twice that."""
    recipe = PretrainRecipe(predictor={"method": "sequence", **SMALL}, objective=LSTM, accelerator="cpu")
    batch = prepare(SequenceSource(wave_sequences(4)), recipe, 0, range(2))
    patches = batch.mask.shape[2] * batch.mask.shape[3] / 16
    cell = 3 * 2 * 4 * 32 * (3 * 16 + 32) * 7 * patches
    assert 0.8 * cell < step_flops(learner_of(recipe), batch) / 2 < 1.6 * cell


def test_operations_of_a_mixture(wave_sequences):
    mixture = {"method": "mixture", "candidates": ["sample-and-hold"] * 2, "model_options": {"candidates": 2}}
    objective = {"kind": "mixture", "frames": 8, "horizon": 2, "draws": 1, "combs": [1]}
    recipe = PretrainRecipe(predictor=mixture, objective=objective, accelerator="cpu")
    batch = prepare(MixtureSource(recipe, wave_sequences(4)), recipe, 0, range(2))
    assert step_flops(learner_of(recipe), batch) > 0


def test_counting_leaves_random_numbers_and_networks_alone(make_recipe, channels):
    recipe = make_recipe(seed=77)
    learner, batch = learner_of(recipe), prepare(ArraySource(channels()), recipe, 0, range(4))
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    step_flops(learner, batch)
    assert torch.equal(torch.rand(1), before)
    assert all(weight.grad is None for weight in learner.networks["network"].parameters())


def test_the_peak_is_that_of_a_product_by_hand():
    peak = matmul_peak(CPU, "32-true")
    assert 1e8 < peak < 1e14
    assert matmul_peak(CPU, "32-true") == peak  # measured once


def test_rates_add_up(make_recipe, channels, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("channelfm.pretraining.utilisation.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("channelfm.pretraining.utilisation.matmul_peak", lambda *_: 1e6)
    recipe = make_recipe()
    learner = learner_of(recipe)
    small, large = (prepare(ArraySource(channels(side=side)), recipe, 0, range(4)) for side in (8, 16))
    meter = Meter("32-true", 4, CPU, processes=2)
    meter.add(learner, small)
    meter.add(learner, large)
    now[0] = 8.0
    rates = meter.read()
    assert rates["samples_per_s"] == 2.0
    assert rates["tokens_per_s"] == 20.0  # 4 and 16 patches
    flops = 2 * (step_flops(learner, small) + step_flops(learner, large))
    assert rates["utilisation"] == pytest.approx(flops / 8 / 2e6, rel=1e-3)
    meter.add(learner, small)
    now[0] = 9.0
    assert meter.read()["samples_per_s"] == 8.0


def test_a_student_costs_more_where_its_teacher_takes_more_steps(make_recipe):
    objective = OBJECTIVES["distillation"]
    recipe = make_recipe(objective={"kind": "distillation", "teacher": "cddim-tiny"}, predictor_sampler={"steps": 4})
    assert [objective.phase(recipe, step) for step in range(4)] == [1, 2, 4, 1]
