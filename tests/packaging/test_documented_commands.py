"""Every command block of README and docs does what it shows: from the wheel, in an empty folder, without a network."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from channelfm.arrays import UPA
from channelfm.datasets.exchange import export_deepmimo, save_sionna

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("documented_commands", ROOT / "scripts" / "documented_commands.py")
documented = sys.modules[_SPEC.name] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(documented)
COMMANDS = documented.documented_commands()
RUN = [command for command in COMMANDS if command.run is not None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, direct_paths) -> Path:
    """Where all of them run, one after the other, as a reader of the pages would; empty but for the reader's own
    channels, which the page on data sets imports."""
    here = tmp_path_factory.mktemp("empty")
    array, users = UPA(8, 8, 3.5e9, (0.0, 0.0, 20.0)), np.array([[60.0, 10.0, 2.0], [40.0, -30.0, 1.0]])
    paths = direct_paths(array, users)
    np.savez(here / "h.npz", response=np.ones((4, 64, 1), np.complex64))
    export_deepmimo(paths, array, here / "city_3p5", phase_convention="carrier-excluded")
    zenith, azimuth = np.arccos(paths.arrival[..., 2]), np.arctan2(paths.arrival[..., 1], paths.arrival[..., 0])
    tensors = {name: np.zeros((1, 2, 1)) for name in ("theta_t", "phi_t", "doppler")}
    tensors |= {"theta_r": zenith[None], "phi_r": azimuth[None], "tau": paths.delay_s[None, ..., 0]}
    tensors |= {"valid": np.ones((1, 2, 1), bool), "a": np.full((1, 64, 2, 1, 1), 1e-4 + 0j)}
    tensors |= {name: np.zeros((1, 1, 2, 1), np.uint32) for name in ("interactions", "objects")}
    save_sionna(tensors | {"vertices": np.zeros((1, 1, 2, 1, 3))}, users, here / "paths.npz")
    return here


@pytest.mark.slow
@pytest.mark.rt
@pytest.mark.parametrize("command", RUN, ids=lambda command: f"{command.place} {command.run.splitlines()[0][:60]}")
def test_a_documented_command_runs_from_the_wheel(command, folder, stranger) -> None:
    program = ["bash", "-c", command.run] if command.language == "bash" else ["python", "-c", command.run]
    done = subprocess.run(program, cwd=folder, env=stranger, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command.place}: {command.run}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"


def test_every_verb_that_a_block_shows_is_run_but_for_those_that_need_a_network() -> None:
    verbs = {tuple(command.shown.split()[:2]) for command in COMMANDS if command.shown.startswith("channelfm ")}
    run = {tuple(command.run.split()[:2]) for command in RUN}
    assert verbs <= run
    assert all(command.reason for command in COMMANDS if command.run is None)


def test_a_quick_form_stands_for_a_command_of_its_block() -> None:
    page = "<!-- in CI (an hour):\nmake a -s steps=2\n-->\n```bash\nmake a # slow\nmake b \\\n    --more\n```\n"
    commands = list(documented.commands_in(page, "page"))
    assert [(item.shown, item.run, item.reason) for item in commands] == [
        ("make a", "make a -s steps=2", "an hour"),
        ("make b --more", None, "an hour"),
    ]
    with pytest.raises(ValueError, match="page:4: no command of this block has the quick form: make c"):
        list(documented.commands_in(page.replace("make a -s", "make c -s"), "page"))
