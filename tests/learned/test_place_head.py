"""The head for places: the wave's own place before it learns, and better than it where the wave says little."""

import numpy as np
import pytest
import torch

from channelfm.estimator import POSITION
from channelfm.learned.descent import Descent
from channelfm.learned.heads import PlaceHead, asked_for
from channelfm.waves.places import places_seen

RAYLEIGH_M, WIDTH = 170.0, 8


def told(count, deviation, seed=0):
    """Places [N, 3] and what a frame takes out: sines, Rayleigh distance over range, off by a deviation, and it."""
    rng = np.random.default_rng(seed)
    views = np.stack([rng.uniform(40, 160, count), rng.uniform(-1, 1, count), rng.uniform(-0.6, 0.4, count)], axis=1)
    places = places_seen(views)
    curvature = RAYLEIGH_M / views[:, 0] + deviation * rng.normal(size=count)
    columns = [*(places[:, 1:] / views[:, :1]).T, np.maximum(curvature, 0), np.full(count, deviation)]
    return torch.from_numpy(places), torch.from_numpy(np.stack(columns, axis=1)).float()


def errors(head, places, taken_out):
    with torch.no_grad():
        answer = head.answer(head(torch.zeros(len(places), 1, WIDTH), taken_out))
    assert answer.dtype == np.float64
    return np.linalg.norm(answer - places.numpy(), axis=1)


def test_it_starts_at_the_wave_s_own_place():
    places, taken_out = told(200, 0.0)
    head = PlaceHead(WIDTH, taken_out, places)
    assert head.rayleigh_m == pytest.approx(RAYLEIGH_M, rel=1e-4)
    assert errors(head, places, taken_out).max() < 0.2
    assert head.loss(head(torch.zeros(200, 1, WIDTH), taken_out), places) < 1e-5


def test_it_learns_how_far_to_trust_the_range():
    parts = [told(300, deviation, seed) for seed, deviation in enumerate((0.02, 1.0))]
    places, taken_out = (torch.cat(columns) for columns in zip(*parts, strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = PlaceHead(WIDTH, taken_out, places)
    before = [errors(head, *told(300, deviation, 7)).mean() for deviation in (0.02, 1.0)]
    descent = Descent("head", [(list(head.parameters()), 5e-3)], 150)
    for _ in range(150):
        descent.step(head.loss(head(torch.zeros(len(places), 1, WIDTH), taken_out), places))
    after = [errors(head, *told(300, deviation, 7)).mean() for deviation in (0.02, 1.0)]
    assert after[1] < 0.75 * before[1]
    assert after[0] < 2 * before[0]


def test_answers_are_finite_and_within_twice_the_examples_whatever_is_told():
    places, taken_out = told(50, 0.1)
    head = PlaceHead(WIDTH, taken_out, places)
    wild = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1e6, 0.0], [0.0, -1.0, 0.0, 9.0]])
    found = head.answer(head(torch.zeros(3, 2, WIDTH), wild).detach())
    distance = np.linalg.norm(found, axis=1)
    assert np.isfinite(found).all()
    assert distance.min() > 0
    assert distance.max() <= 2 * places.norm(dim=1).max() * 1.001


def test_places_are_asked_of_it():
    assert asked_for(np.zeros((4, 3))) == POSITION
    assert not PlaceHead.takes(np.zeros((4, 3), np.int64))
    assert not PlaceHead.takes(np.zeros((4, 2)))
