"""Two processes against one on the same batches: gloo on the CPU, started as torchrun starts them."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from channelfm.checkpoints import load_checkpoint
from channelfm.pretraining.loop import HISTORY

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import numpy as np
import torch
from channelfm.pretraining.loop import StoppedError, pretrain_from
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import ArraySource
torch.set_num_threads(1)
data = np.load(sys.argv[2])
seconds = None if sys.argv[4] == "None" else float(sys.argv[4])
try:
    pretrain_from(PretrainRecipe.model_validate_json(sys.argv[1]), ArraySource(data), data[:4], sys.argv[3], seconds)
except StoppedError as stop:
    print(stop)
"""


def train(folder, recipe, processes, max_seconds=None):
    """Run the script with ``processes`` processes; returns the losses in its history."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = [recipe.model_dump_json(), str(folder.parent / "data.npy"), str(folder), str(max_seconds)]
    (folder.parent / "script.py").write_text(SCRIPT)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes), "OMP_NUM_THREADS": "1"}
    where |= {"LOCAL_WORLD_SIZE": str(processes), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    runs = []
    for rank in range(processes):
        environment = os.environ | (where | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {})
        command = [sys.executable, str(folder.parent / "script.py"), *arguments]
        runs.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    for run in runs:
        output, _ = run.communicate(timeout=150)
        assert run.returncode == 0, output.decode()
    return np.array([row["loss"] for row in json.loads((folder / HISTORY).read_text())])


@pytest.fixture
def data(tmp_path, channels):
    np.save(tmp_path / "data.npy", channels(16))
    return tmp_path


@pytest.mark.parametrize(("kind", "strategy"), [("diffusion", "ddp"), ("diffusion", "fsdp"), ("adversarial", "ddp")])
def test_two_processes_do_what_one_does(kind, strategy, data, make_recipe, objective_values):
    values = {"steps": 6, "batch_size": 8, "log_every": 1} | objective_values[kind]
    one = train(data / "one", make_recipe(**values), 1)
    many = make_recipe(**values, strategy=strategy, devices=2)
    # The first steps of Adam go by the signs of gradients, of which rounding turns a few.
    assert np.allclose(train(data / "two", many, 2), one, rtol=1e-4 if kind == "diffusion" else 1e-3)


def test_a_state_that_is_spread_over_processes_is_gathered_and_spread_again(data, make_recipe):
    many = make_recipe(steps=6, batch_size=8, log_every=1, strategy="fsdp", devices=2)
    losses = train(data / "whole", many, 2)
    train(data / "parts", many, 2, max_seconds=0)
    assert np.allclose(train(data / "parts", many, 2), losses, rtol=1e-5)
    whole, parts = (load_checkpoint(data / name / "checkpoint")[0].state_dict() for name in ("whole", "parts"))
    assert all(np.allclose(whole[name], parts[name], atol=1e-6) for name in whole)
