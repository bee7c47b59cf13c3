import dataclasses

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.channels.near_field import NEAR_FIELD_MODELS, draw_near_field
from channelfm.config import parse_recipe
from channelfm.datasets.blocks import unlabelled
from channelfm.errors import InputError
from channelfm.observation import Grid
from channelfm.tasks import HybridEstimation
from channelfm.tasks.observing import Pilots, pilots

TASK = HybridEstimation()


def drawn_blocks(name="paths", count=6):
    """Blocks of a near-field model, whose truth they tell."""
    model = dataclasses.replace(NEAR_FIELD_MODELS[name], range_m=(1.5, 15.0), squint=False)
    grid = Grid(UPA(1, 64, 28e9), np.zeros(1), 28e9 + (np.arange(8) - 3.5) * 12e6)
    draw = draw_near_field(model, grid.array, grid.frequencies_hz, count, 0)
    blocks = unlabelled(draw.response.reshape(count, *grid.shape), grid)
    return dataclasses.replace(blocks, clusters=draw.clusters, rays=draw.rays)


def test_pilots_are_few_measurements_of_all_antennas(sight_blocks):
    blocks = sight_blocks(3)
    observation = TASK.examples(blocks, Pilots(4, 16, None), 0).observation
    assert observation.values.shape == (3, 1, 64, 1)
    weights = observation.operator.weights_of(1).reshape(64, -1)
    assert np.abs(weights) ** 2 == pytest.approx(1 / 256)
    assert observation.values[1, 0, :, 0] == pytest.approx(weights.conj() @ blocks.channel[1].reshape(-1), abs=1e-5)


def test_measurements_carry_the_power_of_an_antenna(sight_blocks):
    """With random phases, so that the SNR means the same as on single antennas."""
    blocks = sight_blocks(40)
    observation = TASK.examples(blocks, Pilots(4, 64, 10.0), 0).observation
    clean = observation.operator.forward(blocks.channel)
    assert np.mean(np.abs(clean) ** 2) == pytest.approx(np.mean(np.abs(blocks.channel) ** 2), rel=0.1)
    assert np.mean(np.abs(observation.values - clean) ** 2) == pytest.approx(observation.noise.mean(), rel=0.05)


def test_pilots_of_a_link_do_not_depend_on_the_others(sight_blocks):
    blocks = sight_blocks(4)
    whole = TASK.examples(blocks, Pilots(2, 8, None), 5).observation
    part = whole.select(slice(2, 3))
    assert np.array_equal(part.operator.forward(blocks.channel[2:3]), whole.values[2:3])


@pytest.mark.parametrize("users", [1, 4, 16])
def test_the_users_of_a_cell_share_phases_and_nothing_else(sight_blocks, users):
    blocks = sight_blocks(32)
    observation = HybridEstimation(users=users).examples(blocks, Pilots(16, 2, 0.0), 1).observation
    weights = [observation.operator.weights_of(link) for link in range(32)]
    for first, second in ((0, users - 1), (0, users), (users, min(2 * users, 31))):
        same = first // users == second // users
        assert np.array_equal(weights[first], weights[second]) is same
    noise = observation.values - observation.operator.forward(blocks.channel)
    assert not np.allclose(noise[0], noise[1])
    part = observation.select(slice(17, 19))
    assert np.array_equal(part.operator.weights_of(0), weights[17])


def test_cases_cross_chains_noise_and_slots():
    task = HybridEstimation(chains=(4, 16), slots=(8, 32), snr_db=(0.0, 10.0))
    assert len(task.cases()) == 8
    assert str(task.cases()[-1]) == "16 chains, 32 slots, 10 dB"
    assert [measure.key for measure in task.measures] == ["nmse_db", "nmse_median_db"]


def test_recipes_with_one_number_of_chains_are_read():
    assert parse_recipe(HybridEstimation, {"chains": 4}, "recipe") == HybridEstimation(chains=(4,))
    for wrong in ({"chains": 0}, {"chains": []}, {"slots": [0]}, {"users": 0}, {"snr_db": [float("nan")]}):
        with pytest.raises(InputError):
            parse_recipe(HybridEstimation, wrong, "recipe")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Pilots(0, 4, 10.0), "chains = 0: give a whole number of at least 1"),
        (Pilots(4, 0, 10.0), "slots = 0: give a whole number of at least 1"),
        (Pilots(4, 2, float("nan")), "snr_db = nan"),
        (Pilots(4, 2, float("inf")), "snr_db = inf"),
        (Pilots(4, 2.5, 0.0), r"slots = 2\.5"),
    ],
)
def test_pilots_that_are_none_are_refused(sight_blocks, case, words):
    with pytest.raises(InputError, match=words):
        TASK.examples(sight_blocks(2), case, 0)
    with pytest.raises(InputError, match="users = 0"):
        pilots(sight_blocks(2), Pilots(), 0, users=0)


def test_references_are_told_of_channels_whose_truth_is_known(sight_blocks):
    case = Pilots(4, 12, 10.0)
    paths = TASK.references(TASK.examples(drawn_blocks(count=40), case, 0))
    assert list(paths) == ["oracle-ls"]
    assert paths["oracle-ls"].mean() == pytest.approx(3 * 0.1 / 48, rel=0.2)  # three free gains of 48 measurements
    clusters = TASK.references(TASK.examples(drawn_blocks("clusters"), case, 0))
    assert list(clusters) == ["genie-lmmse"]
    assert clusters["genie-lmmse"].shape == (6,)
    assert TASK.references(TASK.examples(sight_blocks(2), case, 0)) == {}


def test_references_of_a_part_are_those_of_its_links():
    whole = TASK.examples(drawn_blocks(), Pilots(4, 12, 10.0), 0)
    part = TASK.references(whole.only(slice(2, 4)))["oracle-ls"]
    np.testing.assert_allclose(part, TASK.references(whole)["oracle-ls"][2:4])
