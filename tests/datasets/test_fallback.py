"""Where no ray tracer runs: packaged scenes give way to the invented cities that a recipe names, said aloud."""

import logging
import subprocess
import sys

import pytest

from channelfm.config import load_recipe, parse_recipe
from channelfm.datasets.generate import Workforce, generate, runnable
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.demo import run_demo
from channelfm.errors import DependencyError, InputError
from channelfm.tracing import sionna

SMALL = ("array.rows=4", "array.cols=4", "tracing.max_depth=1")
SMALL_DEMO = (
    "data.array.rows=8",
    "data.array.cols=8",
    "data.flights.0.num_uavs=1",
    "data.flights.0.num_steps=12",
    "data.flights.1.num_uavs=1",
    "data.flights.1.num_steps=12",
    "data.flights.2.num_steps=4",
    "data.flights.3.num_steps=4",
    "data.flights.4.num_steps=4",
    "pretraining.steps=2",
    "pretraining.batch_size=4",
    "evaluation.max_samples=4",
    "evaluation.predictors=[zero-filling]",
)


@pytest.fixture
def without_sionna(monkeypatch):
    """As on a machine without the extra rt."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "sionna"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sionna", None)
    monkeypatch.setattr(sionna, "_has_cuda", lambda: True)  # an LLVM is not looked for


@pytest.fixture
def without_llvm(monkeypatch, packaged_scenes):
    """As on a machine with the extra rt, but nothing to run it on."""

    def find_llvm():
        raise DependencyError("no usable LLVM library for the ray tracer; install one")

    monkeypatch.setattr(sionna, "_has_cuda", lambda: False)
    monkeypatch.setattr(sionna, "find_llvm", find_llvm)


@pytest.fixture(params=["without_sionna", "without_llvm"])
def nothing_runs(request):
    return request.getfixturevalue(request.param)


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.usefixtures("nothing_runs")
def test_without_library_or_backend_the_fallback_is_taken_and_said(caplog):
    recipe = load_recipe(DatasetRecipe, "laetwin-mini")
    assert runnable(recipe) == recipe.with_fallbacks()
    (line,) = said(caplog)
    assert "procedural:3 in place of builtin:munich, and the NumPy image method" in line
    assert "\n" not in line


@pytest.mark.slow
@pytest.mark.usefixtures("without_sionna")
def test_the_demo_goes_through_with_an_invented_city(tmp_path, caplog):
    results = run_demo(None, tmp_path, overrides=SMALL_DEMO, progress=False)
    assert results["scene"] == "procedural-3"
    assert "procedural-3" in (tmp_path / "report.html").read_text()
    assert len(said(caplog)) == 1
    again = run_demo(None, tmp_path, overrides=SMALL_DEMO, progress=False)
    assert again["rows"] == results["rows"]
    assert len(list(tmp_path.glob("data-*"))) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("without_sionna")
def test_the_manifest_tells_what_stands_for_what(tmp_path, caplog):
    changes = [f"flights.{number}.{key}" for number in range(6) for key in ("num_uavs=1", "num_steps=2")]
    force = Workforce(processes=1)
    dataset = generate("laetwin-mini", tmp_path, (*SMALL, *changes), progress=False, workforce=force)
    assert dataset.scenes == ("procedural-3", "city-1", "city-2")
    made = dataset.manifest.recipe
    assert (made.scenes[0].source, made.scenes[0].instead_of) == ("procedural:3", "builtin:munich")
    assert made.tracing.method == "images"
    assert {shard.method for shard in dataset.manifest.shards} == {"images"}
    assert "instead_of" in (dataset.folder / "README.md").read_text(encoding="utf-8")
    assert len(said(caplog)) == 1
    assert dataset.splits == ("train", "val", "test")
    again = generate("laetwin-mini", tmp_path, (*SMALL, *changes), progress=False, workforce=force)
    assert again.manifest == dataset.manifest
    with pytest.raises(InputError, match="holds the data set of another recipe"):
        generate("laetwin-mini", tmp_path, (*SMALL, *changes, "seed=1"), progress=False, workforce=force)


@pytest.mark.usefixtures("without_sionna")
def test_what_asks_for_the_real_thing_gets_no_other(tmp_path):
    for name, changes in (("munich-64", ()), ("laetwin-mini", ("tracing.method=near-field",))):
        with pytest.raises(DependencyError, match="packaged scenes come with sionna-rt"):
            generate(name, tmp_path / name, (*SMALL, *changes), progress=False, workforce=Workforce(processes=1))


def test_where_rays_are_traced_nothing_changes(sionna_rt, packaged_scenes, caplog):
    recipe = load_recipe(DatasetRecipe, "laetwin-mini")
    assert runnable(recipe) is recipe
    assert not said(caplog)


def test_flights_and_stations_follow_the_fallback():
    values = {
        "name": "r",
        "scenes": [
            {"name": "munich", "source": "builtin:munich", "fallback": "procedural:3/towers"},
            {"name": "city", "source": "procedural:1"},
        ],
        "flights": [{"name": "f", "split": "train", "scenes": ["mun*"]}, {"name": "g", "split": "test"}],
        "stations": [{"name": "s", "scenes": ["munich", "city"]}],
    }
    recipe = parse_recipe(DatasetRecipe, values, "test").with_fallbacks()
    assert [scene.name for scene in recipe.scenes] == ["procedural-3-towers", "city"]
    assert [flight.scenes for flight in recipe.flights] == [("procedural-3-towers",), ()]
    assert recipe.stations[0].scenes == ("procedural-3-towers", "city")
    values["scenes"][1]["fallback"] = "procedural:2"
    with pytest.raises(InputError, match="fallback is for builtin scenes"):
        parse_recipe(DatasetRecipe, values, "test")


@pytest.mark.slow
def test_the_command_line_makes_it_with_an_import_that_is_blocked(tmp_path):
    block = "import sys; sys.modules.update(dict.fromkeys(('sionna', 'mitsuba', 'drjit'))); import channelfm.cli as c; "
    changes = [f"flights.{number}.num_steps=2" for number in range(6)]
    settings = [word for change in (*SMALL, *changes) for word in ("-s", change)]
    arguments = ["channelfm", "generate", "laetwin-mini", "--out", str(tmp_path / "mini"), *settings]
    done = subprocess.run(
        [sys.executable, "-c", f"{block}sys.argv = {arguments!r}; c.main()"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("in place of builtin:munich") == 1
    assert "Traceback" not in done.stderr
