"""Same bytes whoever works: processes, Dask, parts on machines of their own; and after any of them is killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from channelfm.datasets.dataset import open_dataset
from channelfm.datasets.generate import Workforce, generate, generate_part
from channelfm.datasets.plan import plan_units, share_of
from channelfm.errors import InputError

GENERATE = (
    "import sys; from channelfm.datasets.generate import Workforce, generate;"
    "from channelfm.datasets.recipe import DatasetRecipe;"
    "generate(DatasetRecipe.model_validate_json(sys.argv[1]), sys.argv[2], progress=False,"
    " workforce=Workforce(processes=int(sys.argv[3])))"
)


def test_units_are_known_from_the_recipe_alone(recipe):
    units = plan_units(recipe)
    assert [unit.name for unit in units] == [
        *(f"corner--f--000{user}" for user in range(3)),
        "corner--g--0000",
    ]
    assert [unit.number for unit in units] == [0, 1, 2, 3]
    shares = [share_of(units, part, 3) for part in (1, 2, 3)]
    assert sorted(unit.number for share in shares for unit in share) == [0, 1, 2, 3]


def test_two_processes_make_the_same_bytes(made, recipe, tmp_path, contents):
    generate(recipe, tmp_path, progress=False, workforce=Workforce(processes=2))
    assert contents(tmp_path) == contents(made)


def test_parts_complete_each_other_in_any_order(made, recipe, tmp_path, contents):
    assert generate_part(recipe, tmp_path, 2, 2, progress=False) is None
    with pytest.raises(InputError, match="unfinished"):
        open_dataset(tmp_path)
    dataset = generate_part(recipe, tmp_path, 1, 2, progress=False)
    assert dataset is not None
    assert contents(tmp_path) == contents(made)
    with pytest.raises(InputError, match="part 3 of 2"):
        generate_part(recipe, tmp_path, 3, 2, progress=False)


def test_a_second_run_is_kept_out(recipe, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", GENERATE, recipe.model_dump_json(), str(tmp_path), "1"])
    try:
        _wait_for(lambda: (tmp_path / "scenes").is_dir())
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(InputError, match="another run is at work"):
            generate(recipe, tmp_path, progress=False)
    finally:
        process.send_signal(signal.SIGCONT)
        process.wait()


def test_a_killed_worker_is_replaced(made, recipe, tmp_path, contents):
    killed = []

    def kill_one():
        _wait_for(lambda: len(_workers()) >= 2)
        victim = max(_workers(), key=lambda worker: worker.create_time())
        victim.kill()
        killed.append(victim)

    killer = threading.Thread(target=kill_one)
    killer.start()
    generate(recipe, tmp_path, progress=False, workforce=Workforce(processes=2))
    killer.join()
    assert killed
    assert contents(tmp_path) == contents(made)


@pytest.mark.slow
def test_a_killed_run_with_workers_resumes_to_the_same_bytes(made, recipe, tmp_path, contents):
    process = subprocess.Popen(
        [sys.executable, "-c", GENERATE, recipe.model_dump_json(), str(tmp_path), "2"], start_new_session=True
    )
    _wait_for(lambda: any((tmp_path / "shards").glob("*.safetensors")) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "manifest.json").exists() or process.returncode == 0
    generate(recipe, tmp_path, progress=False, workforce=Workforce(processes=1))
    assert contents(tmp_path) == contents(made)


@pytest.mark.slow
def test_workers_that_keep_dying_end_the_run_with_a_remedy(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("channelfm.datasets.generate.workers.do_unit", _die)
    with pytest.raises(InputError, match="fewer --workers"):
        generate(recipe, tmp_path, progress=False, workforce=Workforce(processes=2))


def _die(job, unit):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_full_disk_leaves_only_whole_shards(made, recipe, tmp_path, contents):
    """A limit on the size of files, set by the system, stands in for a full disk: a real write fails."""
    largest = max(len(content) for name, content in contents(made).items() if name.startswith("shards"))
    limited = (
        f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest - 1}, {largest - 1}));" + GENERATE
    )
    command = [sys.executable, "-c", limited, recipe.model_dump_json(), str(tmp_path), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert not list(tmp_path.rglob(".*"))
    generate(recipe, tmp_path, progress=False)
    assert contents(tmp_path) == contents(made)


@pytest.mark.slow
def test_dask_makes_the_same_bytes_even_if_a_worker_is_killed(made, recipe, tmp_path, contents):
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            victim = next(iter(client.run(os.getpid).values()))
        killer = threading.Thread(
            target=lambda: _wait_for(lambda: (tmp_path / "scenes").is_dir()) and os.kill(victim, 9)
        )
        killer.start()
        generate(recipe, tmp_path, progress=False, workforce=Workforce(dask=cluster.scheduler_address))
        killer.join()
    assert contents(tmp_path) == contents(made)


def test_no_dask_scheduler_there(recipe, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra dask")
    monkeypatch.setattr("channelfm.datasets.generate.workers.CONNECTING_S", 0.5)
    with pytest.raises(InputError, match="no scheduler answers"):
        generate(recipe, tmp_path, progress=False, workforce=Workforce(dask="tcp://127.0.0.1:9"))


def test_one_kind_of_workforce_at_a_time():
    with pytest.raises(InputError, match="one of"):
        Workforce(processes=2, dask_local=2)
    with pytest.raises(InputError, match="at least 1"):
        Workforce(processes=0)


def _workers():
    """Processes started by this one that are workers of loky."""
    children = psutil.Process().children()
    return [
        child for child in children if "loky" in " ".join(child.cmdline()) and "Process" in " ".join(child.cmdline())
    ]


def _wait_for(true, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain")
        time.sleep(0.002)
    return True
