"""Small channels, paths and recipes that the tests of pretraining share."""

import numpy as np
import pytest
import torch

from channelfm.arrays import UPA, spherical_wave
from channelfm.channels.compact import compress
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.records import Paths
from channelfm.units import SPEED_OF_LIGHT

CARRIER_HZ = 7e9
VELOCITY = np.array([12.0, -7.0, 2.0])


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def channels():
    """Channels complex64 [count, side, side, 1] of two spherical waves."""

    def make(count=12, seed=0, side=8):
        generator = np.random.default_rng(seed)
        sources = generator.uniform([100, -100, -100], [300, 100, 100], (count, 2, 3))
        gains = np.array([1.0, 0.4]) * np.exp(2j * np.pi * generator.random((count, 2)))
        field = (spherical_wave(side, side, sources) * gains[..., None, None]).sum(1)
        return (1e-6 * field).astype(np.complex64)[..., None]

    return make


@pytest.fixture(scope="session")
def path_parts():
    """(UPA, CompactPaths) of point sources in free space, two for each snapshot, seen by one array."""

    def make(count=10, side=16, seed=0, seen=True, **array_options):
        array = UPA(side, side, CARRIER_HZ, **array_options)
        sources = np.random.default_rng(seed).uniform([15, -80, -50], [150, 80, 40], (count, 2, 3))
        sources = sources @ array.rotation.T + np.asarray(array.position)
        legs = array.element_positions - sources[:, :, None]
        legs = np.tile(legs, (1, 1, array.num_polarizations, 1))
        distance = np.linalg.norm(legs, axis=-1)
        valid = np.broadcast_to(seen, distance.shape).copy()
        towards = np.asarray(array.position) - sources
        departure = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
        interactions = np.zeros((count, 2, 2), np.int32)
        interactions[:, 1:, 0] = 1
        gain = np.array([1.0, 0.4j])[:, None] * array.wavelength_m / (4 * np.pi * distance)
        gain[..., array.num_elements :] *= 0.5  # a second polarisation is weaker
        shift = legs / distance[..., None] @ VELOCITY / array.wavelength_m
        paths = Paths(
            gain=np.where(valid, gain, 0).astype(np.complex64),
            delay_s=np.where(valid, distance / SPEED_OF_LIGHT, 0.0),
            valid=valid,
            doppler_hz=np.where(valid, shift, 0).astype(np.float32),
            interactions=interactions,
            points_m=np.zeros((*interactions.shape, 3)),
            departure=departure,
            arrival=-departure,
            times_s=np.arange(count, dtype=float),
            positions_m=sources[:, 0],
            carrier_hz=CARRIER_HZ,
            method="test",
        )
        return array, compress(paths, array)

    return make


@pytest.fixture(scope="session")
def make_recipe():
    """A recipe of eight small steps; keywords override it, those of ``predictor`` with the prefix ``predictor_``."""

    def make(**values):
        given = {name.removeprefix("predictor_"): values.pop(name) for name in list(values) if "predictor_" in name}
        predictor = {"model_options": {"width": 16, "depth": 1, "heads": 2}}
        if given.get("method", "diffusion") == "diffusion":
            predictor |= {"diffusion": {"prediction": "sample"}, "sampler": {"steps": 2}}
        defaults = {"steps": 8, "batch_size": 4, "warmup_steps": 2, "save_every": 2, "accelerator": "cpu"}
        return PretrainRecipe(**({"predictor": predictor | given} | defaults | values))

    return make


@pytest.fixture(scope="session")
def objective_values():
    """What a recipe needs for each kind of objective, at a small size."""
    one_shot = {"predictor_method": "one-shot"}
    critic = {"kind": "adversarial", "critic_options": {"width": 4, "levels": 1}, "reconstruction": 10.0}
    return {
        "diffusion": {},
        "masked channel modelling": one_shot | {"objective": {"kind": "regression", "hidden_only": True}},
        "masked autoencoder": one_shot | {"objective": {"kind": "regression"}},
        "adversarial": one_shot | {"predictor_latent": True, "objective": critic},
    }
