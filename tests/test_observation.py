"""Observations: operators and their adjoints, files, noise, and what is refused."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import UPA
from channelfm.errors import InputError, IntegrityError
from channelfm.observation import (
    OPERATORS,
    Combined,
    Entries,
    Grid,
    Observation,
    Operator,
    RandomlyCombined,
    observe,
)

RNG = np.random.default_rng
KINDS = ["entries", "entries of every link", "combined", "combined for every link", "randomly combined"]
LINKS = 5


def grid_of(shape):
    """A grid of T x rows x columns x F."""
    times, rows, cols, frequencies = shape
    return Grid(UPA(rows, cols, 7e9), np.arange(float(times)), np.linspace(6.9e9, 7.1e9, frequencies))


def draw(generator, *shape):
    """White complex64 of unit power."""
    return (generator.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def operator_of(kind, shape, generator):
    """An operator for channels [LINKS, *shape]."""
    _, rows, cols, _ = shape
    count = LINKS if kind.endswith("every link") else 1
    if kind.startswith("entries"):
        broadcast = [length if generator.random() < 0.5 else 1 for length in shape]
        return Entries(generator.random((count, *broadcast)) < 0.6)
    if kind.startswith("combined"):
        return Combined(draw(generator, count, int(generator.integers(1, 8)), rows, cols))
    return RandomlyCombined(int(generator.integers(100)), generator.permutation(LINKS), 4, rows, cols)


def inner(a, b):
    return np.vdot(a.astype(np.complex128), b.astype(np.complex128))


shapes = st.tuples(*[st.integers(1, 4)] * 4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**32))
def test_adjoint(kind, shape, seed):
    """<A h, y> = <h, A^H y>, which is all that a solver knows of an operator."""
    generator = RNG(seed)
    operator = operator_of(kind, shape, generator)
    channel = draw(generator, LINKS, *shape)
    values = draw(generator, LINKS, *operator.shape(grid_of(shape)))
    measured, back = operator.forward(channel), operator.adjoint(values)
    assert measured.shape == values.shape
    assert back.shape == channel.shape
    assert measured.dtype == back.dtype == np.complex64
    size = np.linalg.norm(measured) * np.linalg.norm(values) + np.linalg.norm(channel) * np.linalg.norm(back)
    assert abs(inner(values, measured) - inner(back, channel)) <= 1e-5 * size + 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", [slice(1, 3), np.array([4, 0, 4]), np.array([True, False, True, False, False])])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_selected_links_are_measured_as_among_all(kind, index, seed):
    generator = RNG(seed)
    operator = operator_of(kind, (2, 3, 4, 2), generator)
    channel = draw(generator, LINKS, 2, 3, 4, 2)
    np.testing.assert_array_equal(operator.select(index).forward(channel[index]), operator.forward(channel)[index])
    observation = observe(channel, operator, grid_of((2, 3, 4, 2)), 5.0, generator)
    part = observation.select(index)
    part.check()
    np.testing.assert_array_equal(part.values, observation.values[index])
    np.testing.assert_array_equal(part.noise, observation.noise[index])


def test_what_operators_measure():
    shape = (2, 3, 4, 2)
    channel = draw(RNG(1), LINKS, *shape)
    mask = RNG(2).random((1, 1, 3, 4, 1)) < 0.5
    np.testing.assert_array_equal(Entries(mask).forward(channel), np.where(mask, channel, 0))
    weights = draw(RNG(3), 1, 6, 3, 4)
    expected = np.einsum("qrc,ntrcf->ntqf", weights[0].conj(), channel)
    np.testing.assert_allclose(Combined(weights).forward(channel), expected, atol=1e-5)


def test_random_weights_are_those_of_a_link_wherever_it_stands():
    """Four phases, columns of unit norm; another seed or link has others."""
    operator = RandomlyCombined(7, np.arange(3), 16, 4, 8)
    np.testing.assert_array_equal(operator.weights_of(2), operator.select([2, 0]).weights_of(0))
    assert (operator.weights_of(0) != operator.weights_of(1)).any()
    assert (operator.weights_of(0) != replace(operator, seed=8).weights_of(0)).any()
    phases = np.unique(np.round(operator.weights_of(0) * np.sqrt(32), 5) + 0)
    assert len(phases) == 4
    np.testing.assert_allclose(np.sum(np.abs(operator.weights_of(0)) ** 2, axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [True, False])
def test_files_hold_the_observation(kind, noise, tmp_path):
    generator, shape = RNG(4), (2, 3, 4, 2)
    channel = draw(generator, LINKS, *shape)
    observation = observe(channel, operator_of(kind, shape, generator), grid_of(shape), 10.0, generator)
    observation = observation if noise else replace(observation, noise=None)
    observation.save(tmp_path / "one")
    loaded = Observation.load(tmp_path / "one")
    loaded.save(tmp_path / "two")
    assert len({hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in ("one", "two")}) == 1
    np.testing.assert_array_equal(loaded.values, observation.values)
    np.testing.assert_array_equal(loaded.operator.forward(channel), observation.operator.forward(channel))
    assert (loaded.noise is None) == (observation.noise is None)
    assert type(loaded.operator) is type(observation.operator)
    assert loaded.grid.shape == observation.grid.shape
    assert loaded.grid.array == observation.grid.array


def test_an_operator_is_a_file_by_itself(tmp_path):
    operator = Combined(draw(RNG(5), 1, 2, 3, 4))
    operator.save(tmp_path / "operator")
    np.testing.assert_array_equal(Combined.load(tmp_path / "operator").weights, operator.weights)
    with pytest.raises(IntegrityError, match="holds a Combined"):
        Entries.load(tmp_path / "operator")
    assert set(OPERATORS) == {"Entries", "Combined", "RandomlyCombined"}
    assert all(issubclass(kind, Operator) for kind in OPERATORS.values())


def test_files_of_unknown_operators_are_refused(tmp_path):
    observation = observe(
        draw(RNG(5), 1, 1, 2, 2, 1), Entries(np.ones((1,) * 5, bool)), grid_of((1, 2, 2, 1)), None, RNG(0)
    )
    observation.save(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content.replace(b"Entries", b"Entrees"))
    with pytest.raises(IntegrityError, match="not a Observation"):
        Observation.load(tmp_path / "file")


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_the_power_that_is_told(kind):
    """A channel's mean power over the SNR, per measurement, circular and white; nothing else depends on the SNR."""
    generator, shape = RNG(6), (2, 32, 16, 4)
    operator = operator_of(kind, shape, generator)
    if isinstance(operator, Entries):
        operator = Entries(np.ones((1, 1, 1, 1, 1), bool))
    channel = draw(generator, LINKS, *shape) * np.float32(10.0) ** np.arange(-2, 3).reshape(-1, 1, 1, 1, 1)
    grid, clean = grid_of(shape), operator.forward(channel)
    noisy = observe(channel, operator, grid, 3.0, RNG(7))
    power = np.mean(np.abs(channel) ** 2, axis=(1, 2, 3, 4))
    np.testing.assert_allclose(noisy.noise, power / 10**0.3, rtol=1e-5)
    unit = (noisy.values - clean) / np.sqrt(noisy.noise).reshape(-1, *[1] * (clean.ndim - 1))
    deviation = 1 / np.sqrt(unit.size)
    assert abs(np.mean(np.abs(unit) ** 2) - 1) < 5 * deviation
    assert abs(np.mean(unit**2)) < 5 * deviation
    assert abs(np.mean(unit)) < 5 * deviation
    stronger = observe(channel, operator, grid, -17.0, RNG(7))
    np.testing.assert_allclose(stronger.values - clean, 10 * (noisy.values - clean), atol=1e-2 * np.abs(clean).max())


