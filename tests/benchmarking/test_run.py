import json

import numpy as np
import pytest
from channelfm.benchmark.run import Results, evaluate, versions, write_results
from channelfm.tasks.predictor import Predictor, check_observation

from channelfm.baselines import ZeroFilling
from channelfm.errors import InputError
from channelfm.metrics import DECIBEL_FLOOR


class Recorder:
    """Answers with the truth; remembers what it was shown."""

    def __init__(self, name, truth):
        self.name, self.truth, self.seen = name, truth, []

    def predict(self, observed, mask):
        check_observation(observed, mask)
        self.seen.append((observed.copy(), mask.copy()))
        return self.truth[: len(observed)]


class Faulty:
    name = "faulty"

    def __init__(self, answer):
        self.answer = answer

    def predict(self, observed, mask):
        return self.answer(observed)


def unit_channels(count=6, rows=8, cols=8, frequencies=1, seed=0):
    phase = np.random.default_rng(seed).random((count, rows, cols, frequencies))
    return np.exp(2j * np.pi * phase).astype(np.complex64)


def test_zero_filling_scores_the_hidden_share():
    rows = evaluate([ZeroFilling()], unit_channels(), [0.5, 0.75], progress=False)
    assert [row["mask_ratio"] for row in rows] == [0.5, 0.75]
    for row in rows:
        for key in ("nmse_db", "nmse_median_db", "p90_db", "nmse_db_low", "nmse_db_high"):
            assert row[key] == pytest.approx(10 * np.log10(row["mask_ratio"]))
        assert row["samples"] == 6
        assert row["latency_ms"] > 0


def test_all_predictors_see_the_same_masks_and_only_what_is_observed():
    truth = unit_channels()
    first, second = Recorder("first", truth), Recorder("second", truth)
    assert isinstance(first, Predictor)
    rows = evaluate([first, second], truth, [0.75], seed=3, progress=False)
    assert [row["predictor"] for row in rows] == ["first", "second"]
    assert rows[0]["nmse_db"] == DECIBEL_FLOOR
    for (observed, mask), (again, same) in zip(first.seen, second.seen, strict=True):
        assert np.array_equal(observed, again)
        assert np.array_equal(mask, same)
        assert not observed[~np.broadcast_to(mask, observed.shape)].any()
    assert (first.seen[-1][1].sum(axis=(1, 2, 3)) == 16).all()


def test_masks_of_a_ratio_do_not_depend_on_the_others():
    truth = unit_channels()
    alone, among = Recorder("r", truth), Recorder("r", truth)
    evaluate([alone], truth, [0.75], progress=False)
    evaluate([among], truth, [0.5, 0.75], progress=False)
    assert np.array_equal(alone.seen[-1][1], among.seen[-1][1])


def test_pathless_snapshots_are_left_out():
    truth = unit_channels()
    truth[[1, 4]] = 0
    assert evaluate([ZeroFilling()], truth, [0.5], progress=False)[0]["samples"] == 4


def test_more_snapshots_than_one_batch():
    truth = unit_channels(70, 4, 4)
    row = evaluate([ZeroFilling()], truth, [0.5], progress=False)[0]
    assert row["samples"] == 70
    assert row["nmse_db"] == pytest.approx(10 * np.log10(0.5))


@pytest.mark.parametrize(
    ("answer", "words"),
    [(lambda observed: observed[..., 0], "faulty"), (lambda observed: observed * np.nan, "not finite")],
)
def test_a_bad_answer_is_named(answer, words):
    with pytest.raises(InputError, match=words):
        evaluate([Faulty(answer)], unit_channels(), [0.5], progress=False)


@pytest.mark.parametrize(
    ("grid", "ratios", "words"),
    [
        (np.zeros((2, 4, 4, 1), dtype=np.complex64), [0.5], "none of the 2"),
        (np.full((2, 4, 4, 1), np.nan, dtype=np.complex64), [0.5], "NaN"),
        (np.ones((2, 4, 4), dtype=np.complex64), [0.5], "frequency"),
        (np.ones((2, 4, 4, 1), dtype=np.complex64), [1.5], "ratio"),
        (np.ones((2, 4, 4, 1), dtype=np.complex64), [0.0], "hides nothing"),
    ],
)
def test_bad_input_is_refused(grid, ratios, words):
    with pytest.raises(InputError, match=words):
        evaluate([ZeroFilling()], grid, ratios, progress=False)


def test_names_must_differ():
    with pytest.raises(InputError, match="same name"):
        evaluate([ZeroFilling(), ZeroFilling()], unit_channels(), [0.5], progress=False)


def test_results_file_is_strict_json(tmp_path):
    truth = unit_channels()
    rows = evaluate([ZeroFilling(), Recorder("exact", truth)], truth, [0.5], progress=False)  # exact: -inf dB
    results = Results(rows=rows, scene="toy", seed=1, versions=versions(), left_out=0)
    write_results(tmp_path / "sub" / "results.json", results)
    stored = json.loads((tmp_path / "sub" / "results.json").read_text(), parse_constant=pytest.fail)
    assert stored["rows"] == rows
    assert stored["rows"][1]["nmse_db"] == DECIBEL_FLOOR
    wanted = {"predictor", "mask_ratio", "nmse_db", "nmse_median_db", "latency_ms", "samples", "p90_db", "params"}
    assert wanted | {"peak_mb", "split", "set", "group", "mask_kind", "snr_db"} <= set(stored["rows"][0])
    assert {"python", "numpy", "torch"} <= set(stored["versions"])
    assert [file.name for file in (tmp_path / "sub").iterdir()] == ["results.json"]
