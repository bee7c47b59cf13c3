"""Directions that regular masks cannot tell apart: which they are, and how they are answered."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.arrays import spherical_wave
from channelfm.baselines import BASELINES
from channelfm.metrics import nmse
from channelfm.tokens.masks import comb_mask, random_mask, row_mask
from channelfm.waves.aliases import Lattice, alias_offsets, aliases_of, lattice_of, observed_lattices
from channelfm.waves.search import search_waves

RNG = np.random.default_rng


def comb(rows, cols, down, across, first=(0, 0)):
    mask = np.zeros((1, rows, cols), bool)
    mask[:, first[0] :: down, first[1] :: across] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(
    basis=st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), min_size=1, max_size=3), start=st.integers(0, 9)
)
def test_a_lattice_is_the_one_that_its_points_span(basis, start):
    """Points spanned by any vectors belong to the lattice that is found from them, and to none that is coarser."""
    factors = np.array(list(itertools.product(range(-2, 3), repeat=len(basis))))
    points = factors @ np.array(basis) + start
    lattice = lattice_of(points)
    volume = math.gcd(*(a * d - b * c for (a, b), (c, d) in itertools.combinations(basis, 2)))
    if volume:
        assert lattice.row * lattice.column == volume
    for down, across in points - points[0]:
        assert down == 0 if lattice.row == 0 else down % lattice.row == 0
        beside = across - (down // lattice.row if lattice.row else 0) * lattice.shift
        assert beside == 0 if lattice.column == 0 else beside % lattice.column == 0


def test_lattices_of_usual_masks():
    chequer = (np.indices((8, 8)).sum(0) % 2 == 0)[None]
    masks = {
        "comb": (comb(9, 12, 3, 2, (1, 1)), Lattice(3, 0, 2)),
        "every third row": (comb(9, 9, 3, 1), Lattice(3, 0, 1)),
        "chequerboard": (chequer, Lattice(1, 1, 2)),
        "one row": (comb(9, 8, 20, 2), Lattice(0, 0, 2)),
        "one antenna": (comb(9, 9, 20, 20), Lattice(0, 0, 0)),
        "everything": (np.ones((1, 4, 4), bool), Lattice(1, 0, 1)),
    }
    for name, (mask, expected) in masks.items():
        found = observed_lattices(mask)[0]
        assert found == expected or (found.is_full and expected.is_full), name
    assert all(lattice.is_full for lattice in observed_lattices(random_mask(RNG(0), 50, 64, 64, 0.98)[..., 0]))


@pytest.mark.parametrize("spacing", [0.5, 0.35, 0.6, 1.0])
@pytest.mark.parametrize("lattice", [Lattice(1, 0, 1), Lattice(2, 0, 3), Lattice(1, 1, 2), Lattice(0, 0, 4)])
def test_plane_waves_from_aliases_look_alike_on_the_lattice(lattice, spacing):
    offsets = alias_offsets(lattice, spacing)
    assert not offsets[0].any()
    steps = np.array([(lattice.row, lattice.shift), (0, lattice.column)]) * spacing
    turns = offsets.numpy()[:, ::-1] @ steps.T  # waves per step of the lattice
    np.testing.assert_allclose(turns, turns.round(), atol=1e-5)
    # ... and there are no others: as many in every unit cell of (1 / spacing)^2 as the lattice is coarse
    if lattice.row:
        cell = (offsets >= -1e-6).all(1) & (offsets < 1 / spacing - 1e-6).all(1)
        assert int(cell.sum()) <= lattice.row * lattice.column


def test_half_a_wavelength_has_no_aliases_and_more_has():
    assert len(alias_offsets(Lattice(1, 0, 1), 0.5)) == 1
    offsets = alias_offsets(Lattice(1, 0, 1), 0.6)
    _, visible = aliases_of(torch.tensor([[0.95, 0.0, 0.0], [0.1, 0.2, 0.0]]), offsets)
    assert visible.sum(1).tolist() == [2, 1]  # u = 0.95 looks like 0.95 - 1 / 0.6


def near_waves(count, seed, distance=(60, 200)):
    """A strong and a weak wave each from near sources, complex64 [count, 64, 64, 1]."""
    generator = RNG(seed)
    direction = generator.normal(size=(2, count, 3))
    direction[..., 0] = np.abs(direction[..., 0]) + 0.3
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    sources = direction * (generator.uniform(*distance, (2, count, 1)) / 0.0428)  # wavelengths at 7 GHz
    gains = np.array([1, 0.1])[:, None] * np.exp(2j * np.pi * generator.random((2, count)))
    fields = sum(spherical_wave(64, 64, sources[k]) * gains[k, :, None, None] for k in range(2))
    return fields.astype(np.complex64)[..., None], direction[0, :, 1:]


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.75, 0.9])
def test_curvature_tells_the_aliases_of_near_waves_apart(ratio):
    truth, direction = near_waves(12, seed=3)
    mask = comb_mask(RNG(1), 12, 64, 64, ratio)
    found = search_waves(torch.from_numpy(truth[..., 0] * mask[..., 0]), torch.from_numpy(mask[..., 0]), 0.5, 6)
    strongest = (found.gains[..., 0].abs() * found.probability).argmax(1)
    sines = found.sources[torch.arange(12), strongest, :2].numpy()
    assert (np.abs(sines - direction).max(1) < 0.01).mean() >= 11 / 12
    estimate = BASELINES["wave-frame"](0.5).predict(truth * mask, mask)
    assert 10 * np.log10(np.median(nmse(estimate, truth))) < -50


@pytest.mark.parametrize(("spacing", "kind"), [(0.5, comb_mask), (0.5, row_mask), (1.0, random_mask)])
def test_far_waves_are_answered_by_all_that_they_may_be(spacing, kind):
    """Plane waves have no curvature: the answer is the mean over the aliases, and no worse than none on average."""
    generator = RNG(5)
    direction = generator.normal(size=(16, 3))
    direction[:, 0] = np.abs(direction[:, 0])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    truth = spherical_wave(16, 16, 1e7 * direction, spacing).astype(np.complex64)[..., None]
    mask = kind(generator, 16, 16, 16, 0.75)
    if kind is row_mask:
        mask = np.repeat(comb(16, 16, 4, 1), 16, axis=0)[..., None]
    error = nmse(BASELINES["wave-frame"](spacing).predict(truth * mask, mask), truth)
    assert error.mean() < 1
    found = search_waves(torch.from_numpy(truth[..., 0] * mask[..., 0]), torch.from_numpy(mask[..., 0]), spacing, 1)
    torch.testing.assert_close(found.probability.sum(1), torch.ones(16))
    if kind is not random_mask:
        assert (found.present.sum(1) > 1).any()


def test_regular_and_irregular_masks_in_one_batch_do_not_disturb_each_other():
    truth, _ = near_waves(4, seed=8)
    masks = np.concatenate([random_mask(RNG(0), 2, 64, 64, 0.9), comb_mask(RNG(0), 2, 64, 64, 0.9)])[[0, 2, 1, 3]]
    estimator = BASELINES["wave-frame"](0.5)
    together = estimator.predict(truth * masks, masks)
    for number in range(4):
        alone = estimator.predict((truth * masks)[[number]], masks[[number]])
        np.testing.assert_allclose(together[[number]], alone, atol=2e-3)
