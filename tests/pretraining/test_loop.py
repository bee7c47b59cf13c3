"""The loop: resuming to the byte, what it writes, how it fails."""

import json
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError

from channelfm.checkpoints import CONFIG, WEIGHTS, load_checkpoint, load_model
from channelfm.config import load_recipe, shipped_recipes
from channelfm.datasets.claim import at_work
from channelfm.errors import InputError, IntegrityError
from channelfm.pretraining import feed, loop
from channelfm.pretraining.learner import Learner, rate_factor
from channelfm.pretraining.loop import HISTORY, STATE, StoppedError, pretrain, pretrain_from
from channelfm.pretraining.objectives import fresh_networks
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import PathSource
from channelfm.pretraining.validation import validate


class StopError(Exception):
    pass


def stop_at(monkeypatch, step):
    """Let the loop fail when it draws the batch of ``step``; returns the list of steps that it draws."""
    steps, original = [], feed.prepare

    def watched(source, recipe, now, numbers, device):
        steps.append(now)
        if now == step:
            raise StopError
        return original(source, recipe, now, numbers, device)

    monkeypatch.setattr(feed, "prepare", watched)
    return steps


def assert_same_checkpoint(one, other):
    for name in (WEIGHTS, CONFIG):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("kind", ["diffusion", "adversarial"])
def test_a_resumed_run_ends_with_the_same_bytes(kind, tmp_path, monkeypatch, channels, make_recipe, objective_values):
    train, validation, recipe = channels(), channels(4, seed=1), make_recipe(**objective_values[kind])
    whole = pretrain(recipe, train, validation, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(StopError):
            pretrain(recipe, train, validation, tmp_path / "parts")
    assert not (tmp_path / "parts" / "checkpoint").exists()
    with monkeypatch.context() as patch:
        steps = stop_at(patch, -1)
        resumed = pretrain(recipe, train, validation, tmp_path / "parts")
    assert steps == [4, 5, 6, 7]  # the state was last saved after four steps
    assert_same_checkpoint(whole, resumed)
    assert not (tmp_path / "parts" / STATE).exists()


def test_how_a_run_is_done_does_not_change_it(tmp_path, channels, make_recipe):
    one = pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path / "one")
    values = {"save_every": 3, "log_every": 1, "validate_every": 2}
    assert_same_checkpoint(one, pretrain(make_recipe(**values), channels(), channels(4, seed=1), tmp_path / "other"))


def test_a_run_out_of_time_keeps_its_state(tmp_path, path_parts, channels, make_recipe):
    source = PathSource([path_parts(side=8)])
    with pytest.raises(StoppedError, match="stopped at step 1 of 8"):
        pretrain_from(make_recipe(), source, channels(2), tmp_path / "parts", max_seconds=0)
    with pytest.raises(StoppedError, match="stopped at step 2 of 8"):
        pretrain_from(make_recipe(), source, channels(2), tmp_path / "parts", max_seconds=0)
    whole = pretrain_from(make_recipe(), source, channels(2), tmp_path / "whole")
    assert_same_checkpoint(whole, pretrain_from(make_recipe(), source, channels(2), tmp_path / "parts", 1e9))


def test_a_finished_run_is_reused_and_another_recipe_is_not(tmp_path, monkeypatch, channels, make_recipe):
    pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)
    steps = stop_at(monkeypatch, 0)
    assert pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path) == tmp_path / "checkpoint"
    assert pretrain(make_recipe(workers=2), channels(), channels(4, seed=1), tmp_path) == tmp_path / "checkpoint"
    assert steps == []
    with pytest.raises(InputError, match=r"finished run that differs: seed 0 there, 1 here; take the same"):
        pretrain(make_recipe(seed=1), channels(), channels(4, seed=1), tmp_path)
    with pytest.raises(InputError, match="differs: the training data; take"):
        pretrain(make_recipe(), channels(seed=2), channels(4, seed=1), tmp_path)
    assert load_model(tmp_path / "checkpoint").name == "cddim-canonical"


def test_another_run_with_many_other_settings_names_the_first(tmp_path, channels, make_recipe):
    pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)
    other = make_recipe(steps=9, batch_size=8, learning_rate=0.5, seed=3, predictor_name="other")
    with pytest.raises(InputError, match=r"predictor\.name cddim-canonical there, other here; .*; 2 more settings;"):
        pretrain(other, channels(), channels(4, seed=1), tmp_path)


def test_state_of_another_run_and_damaged_state(tmp_path, monkeypatch, channels, make_recipe):
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(StopError):
            pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)
    with pytest.raises(InputError, match="unfinished run that differs: seed 0 there, 5 here"):
        pretrain(make_recipe(seed=5), channels(), channels(4, seed=1), tmp_path)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:1000])
    with pytest.raises(IntegrityError, match="damaged"):
        pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)


