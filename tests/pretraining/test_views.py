"""Views of links: where their random numbers come from, what noise, masks and weights they have."""

import os

import numpy as np
import pytest
import torch

from channelfm.errors import InputError
from channelfm.pretraining import feed as feed_module
from channelfm.pretraining.feed import feed, prepare
from channelfm.pretraining.recipe import SourceRecipe
from channelfm.pretraining.source import ArraySource, PathSource
from channelfm.pretraining.views import draw_examples, draw_mask, draw_size, in_frame, sample_weights

CPU = torch.device("cpu")
RICH = {
    "arrays": [[16, 16], [8, 8], [4, 6]],
    "roll_deg": 20,
    "bandwidth_hz": 20e6,
    "latest_s": 1e-3,
    "snr_db": [0, 20],
    "noiseless": 0.3,
}


@pytest.fixture(scope="module")
def paths(path_parts):
    return PathSource([path_parts()])


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_batches_come_from_seed_and_step_alone(paths, make_recipe):
    values = make_recipe(source=RICH)
    first, again, later = (prepare(paths, values, step, range(4)) for step in (3, 3, 4))
    other_seed = prepare(paths, make_recipe(source=RICH, seed=1), 3, range(4))
    assert same(first, again)
    assert first.noise.shape != later.noise.shape or not torch.equal(first.noise, later.noise)
    assert first.noise.shape != other_seed.noise.shape or not torch.equal(first.noise, other_seed.noise)
    assert first.mask.flatten(1).any(1).all()


@pytest.mark.parametrize("step", range(3))
def test_processes_share_one_batch_out(paths, make_recipe, step):
    values = make_recipe(source=RICH)
    whole = prepare(paths, values, step, range(12))
    parts = [prepare(paths, values, step, numbers) for numbers in (range(3), range(3, 10), range(10, 12))]
    for name in vars(whole):
        together = torch.cat([getattr(part, name) for part in parts])
        assert torch.allclose(together, getattr(whole, name), rtol=1e-3, atol=1e-3), name


def test_workers_and_threads_change_nothing(paths, make_recipe):
    torch.set_num_threads(2)
    plain = [prepare(paths, make_recipe(source=RICH), step, range(4)) for step in range(3)]
    values = make_recipe(source=RICH, workers=1)
    with feed(paths, values, range(3), range(4), CPU) as batches:
        assert all(same(one, other) for one, other in zip(batches, plain, strict=True))
    with feed(paths, make_recipe(source=RICH), range(1, 3), range(4), CPU) as batches:
        assert all(same(one, other) for one, other in zip(batches, plain[1:], strict=True))
    assert torch.get_num_threads() == 2


def test_an_error_in_a_worker_reaches_the_training(channels, make_recipe):
    unseen = channels(count=2)
    unseen[:, 1:] = 0  # views of other rows see nothing
    values = make_recipe(source={"arrays": [[2, 2]]}, workers=1, batch_size=16)
    with (
        pytest.raises(InputError, match="saw none of"),
        feed(ArraySource(unseen), values, range(9), range(16), CPU) as b,
    ):
        list(b)


def test_a_worker_that_dies_is_told_of(channels, make_recipe, monkeypatch):
    def killed(step):
        os._exit(9)

    monkeypatch.setattr(feed_module, "_prepared", killed)
    with (
        pytest.raises(InputError, match="process that prepares batches died"),
        feed(ArraySource(channels()), make_recipe(workers=1), range(2), range(4), CPU) as batches,
    ):
        list(batches)


def test_a_view_that_sees_nothing_gets_another_link(channels, make_recipe):
    half = channels(count=8)
    half[:4, :, :4] = 0
    values = make_recipe(source={"arrays": [[4, 4]]})
    for step in range(6):
        drawn = draw_examples(ArraySource(half), values, step, range(8), CPU)
        assert (drawn.channel.abs().amax((1, 2)) > 0).all()


def test_noise_has_the_level_that_is_asked_for(channels, make_recipe):
    source = ArraySource(channels(64, side=16))
    values = make_recipe(source={"snr_db": [10, 10]}, mask_ratio=(0.5, 0.5))
    drawn = draw_examples(source, values, 0, range(64), CPU)
    error = torch.where(drawn.mask, drawn.received - drawn.channel, 0)
    power = drawn.channel.abs().square().mean((1, 2))
    level = error.abs().square().sum((1, 2)) / drawn.mask.sum((1, 2)) / power
    assert level.mean().item() == pytest.approx(0.1, rel=0.03)
    assert (drawn.received[~drawn.mask] == 0).all()
    batch = in_frame(drawn, values)
    seen = batch.mask[..., None].expand_as(batch.clean)
    assert not torch.equal(batch.observed[seen], batch.clean[seen])
    assert (batch.observed[~seen] == 0).all()


