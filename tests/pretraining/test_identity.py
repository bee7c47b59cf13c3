"""Runs that build on checkpoints."""

import json
import shutil

import pytest
import torch

from channelfm.checkpoints import load_checkpoint
from channelfm.errors import InputError
from channelfm.pretraining.identity import origin_hashes
from channelfm.pretraining.loop import HISTORY, pretrain
from channelfm.pretraining.objectives import fresh_networks


def test_training_starts_from_a_checkpoint(tmp_path, channels, make_recipe):
    first = pretrain(make_recipe(), channels(), channels(2), tmp_path / "first")
    recipe = make_recipe(start_from=str(first), steps=2)
    network, _ = fresh_networks(recipe)["network"]
    stored = load_checkpoint(first)[0].state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in network.state_dict().items())
    second = pretrain(recipe, channels(), channels(2), tmp_path / "second")
    assert load_checkpoint(second)[1].provenance["start_sha256"] == origin_hashes(recipe)["start_sha256"]


def test_a_checkpoint_counts_by_its_weights_not_by_its_place(tmp_path, channels, make_recipe):
    first = pretrain(make_recipe(), channels(), channels(2), tmp_path / "first")
    shutil.copytree(first, tmp_path / "copy")
    one, other = (make_recipe(start_from=str(place)) for place in (first, tmp_path / "copy"))
    assert one.identity() == other.identity()
    assert origin_hashes(one) == origin_hashes(other)
    third = pretrain(make_recipe(seed=1), channels(), channels(2), tmp_path / "third")
    assert origin_hashes(make_recipe(start_from=str(third))) != origin_hashes(one)


def test_weights_of_another_network_are_refused(tmp_path, channels, make_recipe):
    first = pretrain(make_recipe(), channels(), channels(2), tmp_path)
    with pytest.raises(InputError, match="start_from"):
        fresh_networks(make_recipe(start_from=str(first), predictor_model_options={"width": 8, "depth": 1, "heads": 1}))
    with pytest.raises(InputError, match="neither a checkpoint folder"):
        origin_hashes(make_recipe(start_from="nowhere"))


def test_a_student_learns_from_its_teacher(tmp_path, channels, make_recipe):
    teacher = pretrain(make_recipe(steps=40, learning_rate=3e-3, batch_size=8), channels(), channels(2), tmp_path / "t")
    objective = {"kind": "distillation", "teacher": str(teacher), "teacher_steps": 8}
    recipe = make_recipe(objective=objective, start_from=str(teacher), log_every=1)
    folder = pretrain(recipe, channels(), channels(2), tmp_path / "student")
    hashes = origin_hashes(recipe)
    assert hashes["teacher_sha256"] == hashes["start_sha256"]
    assert load_checkpoint(folder)[1].provenance["teacher_sha256"] == hashes["teacher_sha256"]
    assert "teacher" not in load_checkpoint(folder)[1].provenance["recipe"]["objective"]
    rows = json.loads((tmp_path / "student" / HISTORY).read_text())
    assert len(rows) == 8
    assert all(row["utilisation"] > 0 for row in rows)
    raw = make_recipe(objective=objective, predictor_frame={"kind": "raw"})
    with pytest.raises(InputError, match=r"objective\.teacher: its frame"):
        pretrain(raw, channels(), channels(2), tmp_path / "raw")
