import numpy as np
import pytest
from channelfm.benchmark.measure import BATCH, measure, warm_up
from channelfm.benchmark.memory import PeakMemory, resident_bytes
from channelfm.benchmark.run import Cell, rows_of

from channelfm.metrics import polar_peaks
from channelfm.tasks.extrapolation import examples

CELL = Cell(predictor="p", set="s", split="test", mask_kind="random", mask_ratio=0.5, snr_db=None, params=3)


class Oracle:
    """Answers with a known multiple of the truth, link by link."""

    name = "oracle"

    def __init__(self, truth, factors):
        self.truth, self.factors, self.calls = truth, np.asarray(factors), []

    def predict(self, observed, mask):
        start = sum(self.calls) % len(self.truth)
        self.calls.append(len(observed))
        part = slice(start, start + len(observed))
        return (self.truth[part] * self.factors[part, None, None, None]).astype(np.complex64)


def channels(count, seed=0):
    values = np.random.default_rng(seed).standard_normal((2, count, 8, 6, 1))
    return (values[0] + 1j * values[1]).astype(np.complex64)


def measured(factors, seeds=(0, 1), **changes):
    truth = channels(len(factors))
    cases = [examples(truth, 0.5, seed) for seed in seeds]
    return truth, measure(Oracle(truth, factors), cases, polar_peaks(truth), 0.5, **changes)


def test_values_are_kept_link_by_link_and_mask_by_mask():
    steps = []
    truth, found = measured([0.9] * 40, shown=3, advance=lambda: steps.append(1))
    assert found.nmse.shape == found.ssim.shape == (2, 40)
    assert found.nmse == pytest.approx(np.full((2, 40), 0.01), rel=1e-4)
    assert np.allclose(found.shown, 0.9 * truth[3, ..., 0])
    assert found.peak_direction.max() < 1e-4
    assert len(steps) == 2 * -(-40 // BATCH)
    assert found.latency_ms > 0


def test_a_measurement_survives_the_disk(tmp_path):
    _, found = measured([0.5, 0.9])
    found.save(tmp_path / "cell.safetensors")
    again = type(found).load(tmp_path / "cell.safetensors")
    assert np.array_equal(again.nmse, found.nmse)
    assert np.array_equal(again.shown, found.shown)
    assert (again.latency_ms, again.peak_mb) == (found.latency_ms, found.peak_mb)


def test_warming_up_is_one_small_call():
    truth = channels(50)
    oracle = Oracle(truth, np.ones(50))
    warm_up(oracle, examples(truth, 0.5))
    assert len(oracle.calls) == 1
    assert oracle.calls[0] < BATCH


def test_rows_are_of_groups_and_intervals_of_links():
    _, found = measured([0.9] * 10 + [0.0] * 10, seeds=(0, 1, 2))
    groups = {"all": np.ones(20, bool), "good": np.arange(20) < 10}
    whole, good = rows_of(CELL, found, groups)
    assert (whole["group"], whole["samples"], whole["seeds"], whole["params"]) == ("all", 20, 3, 3)
    assert whole["nmse_db"] == pytest.approx(10 * np.log10(0.505), abs=1e-3)
    assert good["nmse_db"] == pytest.approx(-20, abs=1e-3)
    assert good["nmse_db_low"] == pytest.approx(-20, abs=1e-3)
    assert whole["p90_db"] == pytest.approx(0, abs=1e-3)
    # three masks of a link say nothing new here: the interval is that of 20 links, not of 60
    _, once = measured([0.9] * 10 + [0.0] * 10, seeds=(0,))
    alone = rows_of(CELL, once, groups)[0]
    assert (whole["nmse_db_low"], whole["nmse_db_high"]) == (alone["nmse_db_low"], alone["nmse_db_high"])


@pytest.mark.skipif(resident_bytes() == 0, reason="no /proc")
def test_peak_memory_sees_what_is_held_for_a_moment():
    with PeakMemory() as peak:
        block = np.ones(64 * 2**20 // 8)
        block += 1.0
        del block
    assert 55 < peak.mb < 90
    with PeakMemory() as nothing:
        pass
    assert nothing.mb < 5
