"""Maps in every format, spoilt in a few places: a map of sound footprints, or one clear line."""

import importlib.util
import itertools
import random
from pathlib import Path

import pytest

from channelfm.errors import InputError

INPUTS = 400


@pytest.fixture(scope="module")
def hostile():
    """The module beside this one; tests are no package."""
    spec = importlib.util.spec_from_file_location("map_inputs", Path(__file__).with_name("map_inputs.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_same_small_map_is_read_from_every_format(hostile, tmp_path):
    found = []
    for name, content in hostile.whole_maps().items():
        (tmp_path / name).write_bytes(content)
        data = hostile.read_hostile_map(tmp_path / name)
        found.append([(item.osm_id, round(item.area.area), item.height_m) for item in data.footprints])
        assert len(data.roads) == 1
    assert len(found) == 7
    assert found[0][0] == ("relation/20", 1991, 15.0)  # a courtyard with an island
    assert all(sorted(footprints) == sorted(found[0]) for footprints in found)


def test_hostile_maps_end_in_a_map_or_one_clear_line(hostile, tmp_path):
    results = []
    for number, (name, content) in enumerate(itertools.islice(hostile.map_inputs(random.Random(20)), INPUTS)):
        path = tmp_path / name
        path.write_bytes(content)
        try:
            results.append(hostile.read_hostile_map(path))
        except Exception as error:  # which input it was
            raise AssertionError(f"input {number}, {name}: {content[:300]!r}") from error
    errors = [result for result in results if isinstance(result, InputError)]
    assert INPUTS / 5 < len(errors) < INPUTS * 4 / 5  # the mischief is neither too great nor too small


def test_equal_seeds_give_equal_maps(hostile):
    first, again = (list(itertools.islice(hostile.map_inputs(random.Random(3)), 50)) for _ in range(2))
    assert first == again