def test_a_run_that_did_no_step_gives_way(tmp_path, monkeypatch, channels, make_recipe):
    with monkeypatch.context() as patch:
        stop_at(patch, 0)
        with pytest.raises(StopError):
            pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)
    assert (tmp_path / STATE).exists()
    other = pretrain(make_recipe(seed=5), channels(), channels(4, seed=1), tmp_path)
    assert load_checkpoint(other)[1].provenance["recipe"]["seed"] == 5


def test_a_second_run_is_kept_out_of_the_folder(tmp_path, channels, make_recipe):
    with at_work(tmp_path), pytest.raises(InputError, match="another run is at work here"):
        pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)


def test_what_killed_runs_left_is_swept_and_nothing_else(tmp_path, channels, make_recipe):
    (tmp_path / "checkpoint").mkdir()
    left = [".state.safetensors.k3jx9q_0", ".history.json.abcdefgh", "checkpoint/.model.safetensors.12345678"]
    kept = [".state.safetensors.mine", ".bash.history.abcdefgh", "notes.txt"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)
    assert [name for name in (*left, *kept) if (tmp_path / name).exists()] == kept


@contextmanager
def files_up_to(size):
    """A limit on the size of files, set by the system, stands in for a full disk: a real write fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("size", "file"), [(10, "logs/events"), (20_000, STATE)])
def test_a_full_disk_costs_no_step(size, file, tmp_path, monkeypatch, channels, make_recipe):
    steps = stop_at(monkeypatch, -1)
    with files_up_to(size), pytest.raises(OSError, match=f"File too large: '{tmp_path / file}"):
        pretrain(make_recipe(), channels(), channels()[:0], tmp_path)
    assert steps == []


@pytest.mark.parametrize(("save_every", "file"), [(4, STATE), (1000, "logs/events")])
def test_a_disk_that_runs_full_is_told_with_the_file(
    save_every, file, tmp_path, monkeypatch, channels, make_recipe, capfd
):
    """TensorBoard's own writer showed a traceback of its thread, and raised a ValueError about values to log."""
    original = loop._Run.step
    with ExitStack() as full:

        def filling(run, batch):
            if run.state.step == 2:
                full.enter_context(files_up_to(100))
            return original(run, batch)

        monkeypatch.setattr(loop._Run, "step", filling)
        with pytest.raises(OSError, match=f"File too large: '{tmp_path / file}"):
            pretrain(make_recipe(steps=1000, save_every=save_every), channels(), channels()[:0], tmp_path)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("taken", ["", "logs"])
def test_a_folder_that_cannot_be_written_costs_no_step(taken, tmp_path, monkeypatch, channels, make_recipe):
    steps = stop_at(monkeypatch, -1)
    (tmp_path / "out").mkdir()
    place = tmp_path / "out" / taken if taken else tmp_path / "file"
    place.write_text("a file where a folder is wanted")
    with pytest.raises(OSError, match=place.name):
        pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path / "out" if taken else place)
    assert steps == []


def test_checkpoint_says_where_it_comes_from(tmp_path, channels, make_recipe):
    folder = pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)
    _, config = load_checkpoint(folder)
    assert config.provenance["recipe_sha256"] == make_recipe().identity()
    assert set(config.provenance["validation_nmse_db"]) == {"0.5", "0.75", "0.9"}
    assert config.provenance["recipe"]["steps"] == 8
    assert config.provenance["versions"]["torch"]
    assert list((tmp_path / "logs").rglob("events*"))
    assert load_model(folder).name == "cddim-canonical"


def test_history_of_a_run_and_of_its_resumption(tmp_path, monkeypatch, channels, make_recipe):
    recipe = make_recipe(log_every=2, validate_every=4)
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(StopError):
            pretrain(recipe, channels(), channels(4, seed=1), tmp_path)
    pretrain(recipe, channels(), channels(4, seed=1), tmp_path)
    rows = json.loads((tmp_path / HISTORY).read_text())
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [set(row.get("validation_nmse_db", ())) for row in rows] == [set(), {"0.5", "0.75", "0.9"}] * 2
    for row in rows:
        assert np.isfinite(row["loss"])
        assert row["samples_per_s"] > 0
        assert row["tokens_per_s"] == pytest.approx(4 * row["samples_per_s"], rel=1e-3)  # 8 x 8 in patches of 4 x 4
        assert 0 < row["utilisation"] < 1.5


