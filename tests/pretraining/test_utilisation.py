"""Operations counted, the machine's peak, rates."""

import pytest
import torch

from channelfm.models.zoo import build
from channelfm.pretraining.utilisation import Meter, matmul_peak, sample_flops

CPU = torch.device("cpu")


def test_operations_of_a_transformer(make_recipe):
    recipe = make_recipe(predictor_model_options={"width": 32, "depth": 3, "heads": 2, "patch": 4})
    tokens, width = 4 * 6, 32
    found = sample_flops(recipe, (16, 24))
    # forward: two operations for each weight of the blocks' 16 width^2 and token, and for each entry of the products
    # of queries and keys and of weights and values, self and cross; backward twice that; ends of the network besides
    blocks = 3 * 3 * (2 * 16 * width**2 * tokens + 2 * 4 * tokens**2 * width)
    assert blocks < found < 1.5 * blocks
    double = sample_flops(recipe, (32, 24))
    assert 2 * found < double < 4 * found


def test_operations_of_the_other_objectives(make_recipe, objective_values):
    plain = sample_flops(make_recipe(), (8, 8))
    assert sample_flops(make_recipe(**objective_values["masked autoencoder"]), (8, 8)) == plain
    assert sample_flops(make_recipe(**objective_values["adversarial"]), (8, 8)) > 1.1 * plain


def test_counting_leaves_random_numbers_alone(make_recipe):
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    sample_flops(make_recipe(seed=77), (8, 8))
    assert torch.equal(torch.rand(1), before)


def test_the_peak_is_that_of_a_product_by_hand():
    peak = matmul_peak(CPU, "32-true")
    assert 1e8 < peak < 1e14
    assert matmul_peak(CPU, "32-true") == peak  # measured once


def test_rates_add_up(make_recipe, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("channelfm.pretraining.utilisation.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("channelfm.pretraining.utilisation.matmul_peak", lambda *_: 1e6)
    recipe = make_recipe()
    meter = Meter(recipe, 4, CPU, processes=2)
    meter.add(4, (8, 8))
    meter.add(4, (16, 8))
    now[0] = 8.0
    rates = meter.read()
    assert rates["samples_per_s"] == 2.0
    assert rates["tokens_per_s"] == 12.0  # 4 and 8 patches
    flops = 8 * (sample_flops(recipe, (8, 8)) + sample_flops(recipe, (16, 8)))
    assert rates["utilisation"] == pytest.approx(flops / 8 / 2e6, rel=1e-3)
    meter.add(1, (8, 8))
    now[0] = 9.0
    assert meter.read()["samples_per_s"] == 2.0


def test_every_network_of_the_zoo_can_be_counted(make_recipe):
    for name in ("cddim-base", "unet-tiny"):
        recipe = make_recipe(predictor_model=name, predictor_model_options={})
        weights = sum(p.numel() for p in build(name).parameters())
        assert sample_flops(recipe, (64, 64)) > 6 * 16 * weights
