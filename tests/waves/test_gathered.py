"""Measurements gathered for the wave fits."""

import torch

from channelfm.observation import Combined
from channelfm.waves.gathered import Gathered


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def masks(share, rows=5, cols=7):
    return torch.rand(2, rows, cols, generator=torch.Generator().manual_seed(1)) < torch.tensor(share)[:, None, None]


def test_antennas_go_back_to_their_places():
    field, mask = draw(0, 2, 5, 7), masks([0.7, 0.3])
    gathered = Gathered.entries(field, mask, 0.5)
    assert torch.equal(gathered.measurements, mask.sum((1, 2)).double())
    assert torch.equal(gathered.on_grid(gathered.field), torch.where(mask, field, 0))
    assert gathered.thinned(4).field.shape == (2, 4)
    assert gathered.single().field.dtype == torch.complex64
    one = gathered.select(torch.tensor([1]))
    assert torch.equal(one.on_grid(one.field)[0], torch.where(mask, field, 0)[1])
    assert torch.equal(gathered.measured(gathered.field[:, None])[:, 0], gathered.field)


def test_surplus_antennas_are_left_out_alike_in_any_batch():
    field, mask = draw(2, 2, 12, 12), masks([0.9, 0.2], 12, 12)
    both = Gathered.entries(field, mask, 0.5, 40, torch.float32)
    alone = Gathered.entries(field[:1], mask[:1], 0.5, 40, torch.float32)
    assert both.number.tolist() == [40, int(mask[1].sum())]
    assert torch.equal(both.on_grid(both.field)[:1], alone.on_grid(alone.field))


def test_what_rf_chains_measure_is_that_of_their_operator_at_unit_norm():
    weights, channel = 3 * draw(3, 2, 9, 5, 7), draw(4, 2, 5, 7)
    values = torch.from_numpy(Combined(weights.numpy()).forward(channel[:, None, ..., None].numpy()))[:, 0, :, 0]
    gathered = Gathered.combined(values, weights, 0.5)
    norms = gathered.projection.abs().square().sum(1).mean(1)
    torch.testing.assert_close(norms, torch.ones(2, dtype=torch.float64))
    fields = channel.flatten(1)[:, None].to(torch.complex128)
    torch.testing.assert_close(gathered.measured(fields)[:, 0], gathered.field, atol=1e-5, rtol=1e-5)
    assert gathered.measurements.tolist() == [9, 9]
    other = draw(5, 2, 9).to(torch.complex128)
    products = [(other.conj() * gathered.field).sum(1), (gathered.on_grid(other).conj() * channel).sum((1, 2))]
    torch.testing.assert_close(products[0], products[1].to(torch.complex128), atol=1e-4, rtol=1e-4)
    few = gathered.thinned(4)
    torch.testing.assert_close(few.measured(fields)[:, 0], few.field, atol=1e-5, rtol=1e-5)
    assert few.field.shape == (2, 4)
