import dataclasses

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA
from channelfm.benchmarking import bounds, suite
from channelfm.benchmarking.bounds import FittedWaves
from channelfm.datasets.blocks import unlabelled
from channelfm.observation import Grid
from channelfm.tasks import Extrapolation, HybridEstimation, LineOfSight
from channelfm.waves.bounds import SphericalWaves
from channelfm.waves.geometry import wave_of

NOISY, CLEAN = Extrapolation(snr_db=(20.0,)), Extrapolation()


@pytest.fixture
def exact(monkeypatch):
    """Three links of two known waves each, which are found again."""
    rng = np.random.default_rng(0)
    sources = np.concatenate([rng.uniform(-0.6, 0.6, (3, 2, 2)), rng.uniform(0, 0.02, (3, 2, 1))], axis=2)
    gains = np.exp(2j * np.pi * rng.random((3, 2))) * [1.0, 0.3]
    waves = np.stack([wave_of(torch.from_numpy(part), 8, 8, 0.5).numpy() for part in sources])
    channel = np.einsum("nl,nlrc->nrc", gains, waves.reshape(3, 2, 8, 8)).astype(np.complex64)

    def fitted_waves(field, spacing, most):
        left = np.sum(np.abs(field - channel) ** 2, axis=(1, 2)) / np.sum(np.abs(field) ** 2, axis=(1, 2))
        return SphericalWaves(sources, gains), left

    monkeypatch.setattr(bounds, "fitted_waves", fitted_waves)
    return unlabelled(channel[:, None, :, :, None], Grid(UPA(8, 8, 7e9), np.zeros(1), np.array([7e9])))


def test_the_bound_is_the_task_s_at_the_waves_of_the_channels(exact):
    found, case = FittedWaves(exact), NOISY.cases()[0]
    drawn = [NOISY.examples(exact, case, seed) for seed in (0, 1)]
    told = found.bound(NOISY, drawn)
    assert told.shape == (2, 3)
    assert np.array_equal(told[1], NOISY.bound(drawn[1], found.found[0]))
    # 10 real unknowns of 32 seen antennas of 64: noise of -20 dB is brought down to about 5 / 32 of it
    assert told == pytest.approx(np.full((2, 3), 0.01 * 5 / 32), rel=0.6)


def test_channels_that_waves_do_not_explain_have_none(exact):
    channel = exact.channel.copy()
    channel[1, 0, 2, 2] += 2.0
    spoilt = dataclasses.replace(exact, channel=channel)
    told = FittedWaves(spoilt).bound(NOISY, [NOISY.examples(spoilt, NOISY.cases()[0], 0)])
    assert np.isnan(told).tolist() == [[False, True, False]]


def test_clean_observations_and_other_questions_have_none(exact):
    for task in (CLEAN, LineOfSight()):
        blocks = exact
        if task.kind == "line-of-sight":
            labels = dataclasses.replace(exact.labels, line_of_sight=np.array([True, False, True]))
            blocks = dataclasses.replace(exact, labels=labels)
        assert FittedWaves(blocks).bound(task, [task.examples(blocks, task.cases()[0], 0)]) is None


def test_a_hybrid_array_and_its_bound_go_through_the_suite(suite_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "report_of", lambda *_: "")
    monkeypatch.setattr(FittedWaves, "bound", lambda self, task, drawn: np.full((2, len(self.blocks)), 1e-3))
    task = HybridEstimation(slots=(4, 16)).model_dump_json()
    changes = [f"task={task}", "quick.task={}", "predictors=[least-squares, zero-filling]"]
    results = suite.benchmark(suite_recipe, tmp_path, overrides=changes, progress=False)
    whole = [row for row in results["rows"] if row["group"] == "all" and row["set"] == "whole"]
    assert [row["label"] for row in whole] == ["4 chains, 4 slots, 10 dB", "4 chains, 16 slots, 10 dB"]
    for row in whole:
        assert row["against"]["bound"]["nmse_db"][0] == pytest.approx(row["nmse_db"] + 30)
    assert results["notes"][0].startswith("zero-filling is not measured on")
