"""From data sets on disk to sources and validation channels."""

import numpy as np
import pytest
import torch

from channelfm.datasets import generate as generation
from channelfm.datasets.dataset import open_dataset
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.errors import InputError
from channelfm.pretraining.data import source_of, validation_grid
from channelfm.pretraining.source import ArraySource, PathSource, View

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def make(tmp_path_factory, write_map):
    """Generates data sets of a small city, each once."""
    folder = tmp_path_factory.mktemp("data")
    street_map = write_map(folder / "corner.osm")

    def one(name, storage, rows=4, splits=("train", "val")):
        flights = [{"name": split, "split": split, "num_uavs": 2, "num_steps": 3} for split in splits]
        values = {
            "name": name,
            "array": {"rows": rows, "cols": 4, "height_m": 45.0},
            "scenes": [{"name": "corner", "source": f"osm:{street_map}"}],
            "flights": flights,
            "tracing": {"method": "images", "max_depth": 1},
            "channel": {"storage": storage},
        }
        if not (folder / name).is_dir():
            generation.generate(DatasetRecipe.model_validate(values), folder / name, progress=False)
        return open_dataset(folder / name)

    return one


@pytest.mark.slow
def test_paths_where_all_store_paths(make):
    traced, other = make("paths", "paths"), make("larger", "paths", rows=6)
    source = source_of([traced, other])
    assert isinstance(source, PathSource)
    assert source.size == (4, 4)
    assert len(source) == len(source_of([traced])) + len(source_of([other]))


def test_channels_where_one_does_not(make):
    mixed = source_of([make("paths", "paths"), make("channels", "complex64")])
    assert isinstance(mixed, ArraySource)
    assert len(mixed) == 2 * len(source_of([make("channels", "complex64")]))
    with pytest.raises(InputError, match="different shapes"):
        source_of([make("larger", "paths", rows=6), make("channels", "complex64")])


def test_both_forms_give_the_same_links(make):
    view, number = View((4, 4)), np.arange(3)
    forms = [source_of([make(name, storage)]) for name, storage in (("paths", "paths"), ("channels", "complex64"))]
    path, array = (source.channels(number, view, np.zeros(3), CPU) for source in forms)
    assert (path - array).abs().square().sum() < 1e-4 * array.abs().square().sum()


def test_validation_channels_are_few_and_of_their_own_split(make):
    dataset = make("channels", "complex64")
    grid = validation_grid([dataset], 3)
    assert grid.shape == (3, 4, 4, 1)
    kept = dataset.load("val").grid
    kept = kept[kept.any((1, 2, 3))]
    assert np.array_equal(grid[0], kept[0])
    assert np.array_equal(grid[-1], kept[-1])
    without = make("train-only", "complex64", splits=("train",))
    assert len(validation_grid([without], 3)) == 0
    assert np.array_equal(validation_grid([without, dataset], 3), grid)
