import dataclasses
import shutil

import numpy as np
import pytest
from channelfm.benchmark.predictors import find_predictors, load_predictor, parameters_of
from channelfm.learned.network import PredictorRecipe

from channelfm.baselines import BASELINES
from channelfm.checkpoints import CONFIG, WEIGHTS, packaged_models, predicts_sequences, save_checkpoint
from channelfm.errors import ChannelfmError, InputError
from channelfm.models.zoo import build


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    return save_checkpoint(folder, build("cddim-tiny"), PredictorRecipe(name="mine", model="cddim-tiny"), {})


def test_groups_of_predictors_by_one_word():
    names = [entry.name for entry in find_predictors(["classical"])]
    assert names == list(BASELINES)
    reconstructing = [name for name in packaged_models() if not predicts_sequences(name)]
    assert len(find_predictors(["zero-filling", "classical", "packaged"])) == len(BASELINES) + len(reconstructing)


def test_a_checkpoint_is_known_by_its_weights(checkpoint, tmp_path):
    (entry,) = find_predictors([str(checkpoint)])
    assert entry.name == "mine"
    assert entry.parameters == parameters_of(entry.load()) == sum(p.numel() for p in build("cddim-tiny").parameters())
    assert find_predictors([str(checkpoint)]) == [entry]
    other = build("cddim-tiny")
    next(other.parameters()).data += 1.0
    changed = save_checkpoint(tmp_path / "other", other, PredictorRecipe(name="mine", model="cddim-tiny"), {})
    assert find_predictors([str(changed)])[0].identity != entry.identity
    assert entry.identity != find_predictors(["zero-filling"])[0].identity


def test_classical_predictors_have_no_parameters_and_get_the_spacing():
    assert parameters_of(load_predictor("zero-filling")) == 0
    assert load_predictor("off-grid", 0.4).spacing_wavelengths == 0.4


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing-of-the-kind", "nothing-of-the-kind.*zero-filling.*packaged"),
        ("runs/cddim-demo/checkpoint", "channelfm pretrain pretrain-cddim-demo --data DATASET --out runs/cddim-demo"),
        ("runs/mine", "channelfm pretrain RECIPE --data DATASET --out runs/mine"),
    ],
)
def test_what_is_not_there_is_named_with_the_remedy(source, words):
    with pytest.raises(InputError, match=words):
        find_predictors(["zero-filling", source])


def test_two_rows_of_one_name_are_refused(checkpoint, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    for name in (CONFIG, WEIGHTS):
        (again / name).write_bytes((checkpoint / name).read_bytes())
    with pytest.raises(InputError, match="same name"):
        find_predictors([str(checkpoint), str(again)])
    damaged = bytearray((again / WEIGHTS).read_bytes())
    damaged[-1] ^= 1
    (again / WEIGHTS).write_bytes(damaged)
    with pytest.raises(ChannelfmError, match="damaged"):
        find_predictors([str(again)])


def test_two_checkpoints_of_one_recipe_stand_beside_each_other(checkpoint):
    first, second, plain = find_predictors([str(checkpoint), f"again={checkpoint.parent}", "mine too=zero-filling"])
    assert [entry.name for entry in (first, second, plain)] == ["mine", "again", "mine too"]
    assert [entry.load().name for entry in (first, second, plain)] == ["mine", "again", "mine too"]
    assert first.identity == second.identity
    for asked in (f"={checkpoint}", "again="):
        with pytest.raises(InputError, match="write it as NAME=FOLDER"):
            find_predictors([asked])


def test_a_folder_may_have_an_equals_sign_in_its_name(checkpoint, tmp_path, monkeypatch):
    shutil.copytree(checkpoint, tmp_path / "rate=3")
    monkeypatch.chdir(tmp_path)
    assert [find_predictors([asked])[0].name for asked in ("rate=3", "./rate=3", "b=rate=3")] == ["mine", "mine", "b"]


def test_entries_are_plain_values():
    entry = find_predictors(["zero-filling"])[0]
    assert dataclasses.replace(entry) == entry
    truth = np.ones((1, 2, 2, 1), np.complex64)
    assert not entry.load().predict(truth, np.array([[True, False], [False, False]])[None, ..., None])[0, 1, 1].any()
