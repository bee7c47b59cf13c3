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
    """Two sets of that data set, two predictors, two kinds of masks."""
    folder = tiny_dataset.folder
    settings = {
        "name": "tiny suite",
        "sets": [
            {"name": "whole", "dataset": str(folder), "data_recipe": str(folder.parent / "tiny.yaml")},
            {"name": "middle", "dataset": str(folder), "array": [4, 6], "scene": "second"},
        ],
        "masks": [{"kind": "random", "ratios": [0.5, 0.75]}, {"kind": "block", "ratios": [0.75]}],
        "seeds": [0, 1],
        "predictors": ["zero-filling", "wave-frame"],
        "max_samples": 5,
        "quick": {"max_samples": 2, "masks": [{"ratios": [0.75]}], "seeds": [3]},
    }
    path = folder.parent / "suite.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path
