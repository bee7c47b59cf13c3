import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from channelfm.cli import app

ROOT = Path(__file__).resolve().parents[1]
VERBS = ("demo", "scene", "generate", "pretrain", "benchmark", "info", "models")


@pytest.fixture
def channelfm():
    """Runs the command in this process; .output is stdout, .stderr the errors."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def command(*arguments):
    return [sys.executable, "-m", "channelfm.cli", *map(str, arguments)]


@pytest.fixture(scope="module")
def small_recipe(tmp_path_factory, write_map):
    """A recipe file for a small city and the image method, and its map."""
    folder = tmp_path_factory.mktemp("recipe")
    values = {
        "name": "small",
        "array": {"rows": 2, "cols": 2, "height_m": 45.0},
        "scenes": [{"name": "corner", "source": f"osm:{write_map(folder / 'corner.osm')}"}],
        "flights": [{"name": "f", "split": "train", "num_uavs": 6, "num_steps": 3}],
        "tracing": {"method": "images", "max_depth": 1},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(values))
    return folder / "small.yaml"


def assert_one_line(result, pattern):
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert re.search(pattern, result.stderr), result.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps_with_an_example(channelfm, verb):
    result = channelfm(verb, "--help")
    assert result.exit_code == 0
    assert f"Example: channelfm {verb}" in result.output


def test_help_is_quick_and_imports_nothing_heavy():
    code = """
