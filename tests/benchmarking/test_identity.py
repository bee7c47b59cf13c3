"""Cells are kept by what they depend on: a package of a few files, and this one."""

import shutil

import numpy as np
import pytest
import torch

from channelfm.baselines import ZeroFilling
from channelfm.benchmarking.entries import find_entries
from channelfm.benchmarking.identity import PACKAGE, identity, networks_of, source_files, source_identity
from channelfm.models.zoo import build

FILES = {
    "toy/__init__.py": "from toy.lazy import everything",
    "toy/ask.py": "from toy.inner import near\nimport toy.plain\n\ndef go():\n    from .lazy import late\n",
    "toy/inner/__init__.py": "",
    "toy/inner/near.py": "from toy import shared",
    "toy/inner/kernel.cpp": "int one;",
    "toy/shared.py": "",
    "toy/plain.py": "import os",
    "toy/lazy.py": "",
    "toy/unrelated.py": "from toy import ask",
    "toy/datasets/blocks.py": "from toy.unrelated import anything",
}


@pytest.fixture
def toy(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "toy"


def test_what_a_module_reaches(toy):
    found = {file.relative_to(toy).as_posix() for file in source_files(["toy.ask"], toy)}
    assert found == {
        "ask.py",
        "inner/__init__.py",
        "inner/near.py",
        "inner/kernel.cpp",
        "shared.py",
        "plain.py",
        "lazy.py",
    }


@pytest.mark.parametrize(
    ("file", "matters"),
    [("unrelated.py", False), ("lazy.py", True), ("inner/kernel.cpp", True), ("shared.py", True)],
)
def test_only_what_is_reached_matters(toy, file, matters):
    before = source_identity(["toy.ask"], toy)
    (toy / file).write_text((toy / file).read_text() + '\n"""Told better."""\n')
    assert (source_identity(["toy.ask"], toy) != before) is matters


def test_reading_data_is_told_by_the_data(toy):
    (toy / "ask.py").write_text("from toy.datasets.blocks import Blocks")
    before = source_identity(["toy.ask"], toy)
    (toy / "datasets" / "blocks.py").write_text("changed = True")
    assert source_identity(["toy.ask"], toy) == before


def test_an_estimator_of_this_package_depends_on_few_files(tmp_path):
    files = {file.relative_to(PACKAGE).as_posix() for file in source_files(["channelfm.baselines.off_grid"])}
    assert {"baselines/off_grid.py", "waves/fit.py", "estimator.py", "observation.py"} <= files
    assert not any(name.startswith(("benchmarking", "tracing", "pretraining", "models", "tasks")) for name in files)
    assert "baselines/lmmse.py" not in files
    shutil.copytree(PACKAGE, tmp_path / "channelfm", ignore=shutil.ignore_patterns("sets", "weights", "*.pyc"))
    copy, modules = tmp_path / "channelfm", ["channelfm.baselines.off_grid"]
    assert source_identity(modules, copy) == source_identity(modules)
    for name, same in (("cli.py", True), ("models/unet.py", True), ("waves/fit.py", False)):
        (copy / name).write_text((copy / name).read_text() + "# one more\n")
        assert (source_identity(modules, copy) == source_identity(modules)) is same


class Holder(ZeroFilling):
    """An estimator of somebody else's."""

    def __init__(self, **parts):
        self.name = "holder"
        vars(self).update(parts)


def test_settings_arrays_and_weights_matter_and_names_do_not():
    network = build("gru-small")
    holder = Holder(network=network, inner=[{"loading": 0.1}], table=np.arange(3))
    before = identity(holder)
    assert networks_of(holder) == [network]
    holder.name = "another name"
    assert identity(holder) == before
    with torch.no_grad():
        next(network.parameters())[:1] += 1
    changed = identity(holder)
    assert changed != before
    holder.inner[0]["loading"] = 0.2
    assert identity(holder) != changed
    assert len({entry.identity for entry in find_entries(["polar-omp", "off-grid", "off-grid-gp"])}) == 3