def test_the_share_without_noise(channels, make_recipe):
    values = make_recipe(source={"snr_db": [0, 20], "noiseless": 0.25})
    drawn = draw_examples(ArraySource(channels()), values, 0, range(400), CPU)
    noiseless = (torch.where(drawn.mask, drawn.channel, 0) == drawn.received).all(2).all(1)
    assert noiseless.float().mean().item() == pytest.approx(0.25, abs=0.06)


def test_without_noise_the_observation_is_the_target(channels, make_recipe):
    batch = prepare(ArraySource(channels()), make_recipe(), 0, range(8))
    assert torch.equal(batch.observed, torch.where(batch.mask[..., None], batch.clean, 0))


def test_hidden_antennas_have_no_influence_on_the_frame(channels, make_recipe):
    values = make_recipe(mask_ratio=(0.5, 0.5))
    drawn = draw_examples(ArraySource(channels()), values, 0, range(8), CPU)
    changed = type(drawn)(**(vars(drawn) | {"channel": torch.where(drawn.mask, drawn.channel, 7e-6)}))
    assert torch.equal(in_frame(drawn, values).observed, in_frame(changed, values).observed)


def test_the_raw_frame_meets_every_phase(channels, make_recipe):
    single = ArraySource(channels(1))
    canonical = draw_examples(single, make_recipe(), 0, range(30), CPU).channel[:, 0, 0].angle()
    raw = make_recipe(predictor_frame={"kind": "raw"}, source={"mirror": False})
    phases = draw_examples(single, raw, 0, range(30), CPU).channel[:, 0, 0].angle()
    assert len(canonical.unique()) <= 4
    assert phases.std() > 1


def test_mirrored_channels_are_those_of_the_data(channels, make_recipe):
    grid = channels(1)
    drawn = draw_examples(ArraySource(grid), make_recipe(), 0, range(40), CPU).channel
    one = torch.from_numpy(grid[0, :, :, 0])
    kinds = [one, one.flip(0), one.flip(1), one.flip(0, 1)]
    counts = [sum(torch.equal(sample, kind) for sample in drawn) for kind in kinds]
    assert sum(counts) == 40
    assert min(counts) > 2


def test_sizes_come_with_their_weights():
    source = SourceRecipe(arrays=((4, 4), (8, 8)), array_weights=(1, 3))
    drawn = [draw_size(source, (16, 16), np.random.default_rng(seed)) for seed in range(400)]
    assert drawn.count((8, 8)) / 400 == pytest.approx(0.75, abs=0.07)
    assert draw_size(SourceRecipe(), (16, 12), np.random.default_rng(0)) == (16, 12)


def test_mask_ratios_and_kinds(make_recipe):
    uniform, skewed = make_recipe(mask_ratio=(0.2, 0.8)), make_recipe(mask_ratio=(0.2, 0.8), mask_ratio_skew=3)
    shares = []
    for values in (uniform, skewed):
        masks = [draw_mask(values, (16, 16), np.random.default_rng(seed)) for seed in range(300)]
        shares.append(np.array([1 - mask.mean() for mask in masks]))
        assert shares[-1].min() >= 0.19
        assert shares[-1].max() <= 0.81
    assert shares[0].mean() == pytest.approx(0.5, abs=0.03)
    assert shares[1].mean() == pytest.approx(0.2 + 0.6 * 3 / 4, abs=0.03)  # mean of u^(1/3) is 3/4
    rows = make_recipe(mask_kinds={"rows": 1.0, "random": 0.0})
    mask = draw_mask(rows, (16, 16), np.random.default_rng(0))
    assert (mask == mask[:, :1]).all()


def test_a_sample_that_the_frame_leaves_far_off_counts_by_its_relative_error():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(3, 8, 8, dtype=torch.complex64, generator=generator)
    clean *= torch.tensor([0.5, 1.0, 100.0])[:, None, None] / clean.abs().square().mean((1, 2), keepdim=True).sqrt()
    assert torch.allclose(sample_weights(clean), torch.tensor([1.0, 1.0, 1e-4]))


def test_samples_of_which_nothing_is_received_do_not_count(channels, make_recipe):
    values = make_recipe()
    drawn = draw_examples(ArraySource(channels()), values, 0, range(4), CPU)
    deaf = type(drawn)(**(vars(drawn) | {"received": torch.zeros_like(drawn.received)}))
    assert (in_frame(deaf, values).weight == 0).all()
    assert (in_frame(drawn, values).weight > 0).all()
