"""Stochastic near-field channels: against the distance formula, their statistics, and what they are drawn from."""

import dataclasses

import numpy as np
import pytest

import channelfm as cfm
from channelfm.channels.near_field import NEAR_FIELD_MODELS, NearFieldModel, draw_near_field, ray_response
from channelfm.config import recipe_values
from channelfm.datasets.blocks import link_blocks
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.errors import InputError
from channelfm.units import SPEED_OF_LIGHT

ARRAY = cfm.UPA(rows=3, cols=16, carrier_hz=28e9)
FREQUENCIES = 28e9 + np.linspace(-50e6, 50e6, 8)


@pytest.mark.parametrize("squint", [True, False])
def test_one_path_is_the_distance_formula(squint: bool) -> None:
    """The phase of an element follows from its distance to the source, independently computed."""
    model = NearFieldModel(clusters=1, squint=squint, latest_s=0.0)
    draw = draw_near_field(model, ARRAY, FREQUENCIES, 1, 3)
    azimuth, elevation, distance = (
        float(part[0, 0]) for part in (draw.clusters.azimuth_rad, draw.clusters.elevation_rad, draw.clusters.range_m)
    )
    direction = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    lengths = np.linalg.norm(distance * direction - ARRAY.element_positions, axis=1) - distance
    at = FREQUENCIES if squint else np.full(8, 28e9)
    wanted = np.exp(-2j * np.pi * lengths[:, None] * at / SPEED_OF_LIGHT)
    ratio = draw.response[0] / wanted
    assert np.allclose(ratio, ratio[0, 0], atol=1e-5)
    assert np.isclose(np.abs(ratio[0, 0]), 1, atol=1e-5)


def test_users_follow_from_seed_and_number_alone() -> None:
    """More users change nothing of the first ones, and every channel has the energy one per entry."""
    few, many = (draw_near_field(NEAR_FIELD_MODELS["clusters"], ARRAY, FREQUENCIES, users, 5) for users in (2, 4))
    assert np.array_equal(few.response, many.response[:2])
    assert np.allclose(np.mean(np.abs(many.response) ** 2, axis=(1, 2)), 1, atol=1e-5)


def test_rays_scatter_as_the_model_says() -> None:
    """Spreads of many rays about their centres, and the powers of clusters."""
    model = dataclasses.replace(NEAR_FIELD_MODELS["clusters"], elevation_deg=0.0)
    array = cfm.UPA(rows=1, cols=16, carrier_hz=28e9)
    clusters = draw_near_field(model, array, FREQUENCIES, 1, 0).clusters
    rays = clusters.rays(array, 20000, np.random.default_rng(0))
    azimuth = np.arcsin(rays.sources[0, :, 0]).reshape(3, -1)
    assert np.allclose(np.rad2deg(azimuth.std(1)), 1.0, rtol=0.05)
    power = np.sum(np.abs(rays.gains[0].reshape(3, -1)) ** 2, axis=1)
    assert np.allclose(power, clusters.power[0], rtol=0.05)
    assert np.allclose(clusters.power[0, 1:] / clusters.power[0, :-1], 0.5)
    late = (rays.delays_s[0].reshape(3, -1) - clusters.delay_s[0][:, None]).mean(1)
    assert np.allclose(late, 5e-9 * np.sqrt(2 / np.pi), rtol=0.05)


def test_truth_of_a_data_set_is_drawn_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Blocks know the rays that their channels consist of, whichever links are read; recipes without the field keep
    their hash."""
    values = recipe_values("hybrid-near")[1] | {
        "flights": [{"name": "t", "split": "test", "num_uavs": 3, "num_steps": 2}]
    }
    recipe = DatasetRecipe.model_validate(values)
    dataset = cfm.generate(recipe, out=tmp_path / "data", progress=False)
    blocks = link_blocks(dataset, "test", np.array([5, 1, 2]))
    assert blocks.rays is not None
    assert blocks.clusters is not None
    rebuilt = ray_response(blocks.rays, blocks.grid.array, blocks.grid.frequencies_hz, squint=False)
    assert np.allclose(rebuilt.reshape(blocks.channel[:, 0].shape), blocks.channel[:, 0], atol=1e-5)
    assert blocks.select(slice(1)).rays.gains.shape == (1, 3)  # type: ignore[union-attr]
    assert "near_field" not in cfm.open_dataset("exact-cities").manifest.recipe.model_dump()


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"range_m": (0.0, 3.0)}, "range_m"), ({"clusters": 0}, "clusters"), ({"azimuth_deg": 90.0}, "azimuth_deg")],
)
def test_settings_out_of_range_are_named(changes: dict[str, float], named: str) -> None:
    """One line that names the field."""
    with pytest.raises(InputError, match=named):
        draw_near_field(dataclasses.replace(NearFieldModel(), **changes), ARRAY, FREQUENCIES, 1, 0)  # type: ignore[arg-type]
