import re
import subprocess
import sys
from pathlib import Path

import pytest

import channelfm as cfm

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    "scenes",
    "mobility",
    "UPA",
    "ULA",
    "trace",
    "synthesize",
    "generate",
    "open_dataset",
    "load_model",
    "benchmark",
]


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_importing_the_package_loads_no_library():
    code = """
import sys
import channelfm
print(sorted({"torch", "sionna", "drjit", "numpy", "scipy", "pydantic", "typer", "yaml"} & set(sys.modules)))
"""
    assert run(code).strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name):
    assert name in dir(cfm)
    assert getattr(cfm, name) is not None


def test_the_verbs_can_be_called():
    for name in ("UPA", "ULA", "trace", "synthesize", "generate", "open_dataset", "load_model", "benchmark"):
        assert callable(getattr(cfm, name)), name
    for name in ("from_osm", "builtin", "procedural"):
        assert callable(getattr(cfm.scenes, name))
    for name in ("cruise", "street_guided"):
        assert callable(getattr(cfm.mobility, name))


@pytest.mark.slow
def test_benchmark_stays_a_verb_whatever_was_imported_first():
    run("import channelfm.benchmarking.suite as suite, channelfm; assert channelfm.benchmark is suite.benchmark")
    run("import channelfm as c; verb = c.benchmark; import channelfm.benchmarking.report; assert c.benchmark is verb")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cfm.nothing


def test_version_is_the_projects():
    written = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert written is None or cfm.__version__ == written.group(1)


def test_reading_a_data_set_needs_neither_torch_nor_a_ray_tracer():
    code = """
import sys
from channelfm import open_dataset
print(sorted({"torch", "sionna", "drjit", "osmium", "shapely"} & set(sys.modules)))
"""
    assert run(code).strip() == "[]"
