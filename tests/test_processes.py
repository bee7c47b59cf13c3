"""How processes share a machine: threads, and workers that do not outlive the process that started them."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

from channelfm import processes
from channelfm.config import parse_recipe
from channelfm.datasets.recipe import DatasetRecipe
from channelfm.pretraining.loop import STATE
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.processes import cores, one_thread

SECONDS_TO_END = 5.0

GENERATE = """
import sys
from channelfm.datasets.generate import Workforce, generate
from channelfm.datasets.recipe import DatasetRecipe
if __name__ == "__main__":
    force = Workforce(**{sys.argv[3]: 2})
    generate(DatasetRecipe.model_validate_json(sys.argv[1]), sys.argv[2], progress=False, workforce=force)
"""
PRETRAIN = """
import sys
import numpy as np
from channelfm.pretraining.loop import pretrain
from channelfm.pretraining.recipe import PretrainRecipe
if __name__ == "__main__":
    recipe = PretrainRecipe.model_validate_json(sys.argv[1])
    channels = np.ones((8, 8, 8, 1), np.complex64)
    pretrain(recipe, channels, channels[:0], sys.argv[2])
"""
THREADS = """
import json, os
from channelfm.processes import share_cores, workers
from tests_of_threads import threads, nothing
if __name__ == "__main__":
    share_cores()
    with workers(1, nothing) as pool:
        worker = pool.submit(threads).result()
    print(json.dumps({"parent": threads(), "worker": worker}))
"""
COUNT_THREADS = """
import os
def nothing(): pass
def threads():
    import numpy, torch
    from threadpoolctl import threadpool_info
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {"torch": torch.get_num_threads(), "blas": max(blas, default=1), "waits": os.environ["OMP_WAIT_POLICY"]}
"""


def start(folder, script, *arguments):
    """A script of its own in a process of its own, with the name of a real file, as spawned processes need it."""
    file = folder / "script.py"
    file.write_text(script)
    return subprocess.Popen([sys.executable, str(file), *map(str, arguments)], stdout=subprocess.DEVNULL)


def wait_for(true, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain")
        time.sleep(0.02)


def assert_all_end(process, sign, count):
    """Kill a process, when ``sign`` and its family are there, as the system would, and see the ``count`` or more go."""

    def children():
        return psutil.Process(process.pid).children(recursive=True)

    try:
        wait_for(lambda: process.poll() is not None or (sign.exists() and len(children()) >= count))
        assert process.poll() is None, "it ended before it could be killed"
        family = children()
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + SECONDS_TO_END
    while any(map(lives, family)) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = [child.cmdline() for child in family if lives(child)]
    for child in filter(lives, family):
        child.kill()
    assert not left


def lives(child):
    """Whether a process runs; one that ended may wait, as a zombie, for an init that some containers lack."""
    return child.is_running() and child.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def long_recipe(tmp_path, write_map):
    """Minutes of work by the image method."""
    values = {
        "name": "long",
        "array": {"rows": 4, "cols": 4, "height_m": 45.0},
        "scenes": [{"name": "corner", "source": f"osm:{write_map(tmp_path / 'corner.osm')}"}],
        "flights": [{"name": "f", "split": "train", "num_uavs": 500, "num_steps": 50}],
        "tracing": {"method": "images", "max_depth": 2},
    }
    return parse_recipe(DatasetRecipe, values, "test")


@pytest.mark.slow
def test_workers_of_a_killed_generation_end(long_recipe, tmp_path):
    process = start(tmp_path, GENERATE, long_recipe.model_dump_json(), tmp_path / "data", "processes")
    assert_all_end(process, tmp_path / "data/shards", 2)


@pytest.mark.slow
def test_dask_workers_of_a_killed_generation_end(long_recipe, tmp_path):
    pytest.importorskip("distributed", reason="needs the extra dask")
    process = start(tmp_path, GENERATE, long_recipe.model_dump_json(), tmp_path / "data", "dask_local")
    assert_all_end(process, tmp_path / "data/shards", 2)


def pretraining(**values):
    tiny = {"model": "cddim-tiny", "model_options": {"width": 16, "depth": 1, "heads": 2}}
    return PretrainRecipe(steps=10_000_000, batch_size=2, save_every=1, predictor=tiny, accelerator="cpu", **values)


@pytest.mark.slow
def test_workers_of_a_killed_training_end(tmp_path):
    process = start(tmp_path, PRETRAIN, pretraining(workers=2).model_dump_json(), tmp_path / "run")
    assert_all_end(process, tmp_path / "run" / STATE, 2)


@pytest.mark.slow
def test_ranks_of_a_killed_training_end_and_their_workers(tmp_path):
    recipe = pretraining(devices=2, strategy="ddp", workers=1)
    process = start(tmp_path, PRETRAIN, recipe.model_dump_json(), tmp_path / "run")
    assert_all_end(process, tmp_path / "run" / STATE, 3)


@pytest.mark.parametrize("kernel", [True, False])
def test_a_process_ends_with_its_parent_where_the_kernel_helps_and_where_it_does_not(tmp_path, kernel):
    script = f"""
import multiprocessing, os, pathlib, sys, time
from channelfm import processes
def work():
    sys.platform = "linux" if {kernel} else "elsewhere"
    processes.end_with_parent(os.getppid())
    pathlib.Path({str(tmp_path / "works")!r}).touch()
    time.sleep(600)
if __name__ == "__main__":
    multiprocessing.get_context("fork").Process(target=work).start()
    time.sleep(600)
"""
    assert_all_end(start(tmp_path, script), tmp_path / "works", 1)


def test_a_worker_whose_parent_is_gone_already_ends(tmp_path):
    code = "import time; from channelfm.processes import end_with_parent; end_with_parent(1 << 22); time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 1


def test_how_threads_are_set_here_and_in_workers(tmp_path):
    (tmp_path / "tests_of_threads.py").write_text(COUNT_THREADS)
    (tmp_path / "script.py").write_text(THREADS)
    ours = {name: value for name, value in os.environ.items() if name not in {*processes.ALONE}}
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, env=ours, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["parent"] == {"torch": cores(), "blas": 1, "waits": "PASSIVE"}
    assert found["worker"] == {"torch": 1, "blas": 1, "waits": "PASSIVE"}


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    processes.share_cores()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", 8), ("250000 100000", 2), ("1000 100000", 1), ("", 8)])
def test_a_containers_quota_counts(tmp_path, monkeypatch, quota, expected):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(processes, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(processes, "_bound_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cores() == expected
    processes.share_cores()
    assert os.environ.pop("OMP_NUM_THREADS", None) == (None if expected == 8 else str(expected))


def test_one_thread_for_a_while():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
