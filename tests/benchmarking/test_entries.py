import shutil

import pytest

from channelfm.benchmarking.entries import BASELINES, find_entries
from channelfm.checkpoints import CONFIG, WEIGHTS, packaged_models, save_checkpoint
from channelfm.errors import ChannelfmError, InputError
from channelfm.learned.recipe import DiffusionModel
from channelfm.models.zoo import build


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    return save_checkpoint(folder, build("cddim-tiny"), DiffusionModel(name="mine", model="cddim-tiny"), {})


def test_all_of_a_kind_by_one_word():
    entries = find_entries(["classical"])
    assert [entry.name for entry in entries] == list(BASELINES)
    assert {entry.word for entry in entries} == {"classical"}
    assert not any(entry.parameters for entry in entries)
    assert {entry.name for entry in entries if entry.learns} >= {"lmmse", "lmmse-canonical"}
    named = {entry.name: entry.word for entry in find_entries(["classical", "zero-filling"])}
    assert named["zero-filling"] is None  # named itself, it is told why it cannot answer
    assert named["majority"] == "classical"


def test_packaged_models_by_one_word(monkeypatch):
    monkeypatch.setattr("channelfm.benchmarking.entries.packaged_models", lambda: packaged_models()[:2])
    assert [entry.name for entry in find_entries(["packaged"])] == packaged_models()[:2]


def test_a_checkpoint_is_known_by_its_weights(checkpoint, tmp_path):
    (entry,) = find_entries([str(checkpoint)])
    assert entry.name == "mine"
    assert entry.parameters == sum(p.numel() for p in build("cddim-tiny").parameters())
    assert find_entries([str(checkpoint)]) == [entry]
    other = build("cddim-tiny")
    next(other.parameters()).data += 1.0
    changed = save_checkpoint(tmp_path / "other", other, DiffusionModel(name="mine", model="cddim-tiny"), {})
    assert find_entries([str(changed)])[0].identity != entry.identity
    assert entry.identity != find_entries(["zero-filling"])[0].identity


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
        find_entries(["zero-filling", source])


def test_two_rows_of_one_name_are_refused(checkpoint, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    for name in (CONFIG, WEIGHTS):
        (again / name).write_bytes((checkpoint / name).read_bytes())
    with pytest.raises(InputError, match="same name"):
        find_entries([str(checkpoint), str(again)])
    damaged = bytearray((again / WEIGHTS).read_bytes())
    damaged[-1] ^= 1
    (again / WEIGHTS).write_bytes(damaged)
    with pytest.raises(ChannelfmError, match="damaged"):
        find_entries([str(again)])


def test_two_checkpoints_of_one_recipe_stand_beside_each_other(checkpoint):
    first, second, plain = find_entries([str(checkpoint), f"again={checkpoint.parent}", "mine too=zero-filling"])
    assert [entry.name for entry in (first, second, plain)] == ["mine", "again", "mine too"]
    assert [entry.load().name for entry in (first, second, plain)] == ["mine", "again", "mine too"]
    assert first.identity == second.identity
    for asked in (f"={checkpoint}", "again="):
        with pytest.raises(InputError, match="write it as NAME=FOLDER"):
            find_entries([asked])


def test_a_folder_may_have_an_equals_sign_in_its_name(checkpoint, tmp_path, monkeypatch):
    shutil.copytree(checkpoint, tmp_path / "rate=3")
    monkeypatch.chdir(tmp_path)
    assert [find_entries([asked])[0].name for asked in ("rate=3", "./rate=3", "b=rate=3")] == ["mine", "mine", "b"]


def test_models_are_adapted_by_a_plus(checkpoint):
    plain, probe, tuned = find_entries([str(checkpoint), f"{checkpoint}+probe", f"mine with lora={checkpoint}+lora"])
    assert (probe.learns, plain.learns) == (True, False)
    assert tuned.name == "mine with lora"
    assert len({plain.identity, probe.identity, tuned.identity}) == 3
