"""``channelfm maps`` and the option ``--maps``, with a server on this machine."""

import os
import re

import pytest
import yaml
from typer.testing import CliRunner

from channelfm.cli import app


@pytest.fixture
def channelfm(tmp_path, monkeypatch):
    """Runs the command in this process, with an empty cache."""
    monkeypatch.setenv("CHANNELFM_CACHE", str(tmp_path / "cache"))
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def recipe(tmp_path):
    """A recipe of a map by name and the image method."""
    values = {
        "name": "small",
        "array": {"rows": 2, "cols": 2, "height_m": 45.0},
        "scenes": [{"name": "corner", "source": "map:my-town"}],
        "flights": [{"name": "f", "split": "train", "num_uavs": 1, "num_steps": 3}],
        "tracing": {"method": "images", "max_depth": 1},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "small.yaml"


def assert_one_line(result, pattern):
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert re.search(pattern, result.stderr), result.stderr


def test_from_the_error_to_the_fetched_map_to_the_data_set(channelfm, recipe, overpass, tmp_path):
    missing = channelfm("generate", recipe, "--out", tmp_path / "data")
    assert_one_line(missing, r"channelfm maps fetch W,S,E,N --name my-town")
    box = "-0.001,-0.001,0.002,0.002"
    fetched = channelfm("maps", "fetch", box, "--name", "my-town")
    assert fetched.exit_code == 0, fetched.stderr
    assert re.search(r"my-town: .*my-town\.osm\.gz, data of 2026-01-02T03:04:05Z, SHA-256 [0-9a-f]{12}", fetched.output)
    assert "OpenStreetMap contributors" in fetched.output
    listed = channelfm("maps", "list")
    assert fetched.output.splitlines()[0] in listed.output
    assert "to fetch: baltimore, beijing" in listed.output
    made = channelfm("generate", recipe, "--out", tmp_path / "data")
    assert made.exit_code == 0, made.stderr
    assert "data of 2026-01-02" in (tmp_path / "data" / "README.md").read_text()


def test_cities_are_fetched_by_name_several_at_once(channelfm, overpass):
    fetched = channelfm("maps", "fetch", "Berlin", "nyc")
    assert fetched.exit_code == 0, fetched.stderr
    assert [line.partition(":")[0] for line in fetched.output.splitlines()[:2]] == ["berlin", "new-york"]
    assert "(52.5007000,13.4087000,52.5051000,13.4179000)" in overpass.queries[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("atlantis",), "no place is known as 'atlantis'; use one of baltimore"),
        (("1,2,3,4",), "its name with --name"),
        (("1,2,3,four", "--name", "a"), "give four numbers"),
        (("1,2,3,4", "5,6,7,8", "--name", "a"), "one box at a time"),
        (("berlin", "--name", "a"), "--name is for boxes"),
        (("-1,50,1,40", "--name", "a"), "south < north"),
        (("11,48,11.01,48.01", "--name", "My Town"), "lower-case letters"),
    ],
)
def test_what_cannot_be_fetched(channelfm, overpass, arguments, message):
    assert_one_line(channelfm("maps", "fetch", *arguments), message)
    assert not overpass.queries


def test_a_busy_server_and_an_empty_list(channelfm, overpass):
    overpass.status = 504
    assert_one_line(channelfm("maps", "fetch", "berlin"), r"status 504.*CHANNELFM_OVERPASS")
    assert "none yet; 'channelfm maps fetch CITY' keeps them in" in channelfm("maps", "list").output


def test_a_folder_of_maps_serves_every_verb_for_the_time_of_a_command(channelfm, recipe, write_map, tmp_path):
    (tmp_path / "mine").mkdir()
    write_map(tmp_path / "mine" / "my-town_centre.osm")
    maps = ("--maps", tmp_path / "mine")
    for arguments in (
        ("generate", recipe, "--out", tmp_path / "data", *maps),
        ("scene", "my-town", "--out", tmp_path / "scene", *maps),
        ("maps", "list", *maps),
    ):
        result = channelfm(*arguments)
        assert result.exit_code == 0, result.stderr
        assert "CHANNELFM_MAPS" not in os.environ
    assert "my-town: " in result.output
    assert_one_line(channelfm("scene", "my-town", "--out", tmp_path / "again"), "my-town: no such map file")
    assert_one_line(channelfm("scene", "berlin", "--out", tmp_path / "again"), "channelfm maps fetch berlin")
    assert_one_line(channelfm("maps", "list", "--maps", tmp_path / "none"), "none: no such folder of maps")
    for verb in ("demo", "scene", "generate", "benchmark"):
        assert "--maps" in channelfm(verb, "--help").output


@pytest.mark.slow
def test_a_benchmark_makes_its_data_set_from_such_a_folder(channelfm, recipe, write_map, tmp_path):
    (tmp_path / "mine").mkdir()
    write_map(tmp_path / "mine" / "my-town.osm")
    part = {"dataset": str(tmp_path / "data"), "data_recipe": str(recipe), "split": "train"}
    bench = {"name": "b", "sets": [part], "predictors": ["zero-filling"], "masks": [{"ratios": [0.5]}], "seeds": [0]}
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(bench))
    arguments = ("benchmark", tmp_path / "bench.yaml", "--out", tmp_path / "out")
    assert_one_line(channelfm(*arguments), "channelfm maps fetch")
    measured = channelfm(*arguments, "--maps", tmp_path / "mine")
    assert measured.exit_code == 0, measured.stderr
    again = channelfm(*arguments)  # the data set is there, so its map is asked for no more
    assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize("verb", ["fetch", "list"])
def test_help_with_an_example(channelfm, verb):
    assert f"Example: channelfm maps {verb}" in channelfm("maps", verb, "--help").output
