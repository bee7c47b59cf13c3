import numpy as np
import pytest
import torch
from pydantic import ValidationError

from channelfm.arrays import spherical_wave
from channelfm.checkpoints import CONFIG, WEIGHTS, load_checkpoint, load_model
from channelfm.config import load_recipe
from channelfm.diffusion import DiffusionRecipe, SamplerRecipe
from channelfm.errors import InputError, IntegrityError
from channelfm.pretraining import loop
from channelfm.pretraining.loop import STATE, learning_rate, pretrain, validate
from channelfm.pretraining.objectives import diffusion_loss, draw_batch
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.tasks.diffusion_predictor import PredictorRecipe
from channelfm.tokens.canonical import FrameRecipe


def channels(count=12, seed=0):
    generator = np.random.default_rng(seed)
    sources = generator.uniform([100, -100, -100], [300, 100, 100], (count, 2, 3))
    gains = np.array([1.0, 0.4]) * np.exp(2j * np.pi * generator.random((count, 2)))
    field = (spherical_wave(8, 8, sources) * gains[..., None, None]).sum(1)
    return (1e-6 * field).astype(np.complex64)[..., None]


def recipe(**values):
    predictor = PredictorRecipe(
        model_options={"width": 16, "depth": 1, "heads": 2},
        diffusion=DiffusionRecipe(prediction="sample"),
        sampler=SamplerRecipe(steps=2),
    )
    defaults = {
        "predictor": predictor,
        "steps": 8,
        "batch_size": 4,
        "warmup_steps": 2,
        "save_every": 2,
        "accelerator": "cpu",
    }
    return PretrainRecipe(**(defaults | values))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class StopError(Exception):
    pass


def stop_at(monkeypatch, step):
    """Let the loop fail when it draws the batch of ``step``; returns the list of steps that it draws."""
    steps, original = [], loop._batch

    def watched(recipe, grid, now, fabric):
        steps.append(now)
        if now == step:
            raise StopError
        return original(recipe, grid, now, fabric)

    monkeypatch.setattr(loop, "_batch", watched)
    return steps


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, monkeypatch):
    train, validation = channels(), channels(4, seed=1)
    whole = pretrain(recipe(), train, validation, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(StopError):
            pretrain(recipe(), train, validation, tmp_path / "parts")
    assert not (tmp_path / "parts" / "checkpoint").exists()
    with monkeypatch.context() as patch:
        steps = stop_at(patch, -1)
        resumed = pretrain(recipe(), train, validation, tmp_path / "parts")
    assert steps == [4, 5, 6, 7]  # the state was last saved after four steps
    for name in (WEIGHTS, CONFIG):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()
    assert not (tmp_path / "parts" / STATE).exists()


def test_a_finished_run_is_reused_and_another_recipe_is_not(tmp_path, monkeypatch):
    pretrain(recipe(), channels(), channels(4, seed=1), tmp_path)
    steps = stop_at(monkeypatch, 0)
    assert pretrain(recipe(), channels(), channels(4, seed=1), tmp_path) == tmp_path / "checkpoint"
    assert steps == []
    with pytest.raises(StopError):
        pretrain(recipe(seed=1), channels(), channels(4, seed=1), tmp_path)


def test_state_of_another_run_and_damaged_state(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(StopError):
            pretrain(recipe(), channels(), channels(4, seed=1), tmp_path)
    with pytest.raises(InputError, match="another recipe"):
        pretrain(recipe(seed=5), channels(), channels(4, seed=1), tmp_path)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:1000])
    with pytest.raises(IntegrityError, match="damaged"):
        pretrain(recipe(), channels(), channels(4, seed=1), tmp_path)


def test_checkpoint_says_where_it_comes_from(tmp_path):
    folder = pretrain(recipe(), channels(), channels(4, seed=1), tmp_path)
    _, config = load_checkpoint(folder)
    assert config.provenance["recipe_sha256"] == recipe().content_hash()
    assert set(config.provenance["validation_nmse_db"]) == {"0.5", "0.75", "0.9"}
    assert config.provenance["recipe"]["steps"] == 8
    assert config.provenance["versions"]["torch"]
    assert list((tmp_path / "logs").rglob("events*"))
    assert load_model(folder).name == "cddim-canonical"


def test_training_lowers_the_loss():
    values = recipe(steps=60, learning_rate=3e-3, batch_size=8, mask_ratio=(0.5, 0.5))
    state = loop._fresh_state(values, torch.device("cpu"))
    grid = channels(64)[..., 0]
    batch = draw_batch(grid, 32, (0.5, 0.5), values.predictor.frame, values.predictor.diffusion, True, (9, 9))
    before = diffusion_loss(state.network, values.predictor.diffusion, batch).item()
    for step in range(60):
        drawn = draw_batch(grid, 8, (0.5, 0.5), values.predictor.frame, values.predictor.diffusion, True, (0, step))
        state.optimizer.zero_grad()
        diffusion_loss(state.network, values.predictor.diffusion, drawn).backward()
        state.optimizer.step()
    assert diffusion_loss(state.network, values.predictor.diffusion, batch).item() < 0.5 * before


def test_batches_come_from_the_step_alone_and_see_only_what_is_observed():
    frame, diffusion = FrameRecipe(), DiffusionRecipe()
    first, again, later = (
        draw_batch(channels()[..., 0], 4, (0, 0.9), frame, diffusion, True, (0, s)) for s in (3, 3, 4)
    )
    assert torch.equal(first.clean, again.clean)
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.noise, later.noise)
    assert first.mask.flatten(1).any(1).all()


def test_snapshots_without_a_path_are_skipped_and_nothing_else_is_left(tmp_path):
    with pytest.raises(InputError, match="no training channel"):
        pretrain(recipe(), np.zeros((3, 8, 8, 1), dtype=np.complex64), channels(), tmp_path)
    some = channels()
    some[:6] = 0
    assert pretrain(recipe(steps=2), some, some[:0], tmp_path).is_dir()


def test_validation_is_repeatable():
    network = loop._fresh_state(recipe(), torch.device("cpu")).network
    assert validate(network, recipe(), channels()) == validate(network, recipe(), channels())


def test_learning_rate_warms_up_and_decays():
    values = recipe(steps=100, warmup_steps=10, learning_rate=1.0)
    assert learning_rate(values, 0) == pytest.approx(0.1)
    assert learning_rate(values, 10) == pytest.approx(1.0)
    assert learning_rate(values, 99) < 0.02


def test_recipe_refuses_bad_values():
    with pytest.raises(ValidationError, match="low <= high"):
        recipe(mask_ratio=(0.9, 0.1))
    with pytest.raises(InputError, match="learning_speed"):
        load_recipe(PretrainRecipe, "pretrain-cddim-demo", ["learning_speed=3"])