import sys, time
start = time.process_time()
from typer.testing import CliRunner
from channelfm.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
print(time.process_time() - start, sorted({"torch", "numpy", "sionna", "osmium", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, loaded = done.stdout.split(maxsplit=1)
    assert float(seconds) < 0.5
    assert loaded.strip() == "[]"


def test_no_verb_shows_help_and_an_unknown_one_fails(channelfm):
    assert "generate" in channelfm().output
    assert channelfm("fly").exit_code == 2
    assert channelfm("scene", "--colour", "red").exit_code == 2


def test_generate_then_info(channelfm, small_recipe, tmp_path):
    made = channelfm("generate", small_recipe, "--out", tmp_path / "data", "-s", "flights.0.num_uavs=2")
    assert made.exit_code == 0, made.stderr
    assert re.search(r"train\W+corner\W+6 ", made.output)
    shown = channelfm("info", tmp_path / "data")
    assert shown.exit_code == 0
    assert "6 snapshots, every hash verified" in shown.output
    assert "OpenStreetMap" in shown.output
    again = channelfm("generate", "--config", small_recipe, "--out", tmp_path / "data", "-s", "flights.0.num_uavs=2")
    assert "reused" in again.output


@pytest.mark.slow
def test_pretrain_then_info_then_benchmark(channelfm, small_recipe, tmp_path):
    data, model, bench = tmp_path / "data", tmp_path / "model", tmp_path / "bench.yaml"
    size = ("-s", "array.rows=4", "-s", "array.cols=4", "-s", "flights.0.num_uavs=2")
    assert channelfm("generate", small_recipe, "--out", data, *size).exit_code == 0
    tiny = ("-s", "steps=2", "-s", "batch_size=2", "-s", "predictor.sampler.steps=1")
    trained = channelfm("pretrain", "pretrain-cddim-demo", "--data", data, "--out", model, *tiny)
    assert trained.exit_code == 0, trained.stderr
    shown = channelfm("info", model / "checkpoint")
    assert shown.exit_code == 0, shown.stderr
    assert "checkpoint 'cddim-canonical', cddim-demo, 1." in shown.output
    assert channelfm("info", model).output == shown.output.replace(f"{model / 'checkpoint'}:", f"{model}:")
    assert_one_line(
        channelfm("pretrain", "pretrain-cddim-demo", "--data", data, "--out", model, *tiny, "-s", "seed=7"),
        "holds a finished run that differs: seed 0 there, 7 here",
    )
    predictors = ["zero-filling", str(model / "checkpoint"), f"same={model}"]
    part = {"dataset": str(data), "split": "train"}
    bench.write_text(yaml.safe_dump({"name": "b", "sets": [part], "predictors": predictors, "seeds": [4]}))
    rows, masks = tmp_path / "rows.json", "masks=[{ratios: [0.5]}]"
    measured = channelfm("benchmark", "--config", bench, "--out", tmp_path / "out", "--json", rows, "-s", masks)
    assert measured.exit_code == 0, measured.stderr
    assert re.search(r"zero-filling\W+-?\d", measured.output)
    assert (tmp_path / "out/report.html").is_file()
    written = json.loads((tmp_path / "out/results.json").read_text())
    whole = [row["estimator"] for row in written["rows"] if row["group"] == "all"]
    assert whole == ["zero-filling", "cddim-canonical", "same"]
    assert json.loads(rows.read_text()) == written
    assert_one_line(channelfm("pretrain", "pretrain-cddim-demo", "--data", "none", "--out", model), "none")


def test_info_without_a_path_shows_versions(channelfm):
    result = channelfm("info")
    assert result.exit_code == 0
    assert re.search(r"channelfm \d", result.output)
    assert re.search(r"torch \d", result.output)
    assert re.search(r"^LLVM", result.output, re.MULTILINE)


def test_info_takes_a_packaged_models_name(channelfm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = channelfm("info", "wavefield-small")
    assert shown.exit_code == 0, shown.stderr
    assert "wavefield-small: checkpoint 'wavefield-small'" in shown.output


def test_a_reader_that_has_seen_enough_ends_the_command_quietly():
    """Small outputs meet the closed pipe when the interpreter ends, large ones while they are written."""
    for lines in (1, 100_000):
        code = f"from channelfm import cli; cli.app = lambda: print('a line\\n' * {lines}); cli.main()"
        read, write = os.pipe()
        process = subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, cwd=ROOT)
        os.close(write)
        os.close(read)
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 141


def test_models_lists_networks_and_predictors(channelfm):
    result = channelfm("models")
    assert result.exit_code == 0
    assert "cddim-small" in result.output
    assert "polar-omp" in result.output


def test_scene_writes_what_it_says(channelfm, write_map, tmp_path):
    street_map = write_map(tmp_path / "corner.osm")
    result = channelfm("scene", street_map, "--out", tmp_path / "scene")
    assert result.exit_code == 0, result.stderr
    assert "3 buildings, 1 roads" in result.output
    described = json.loads((tmp_path / "scene/scene.json").read_text())
    assert len(described["buildings"]) == 3
    printed = channelfm("scene", street_map, "--out", tmp_path / "scene", "--json")
    assert json.loads(printed.output) == described


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (None, "no-map.osm"),
        (b"", r"no-map\.osm"),
        (b"seven by", r"no-map\.osm"),
        (b"<osm version='0.6'><node id='1' lat='0' lon='0'", r"no-map\.osm"),
        (b"<osm version='0.6'><node id='1' version='1' lat='0' lon='0'/></osm>", r"no-map\.osm"),
    ],
)
def test_an_unusable_map_is_one_line(channelfm, tmp_path, content, pattern):
    path = tmp_path / "no-map.osm"
    if content is not None:
        path.write_bytes(content)
    assert_one_line(channelfm("scene", path, "--out", tmp_path / "scene"), pattern)
    assert not (tmp_path / "scene/scene.json").exists()


@pytest.mark.parametrize("bbox", ["1,2,3", "a,b,c,d", ""])
def test_a_bad_box_is_one_line(channelfm, write_map, tmp_path, bbox):
    street_map = write_map(tmp_path / "corner.osm")
    assert_one_line(channelfm("scene", street_map, "--out", tmp_path / "s", "--bbox", bbox), "bbox")


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (("generate", "no-such-recipe", "--out", "x"), "no-such-recipe.*bench-extrapolation"),
        (("generate", "--out", "x"), "one recipe"),
        (("generate", "laetwin-mini", "--config", "laetwin-mini", "--out", "x"), "one recipe"),
        (("generate", "laetwin-mini", "--out", "x", "-s", "array.rouws=3"), "unknown key 'array.rouws'"),
        (("generate", "laetwin-mini", "--out", "x", "-s", "array.rows=-1"), "array.rows"),
        (("generate", "laetwin-mini", "--out", "x", "-s", "nonsense"), "key.subkey=value"),
        (("generate", "laetwin-mini", "--out", "/dev/null/x"), "/dev/null"),
        (("pretrain", "--data", "no-data"), "one recipe"),
        (("benchmark", "no-such-bench"), "no such recipe"),
        (("benchmark", "bench-extrapolation", "-s", "predictors=[magic]"), "magic.*zero-filling"),
        (("benchmark", "bench-extrapolation", "-s", "predictors=[runs/a/checkpoint]"), "channelfm pretrain.*runs/a"),
        (("benchmark", "bench-extrapolation", "-s", "masks.0.ratios=[1.5]"), "masks.0.ratios.0"),
        (("info", "no-such-thing"), "no-such-thing"),
        (("demo", "--osm", "no-such-map.osm"), "no-such-map"),
        (("demo", "-s", "data.array.rouws=3"), "rouws"),
        (("demo", "-s", "evaluation.predictors=[magic]"), "magic.*polar-omp"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(channelfm, tmp_path, monkeypatch, arguments, pattern):
    monkeypatch.chdir(tmp_path)
    assert_one_line(channelfm(*arguments), pattern)
    assert not (tmp_path / "x").exists()


def test_a_broken_data_set_is_one_line(channelfm, small_recipe, tmp_path):
    data = tmp_path / "data"
    assert channelfm("generate", small_recipe, "--out", data, "-s", "flights.0.num_uavs=1").exit_code == 0
    shard = data / "shards/corner--f--0000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert_one_line(channelfm("info", data), r"corner--f--0000\.safetensors")
    (data / "manifest.json").write_text("{")
    assert_one_line(channelfm("info", data), r"manifest\.json")
    (data / "manifest.json").unlink()
    assert_one_line(channelfm("info", data), "unfinished")


def test_a_folder_that_is_no_checkpoint(channelfm, tmp_path):
    assert_one_line(channelfm("info", tmp_path), "no checkpoint")


def test_a_full_disk_and_no_memory_are_one_line(channelfm, small_recipe, tmp_path, monkeypatch):
    def fails(error):
        def fsync(handle):
            raise error

        return fsync

    monkeypatch.setattr("channelfm.files.os.fsync", fails(OSError(28, "No space left on device")))
    assert_one_line(channelfm("generate", small_recipe, "--out", tmp_path / "a"), "No space left.*again to resume")
    monkeypatch.setattr("channelfm.files.os.fsync", fails(MemoryError()))
    assert_one_line(channelfm("generate", small_recipe, "--out", tmp_path / "b"), "out of memory")


def test_debug_shows_the_traceback(channelfm):
    result = channelfm("--debug", "info", "no-such-thing")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "InputError" in result.stderr


def test_the_real_command_has_no_traceback():
    done = subprocess.run(command("info", "no-such-thing"), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "error: no-such-thing: no such data set, checkpoint or packaged model\n"
    assert done.stdout == ""


def _hear_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_interrupt_then_resume(small_recipe, tmp_path):
    many = ("--workers", "1", "-s", "flights.0.num_uavs=300")
    arguments = command("generate", small_recipe, "--out", tmp_path / "data", *many)
    streams = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    # where tests run in the background of a shell, interrupts are ignored, and children inherit that
    process = subprocess.Popen(arguments, cwd=ROOT, preexec_fn=_hear_interrupts, **streams)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("data/shards/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to resume" in errors
    assert "Traceback" not in errors
    done = len(list(tmp_path.glob("data/shards/*.json")))
    assert 0 < done < 300
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    times = json.loads((tmp_path / "data/generation.json").read_text())
    assert len(times) == 2
    assert len(times[1]["seconds"]) == 300 - done  # the units that were missing


@pytest.mark.slow
def test_a_terminated_training_leaves_no_process_behind(channelfm, small_recipe, tmp_path):
    data, model = tmp_path / "data", tmp_path / "model"
    size = ("-s", "array.rows=4", "-s", "array.cols=4")
    assert channelfm("generate", small_recipe, "--out", data, *size).exit_code == 0
    endless = ("-s", "steps=1000000", "-s", "batch_size=2", "-s", "save_every=1", "-s", "workers=1")
    arguments = command("pretrain", "pretrain-cddim-demo", "--data", data, "--out", model, *endless)
    streams = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, **streams)
    deadline = time.monotonic() + 120
    while not (model / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=60) == 130
    deadline = time.monotonic() + 10
    while _runs(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(process.pid)


def _runs(group):
    """Whether a process of the group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
