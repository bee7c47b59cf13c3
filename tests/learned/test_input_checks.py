"""What predictors are given is right, or refused in one line; what they answer is finite, or refused."""

import numpy as np
import pytest
import torch

from channelfm.arrays import spherical_wave
from channelfm.baselines import BASELINES
from channelfm.checkpoints import load_model
from channelfm.errors import InputError
from channelfm.estimator import check_observation, check_past
from channelfm.observation import STRONGEST, WEAKEST, usable_snapshots
from channelfm.tokens.masks import MASKS

FIELD = spherical_wave(4, 6, np.array([[90.0, 20.0, -10.0], [60.0, -5.0, 9.0]]))[..., None].astype(np.complex64)
SEEN = np.random.default_rng(0).random((2, 4, 6, 1)) < 0.5
PAST = np.repeat(FIELD[:, None], 5, axis=1) * np.exp(0.3j * np.arange(5))[:, None, None, None].astype(np.complex64)
ALL = np.ones((1, 1, 1, 1, 1), bool)


def refused(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("observed", "words"),
    [
        ("x", "observed holds"),
        (None, "observed holds object"),
        ([[1, 2], [3]], "no array of numbers"),
        (FIELD.real, "give complex"),
        (FIELD[0], "give complex"),
        (FIELD[:, :0], "none of them empty"),
        (FIELD[..., :0], "none of them empty"),
        (FIELD * np.nan, "NaN or infinity"),
        (FIELD * 1e30, r"amplitudes up to 1\.0e\+30 in sample 0: scale it"),
        (FIELD.astype(np.complex128) * 1e-43, "scale it to between 1e-24 and 1e"),
        (FIELD.astype(np.complex128) * 1e200, "scale it"),
    ],
)
def test_observations_that_are_none(observed, words):
    refused(lambda: check_observation(observed, True), words)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("x", "mask holds"),
        (None, "mask holds object"),
        (0.5, "other than 0 and 1"),
        (np.full((4, 6), 2), "other than 0 and 1"),
        (np.ones(5, bool), "broadcast"),
        (np.zeros((1, 1, 1, 1), bool), "hides every antenna"),
    ],
)
def test_masks_that_are_none(mask, words):
    refused(lambda: check_observation(FIELD, mask), words)


def test_tensors_and_whole_numbers_are_taken_for_what_they_are():
    plain = check_observation(FIELD, SEEN)
    for observed, mask in (
        (torch.from_numpy(FIELD).requires_grad_(), torch.from_numpy(SEEN)),
        (torch.from_numpy(FIELD.conj()).conj(), torch.from_numpy(SEEN).to(torch.bfloat16)),
        (FIELD.tolist(), SEEN.astype(int).tolist()),
    ):
        for one, other in zip(check_observation(observed, mask), plain, strict=True):
            np.testing.assert_array_equal(one, other)
    for predictor in (BASELINES["wave-frame"](), load_model("wavefield-small")):
        same = predictor.predict(torch.from_numpy(FIELD), torch.from_numpy(SEEN))
        np.testing.assert_array_equal(same, predictor.predict(FIELD, SEEN))


@pytest.mark.parametrize("amplitude", [WEAKEST * 2, STRONGEST / 2])
def test_amplitudes_within_the_bounds_pass(amplitude):
    observed, _ = check_observation(FIELD * np.float32(amplitude), True)
    assert np.isfinite(observed).all()
    assert observed.any()


def test_silence_and_no_sample_at_all_pass():
    assert not check_observation(0 * FIELD, SEEN)[0].any()
    assert check_observation(FIELD[:0], SEEN[:0])[0].shape == (0, 4, 6, 1)
    assert check_past(PAST[:0], ALL, 2)[0].shape == (0, 5, 4, 6, 1)


@pytest.mark.parametrize("horizon", [1.5, 0, -3, "2", None, True, np.nan])
def test_horizons_that_are_none(horizon):
    refused(lambda: BASELINES["sample-and-hold"]().predict(PAST, ALL, horizon), "horizon = .*whole number")


def test_channels_may_be_tensors():
    np.testing.assert_array_equal(usable_snapshots(torch.from_numpy(FIELD)), FIELD)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(
    ("size", "ratio", "words"),
    [
        ((1, 0, 3), 0.5, "rows = 0"),
        ((1, 3, 0), 0.5, "cols = 0"),
        ((-1, 3, 3), 0.5, "count = -1"),
        ((1, 2.5, 3), 0.5, "rows = 2.5"),
        ((2, 3, 3), [0.1, 0.2, 0.3], "one or 2"),
        ((2, 3, 3), "half", "mask ratio holds"),
    ],
)
def test_masks_of_arrays_that_are_none(kind, size, ratio, words):
    refused(lambda: MASKS[kind](np.random.default_rng(0), *size, ratio), words)


@pytest.mark.parametrize("name", ["wavefield-small", "cddim-tiny", "mcm-tiny", "linear-mixture", "lwm-temporal-small"])
def test_weights_that_overflow_are_told_not_answered(name):
    model = load_model(name)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(1e20)
    if name in ("linear-mixture", "lwm-temporal-small"):
        refused(lambda: model.predict(PAST, ALL, 2), f"model '{model.name}' answers with NaN or infinity")
    else:
        refused(lambda: model.predict(FIELD, SEEN), f"model '{model.name}' answers with NaN or infinity")
