"""A data set and a suite small enough to run in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from channelfm.datasets import Dataset
from channelfm.datasets.generate import Workforce, generate

DATA = {
    "name": "tiny",
    "array": {"rows": 8, "cols": 8},
    "channel": {"storage": "paths"},
    "scenes": [{"name": "first", "source": "procedural:1"}, {"name": "second", "source": "procedural:2"}],
    "flights": [
        {"name": "before", "split": "train", "scenes": ["first"], "num_uavs": 1, "num_steps": 3},
        {"name": "after", "split": "test", "num_uavs": 2, "num_steps": 3},
    ],
    "tracing": {"method": "images", "max_depth": 1},
}


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Dataset:
    """Two scenes of an 8 x 8 array, stored as paths: 3 links to train on, 12 to test on."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(DATA))
    return generate(folder / "tiny.yaml", folder / "data", progress=False, workforce=Workforce(processes=1))


@pytest.fixture(scope="session")
def suite_recipe(tiny_dataset) -> Path:
    """Two sets of that data set, two estimators, two kinds of masks."""
    folder = tiny_dataset.folder
    settings = {
        "name": "tiny suite",
        "task": {
            "kind": "extrapolation",
            "masks": [{"kind": "random", "ratios": [0.5, 0.75]}, {"kind": "block", "ratios": [0.75]}],
        },
        "sets": [
            {"name": "whole", "dataset": str(folder), "data_recipe": str(folder.parent / "tiny.yaml")},
            {"name": "middle", "dataset": str(folder), "array": [4, 6], "scene": "second"},
        ],
        "seeds": [0, 1],
        "predictors": ["zero-filling", "wave-frame"],
        "max_samples": 5,
        "quick": {"max_samples": 2, "task": {"masks": [{"ratios": [0.75]}]}, "seeds": [3]},
    }
    path = folder.parent / "suite.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def prediction_recipe(tmp_path_factory) -> Path:
    """Sequences of a stochastic channel, two estimators, noise and combs; as recipes of format 1 had it."""
    folder = tmp_path_factory.mktemp("prediction")
    flight = {"speed_mps": [1, 29], "interval_s": 1e-3, "num_steps": 6, "scenes": ["cdl"]}
    data = {
        "name": "moving",
        "array": {"rows": 1, "cols": 4, "carrier_hz": 3.5e9, "height_m": 25.0},
        "channel": {"num_subcarriers": 8, "subcarrier_spacing_hz": 1e6},
        "scenes": [{"name": "cdl", "source": "threegpp:cdl-a"}],
        "flights": [
            flight | {"name": "train", "split": "train", "num_uavs": 4},
            flight | {"name": "test", "split": "test", "num_uavs": 5},
        ],
    }
    suite = {
        "name": "small prediction",
        "task": "prediction",
        "sets": [{"name": "cdl", "dataset": str(folder / "data"), "data_recipe": str(folder / "data.yaml")}],
        "context": 4,
        "horizons": [1, 2],
        "speed_bins": [[0, 15], [15, 30]],
        "snr_db": [None, 10],
        "combs": [1, 2],
        "seeds": [0, 1],
        "predictors": ["sample-and-hold", "ar-shared"],
        "quick": {"max_sequences": 2, "snr_db": [10], "combs": [1]},
    }
    for name, values in (("data", data), ("suite", suite)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder / "suite.yaml"
