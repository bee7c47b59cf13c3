import numpy as np
import pytest

from channelfm.errors import InputError
from channelfm.tasks import Extrapolation
from channelfm.tasks.observing import Partial
from channelfm.tokens.masks import MASKS

TASK = Extrapolation()


def test_observed_is_the_target_behind_the_mask(blocks):
    links = blocks()
    examples = TASK.examples(links, Partial("random", 0.75), 3)
    mask = examples.observation.mask
    assert (mask[..., :1].sum(axis=(1, 2, 3, 4)) == 6).all()
    assert np.array_equal(mask[..., 0], mask[..., 1])
    assert np.array_equal(examples.observation.values, links.channel * mask)
    assert np.array_equal(examples.target, links.channel)
    assert not examples.observation.noise.any()


@pytest.mark.parametrize("kind", MASKS)
def test_masks_depend_on_seed_and_ratio_alone(kind, blocks):
    first, again, other = (
        TASK.examples(blocks(scale=scale), Partial(kind, 0.75), seed).observation.mask
        for seed, scale in ((0, 1.0), (0, 2.0), (1, 1.0))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_is_on_the_observed_antennas_alone_and_has_the_power_that_is_told(blocks):
    links = blocks(2000, scale=1e-6)
    clean, loud, quiet = (TASK.examples(links, Partial("random", 0.5, snr), 1).observation for snr in (None, 0.0, 20.0))
    assert np.array_equal(clean.mask, loud.mask)
    assert not loud.values[~loud.mask].any()
    added = loud.values - clean.values
    assert np.mean(np.abs(added[loud.mask]) ** 2) == pytest.approx(loud.noise.mean(), rel=0.02)
    assert np.mean(np.abs(links.channel) ** 2, axis=(1, 2, 3, 4)) == pytest.approx(loud.noise)
    assert np.allclose(quiet.values - clean.values, 0.1 * added, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "ratio", "words"),
    [
        ("random", 1.5, "between 0 and 1"),
        ("random", -0.5, "between 0 and 1"),
        ("random", float("nan"), "between 0 and 1"),
        ("random", 0.0, "hides nothing of 4 x 6"),
        ("comb", 0.1, "hides nothing"),
        ("rows", 0.1, "raise the ratio"),
        ("stripes", 0.5, "random, rows"),
    ],
)
def test_masks_that_are_no_task(kind, ratio, words, blocks):
    with pytest.raises(InputError, match=words):
        TASK.examples(blocks(), Partial(kind, ratio), 0)


def test_links_are_grouped_by_range_sight_and_paths(sight_blocks):
    groups = TASK.groups(TASK.examples(sight_blocks(), Partial(), 0))
    assert np.array_equal(groups["los"], groups["few"])
    assert np.array_equal(groups["nlos-rich"], groups["near"])
    assert "los-rich" not in groups


def test_zeros_err_by_all_of_the_channel(sight_blocks):
    examples = TASK.examples(sight_blocks(), Partial("random", 0.75), 0)
    assert TASK.score(np.zeros_like(examples.target), examples)["nmse"] == pytest.approx(1)
    assert TASK.score(examples.observation.values, examples)["nmse"] == pytest.approx(0.75, abs=0.1)