def test_hidden_entries_have_no_noise_and_clean_observations_none():
    shape = (1, 8, 8, 1)
    channel, mask = draw(RNG(8), LINKS, *shape), RNG(9).random((LINKS, *shape)) < 0.5
    noisy = observe(channel, Entries(mask), grid_of(shape), 0.0, RNG(10))
    assert not noisy.values[~mask].any()
    clean = observe(channel, Entries(mask), grid_of(shape), None, RNG(10))
    np.testing.assert_array_equal(clean.values, np.where(mask, channel, 0))
    np.testing.assert_array_equal(clean.noise, 0)


def test_wrong_observations_are_refused():
    shape = (2, 3, 4, 2)
    grid, channel = grid_of(shape), draw(RNG(11), LINKS, *shape)
    mask = Entries(np.ones((1, 1, 1, 1, 1), bool))
    good = observe(channel, mask, grid, 10.0, RNG(12))
    good.check()
    wrong = [
        (replace(good, values=good.values[..., 0]), "values have shape"),
        (replace(good, values=good.values.real), "values have shape"),
        (replace(good, values=good.values[:, :, :2]), "values have shape"),
        (replace(good, values=good.values * np.nan), "NaN or infinity"),
        (replace(good, noise=good.noise[:2]), "one power"),
        (replace(good, noise=-good.noise), "one power"),
        (replace(good, noise=good.noise * np.nan), "one power"),
        (replace(good, noise=good.noise * np.inf), "one power"),
        (replace(good, operator=Entries(np.ones((1, 1, 2, 1, 1), bool))), "mask of .* does not fit"),
        (replace(good, operator=Entries(np.ones((2, 1, 1, 1, 1), bool))), "2 links"),
        (replace(good, operator=Combined(np.ones((1, 2, 3, 5), np.complex64))), "weights of 3 x 5 antennas"),
        (
            replace(good, operator=Combined(np.ones((2, 2, 3, 4), np.complex64)), values=good.values[:, :, :2, 0]),
            "values",
        ),
    ]
    for observation, words in wrong:
        with pytest.raises(InputError, match=words):
            observation.check()
    through = observe(channel, Combined(np.ones((1, 2, 3, 4), np.complex64)), grid, 10.0, RNG(12))
    through.check()
    for operator in (
        Combined(np.ones((2, 2, 3, 4), np.complex64)),
        RandomlyCombined(0, np.arange(2), 2, 3, 4),
    ):
        with pytest.raises(InputError, match="2 links"):
            replace(through, operator=operator).check()
    with pytest.raises(InputError, match="single entries"):
        through.mask  # noqa: B018
    with pytest.raises(InputError, match="measurements = 0"):
        RandomlyCombined(0, np.arange(2), 0, 3, 4)


def test_a_grid_tells_its_polarisations_and_each_tone_once() -> None:
    """Frequencies come once for every polarisation."""
    grid = Grid(UPA(2, 2, 1e9), np.zeros(1), np.tile([1e9, 2e9, 3e9], 2))
    assert grid.polarizations == 2
    assert grid.tones_hz.tolist() == [1e9, 2e9, 3e9]
