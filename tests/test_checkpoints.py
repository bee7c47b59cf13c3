import numpy as np
import pytest
import torch
import yaml

from channelfm.checkpoints import CONFIG, WEIGHTS, is_checkpoint_of, load_checkpoint, load_model, save_checkpoint
from channelfm.errors import InputError, IntegrityError
from channelfm.models.zoo import build
from channelfm.tasks.diffusion_predictor import DiffusionPredictor, PredictorRecipe

RECIPE = PredictorRecipe(name="mine", model="cddim-tiny", model_options={"width": 16, "depth": 1, "heads": 2})


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    network = build(RECIPE.model, **RECIPE.model_options)
    torch.nn.init.normal_(network.project.weight)
    return save_checkpoint(tmp_path / "checkpoint", network, RECIPE, {"data_sha256": "abc"})


def edit(folder, **changes):
    values = yaml.safe_load((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(yaml.safe_dump(values | changes))


def test_a_loaded_model_predicts_as_the_saved_one(folder):
    network, config = load_checkpoint(folder)
    model = load_model(folder)
    assert model.name == "mine"
    assert config.predictor == RECIPE
    observed = np.ones((1, 4, 4, 1), dtype=np.complex64)
    mask = np.ones((1, 4, 4, 1), dtype=bool)
    expected = DiffusionPredictor(network, RECIPE).predict(observed, mask)
    assert np.array_equal(model.predict(observed, mask), expected)


def test_equal_weights_write_equal_bytes(folder, tmp_path):
    network, _ = load_checkpoint(folder)
    again = save_checkpoint(tmp_path / "again", network, RECIPE, {"data_sha256": "abc"})
    for name in (WEIGHTS, CONFIG):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_provenance_is_compared(folder, tmp_path):
    assert is_checkpoint_of(folder, {"data_sha256": "abc"})
    assert not is_checkpoint_of(folder, {"data_sha256": "other"})
    assert not is_checkpoint_of(tmp_path / "none", {})


@pytest.mark.parametrize("place", [10, 200, -3])
def test_a_flipped_byte_is_noticed(folder, place):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[place] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(IntegrityError, match="SHA-256"):
        load_model(folder)


def test_missing_weights(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(IntegrityError, match="missing"):
        load_model(folder)


def test_weights_of_another_shape(folder):
    values = yaml.safe_load((folder / CONFIG).read_text())
    values["predictor"]["model_options"]["width"] = 32
    edit(folder, **values)
    with pytest.raises(IntegrityError, match="expects"):
        load_model(folder)


def test_unknown_format(folder):
    edit(folder, format=99)
    with pytest.raises(InputError, match="format 99"):
        load_model(folder)


def test_unknown_key(folder):
    edit(folder, colour="red")
    with pytest.raises(InputError, match="colour"):
        load_model(folder)


def test_damaged_configuration(folder):
    (folder / CONFIG).write_bytes(b"\xff\xfe: [")
    with pytest.raises(IntegrityError, match="YAML"):
        load_model(folder)


def test_a_name_that_is_nothing(tmp_path):
    with pytest.raises(InputError, match="packaged"):
        load_model("cddim-gigantic")
    with pytest.raises(InputError, match="no checkpoint there"):
        load_model(tmp_path)


def test_errors_are_one_line(folder):
    edit(folder, format=99)
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