def test_a_run_that_breaks_down_names_the_step_and_can_go_on(tmp_path, monkeypatch, channels, make_recipe):
    original = feed.prepare

    def poisoned(source, recipe, step, numbers, device):
        batch = original(source, recipe, step, numbers, device)
        if step == 5:
            batch.clean[0, 0, 0, 0] = float("inf")
        return batch

    monkeypatch.setattr(feed, "prepare", poisoned)
    with pytest.raises(InputError, match=r"step 5: the loss of the network is (inf|nan)"):
        pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path)
    monkeypatch.setattr(feed, "prepare", original)
    assert pretrain(make_recipe(), channels(), channels(4, seed=1), tmp_path).is_dir()


def test_a_gradient_that_is_not_finite_changes_nothing(make_recipe):
    learner = Learner(Fabric(accelerator="cpu", devices=1), make_recipe(), fresh_networks(make_recipe()))
    parameter = learner.state.trained["network"].network.project.bias
    before = parameter.detach().clone()
    with pytest.raises(InputError, match="step 0: the gradient of the network is not finite"):
        learner.descend("network", (0 * parameter).sqrt().sum())  # 0, whose derivative is 0 times infinity
    assert torch.equal(parameter, before)


def test_snapshots_without_a_path_are_skipped_and_nothing_else_is_left(tmp_path, channels, make_recipe):
    with pytest.raises(InputError, match="no training channel"):
        pretrain(make_recipe(), np.zeros((3, 8, 8, 1), dtype=np.complex64), channels(), tmp_path)
    some = channels()
    some[:6] = 0
    assert pretrain(make_recipe(steps=2), some, some[:0], tmp_path).is_dir()


def test_validation_is_repeatable_and_bounded(channels, make_recipe):
    network, _ = fresh_networks(make_recipe())["network"]
    torch.nn.init.normal_(network.project.weight, std=0.1)
    assert validate(network, make_recipe(), channels()) == validate(network, make_recipe(), channels())
    few = make_recipe(validation_links=3)
    assert validate(network, few, channels()) == validate(network, few, channels()[[0, 6, 11]])
    assert validate(network, few, channels()[:0]) == {}


def test_learning_rate_warms_up_and_decays(make_recipe):
    values = make_recipe(steps=100, warmup_steps=10, learning_rate=1e-3)
    assert rate_factor(values, 0) == pytest.approx(0.1)
    assert rate_factor(values, 10) == pytest.approx(1.0)
    assert rate_factor(values, 55) == pytest.approx(0.505)
    assert rate_factor(values, 99) < 0.02


def test_recipe_refuses_bad_values(make_recipe, objective_values):
    with pytest.raises(ValidationError, match="low <= high"):
        make_recipe(mask_ratio=(0.9, 0.1))
    with pytest.raises(ValidationError, match="weight above 0"):
        make_recipe(mask_kinds={"rows": 0.0})
    with pytest.raises(ValidationError, match=r"predictor\.method"):
        make_recipe(objective={"kind": "regression"})
    with pytest.raises(ValidationError, match="use ddp"):
        make_recipe(**objective_values["adversarial"], strategy="fsdp")
    with pytest.raises(InputError, match="learning_speed"):
        load_recipe(PretrainRecipe, "pretrain-cddim-demo", ["learning_speed=3"])


def test_shipped_recipes_can_be_read_and_built():
    names = [name for name in shipped_recipes() if name.startswith(("pretrain-", "tune-"))]
    assert len(names) > 1
    for name in names:
        recipe = load_recipe(PretrainRecipe, name).model_copy(update={"start_from": None})
        with torch.device("meta"):
            assert fresh_networks(recipe)


def test_the_batch_is_shared_out_evenly(tmp_path, monkeypatch, channels, make_recipe):
    class Pair:
        world_size = 2

    learner = type("Learner", (), {"recipe": make_recipe(batch_size=3), "state": None})
    with pytest.raises(InputError, match="multiple of the 2 processes"):
        loop._Run(Pair(), learner, tmp_path, {}, channels()[:0])


SCRIPT = """
import sys
import numpy as np
from channelfm.pretraining.loop import pretrain
from channelfm.pretraining.recipe import PretrainRecipe
recipe = PretrainRecipe.model_validate_json(sys.argv[1])
data = np.load(sys.argv[2])
pretrain(recipe, data, data[:4], sys.argv[3])
"""


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, channels, make_recipe):
    np.save(tmp_path / "data.npy", channels())
    recipe = make_recipe(steps=300, save_every=5)
    command = [sys.executable, "-c", SCRIPT, recipe.model_dump_json(), str(tmp_path / "data.npy")]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    run = subprocess.Popen([*command, str(tmp_path / "parts")], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "parts" / STATE).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert (tmp_path / "parts" / STATE).exists()
    subprocess.run([*command, str(tmp_path / "parts")], check=True, capture_output=True)
    assert_same_checkpoint(tmp_path / "whole" / "checkpoint", tmp_path / "parts" / "checkpoint")
