import hashlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hatchling.builders.wheel import WheelBuilder
from safetensors.torch import load_file, save_file

from channelfm import checkpoints
from channelfm.arrays import spherical_wave
from channelfm.checkpoints import (
    CARD,
    CONFIG,
    STATE,
    WEIGHTS,
    checkpoint_folder,
    holds_checkpoint,
    load_checkpoint,
    load_model,
    packaged_models,
    read_config,
    save_checkpoint,
    write_card,
)
from channelfm.errors import InputError, IntegrityError
from channelfm.estimator import AssumedSpacing, SequenceEstimator
from channelfm.learned.estimator import DiffusionEstimator, OneShotEstimator
from channelfm.learned.recipe import DiffusionModel, OneShotModel
from channelfm.models.zoo import build
from channelfm.tokens.canonical import FrameRecipe

PLAIN = {"name": "mine", "model": "cddim-tiny", "model_options": {"width": 16, "depth": 1, "heads": 2}}
RECIPE = DiffusionModel(**PLAIN)


ROOT = Path(__file__).resolve().parents[1]


def fresh():
    torch.manual_seed(0)
    network = build(RECIPE.model, **RECIPE.model_options)
    torch.nn.init.normal_(network.project.weight)
    return network


@pytest.fixture
def folder(tmp_path):
    return save_checkpoint(tmp_path / "checkpoint", fresh(), RECIPE, {"data_sha256": "abc"})


def edit(folder, **changes):
    values = yaml.safe_load((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(yaml.safe_dump(values | changes))


def exchange(folder, change):
    """Change the stored tensors and vouch for them, as a faulty writer would."""
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS)
    edit(folder, weights_sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def test_a_loaded_model_predicts_as_the_saved_one(folder):
    network, config = load_checkpoint(folder)
    model = load_model(folder)
    assert model.name == "mine"
    assert config.predictor == RECIPE
    observed = np.ones((1, 4, 4, 1), dtype=np.complex64)
    mask = np.ones((1, 4, 4, 1), dtype=bool)
    mask[0, 1, 1] = False
    expected = DiffusionEstimator(network, RECIPE).predict(observed, mask)
    assert np.array_equal(model.predict(observed, mask), expected)


def test_equal_weights_write_equal_bytes(folder, tmp_path):
    network, _ = load_checkpoint(folder)
    again = save_checkpoint(tmp_path / "again", network, RECIPE, {"data_sha256": "abc"})
    for name in (WEIGHTS, CONFIG):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


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


def test_a_runs_folder_stands_for_its_checkpoint(folder):
    assert checkpoint_folder(folder) == checkpoint_folder(folder.parent) == folder
    assert load_model(folder.parent).name == "mine"
    assert holds_checkpoint(folder.parent)
    assert not holds_checkpoint(folder.parent.parent)


def test_a_run_that_is_not_finished_says_so(tmp_path):
    (tmp_path / STATE).touch()
    with pytest.raises(InputError, match="not finished; 'channelfm pretrain' with its recipe"):
        load_model(tmp_path)


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


def test_half_the_bytes_nearly_the_same_weights(folder, tmp_path):
    network, config = load_checkpoint(folder)
    small = save_checkpoint(tmp_path / "small", network, config.predictor, config.provenance, dtype=torch.bfloat16)
    assert (small / WEIGHTS).stat().st_size < 0.6 * (folder / WEIGHTS).stat().st_size
    again, kept = load_checkpoint(small)
    assert kept.provenance == config.provenance
    assert all(weight.dtype == torch.float32 for weight in again.parameters())
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=2**-8, atol=0)


def test_whole_numbers_are_stored_as_they_are(tmp_path):
    network = fresh()
    network.register_buffer("count", torch.tensor([300]))
    folder = save_checkpoint(tmp_path, network, RECIPE, {}, dtype=torch.bfloat16)
    assert load_file(folder / WEIGHTS)["count"].tolist() == [300]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.pop("project.bias"), "'project.bias' has shape None"),
        (lambda state: state.update(colour=torch.zeros(2)), "'colour' has shape .*expects None"),
        (lambda state: state["project.bias"].fill_(float("nan")), "'project.bias' holds NaN"),
        (lambda state: state["project.bias"].fill_(float("inf")), "'project.bias' holds NaN or inf"),
    ],
)
def test_tensors_that_do_not_fit(folder, change, complaint):
    exchange(folder, change)
    with pytest.raises(IntegrityError, match=complaint):
        load_model(folder)


def test_a_file_cut_short(folder):
    content = (folder / WEIGHTS).read_bytes()[:100]
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(IntegrityError, match="SHA-256"):
        load_model(folder)
    edit(folder, weights_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        load_model(folder)


def test_weights_that_diverged_are_not_saved(tmp_path):
    network = fresh()
    network.project.bias.data[0] = float("nan")
    with pytest.raises(InputError, match="diverged"):
        save_checkpoint(tmp_path / "broken", network, RECIPE, {})
    assert not (tmp_path / "broken").exists()


def test_another_version_of_the_package_is_no_hindrance(folder):
    values = yaml.safe_load((folder / CONFIG).read_text())
    values["provenance"]["versions"]["channelfm"] = "0.0.1"
    for newer in ("method", "noise_seed"):  # fields that an older version did not write
        del values["predictor"][newer]
    edit(folder, **values)
    assert load_model(folder).recipe == RECIPE


def test_format_1_is_read_and_says_what_does_not_apply(folder):
    unused = {"latent": False, "candidates": [], "sequence": {"kind": "angle-delay", "taps": None, "turned": False}}
    values = yaml.safe_load((folder / CONFIG).read_text())["predictor"] | unused
    edit(folder, format=1, predictor=values)
    assert load_model(folder).recipe == RECIPE
    edit(folder, predictor=values | {"latent": True})
    with pytest.raises(InputError, match=r"config.yaml: predictor.latent = True: does not apply to this method"):
        load_model(folder)


def test_a_network_that_is_not_in_this_version(folder):
    values = yaml.safe_load((folder / CONFIG).read_text())
    values["predictor"]["model"] = "cddim-gigantic"
    edit(folder, **values)
    with pytest.raises(InputError, match="cddim-gigantic"):
        load_model(folder)


def test_the_method_decides_how_the_network_is_used(tmp_path):
    recipe = OneShotModel(**PLAIN)
    folder = save_checkpoint(tmp_path / "one-shot", fresh(), recipe, {})
    assert isinstance(load_model(folder), OneShotEstimator)


def tight_channels(spacing):
    generator = np.random.default_rng(0)
    sources = generator.uniform([50, -60, -60], [200, 60, 60], (4, 3))
    return spherical_wave(16, 16, sources, spacing)[..., None].astype(np.complex64)


def test_another_spacing_needs_only_to_be_told(tmp_path):
    # An untrained network that answers "the wave and nothing else" shows how well the frame fits.
    recipe = OneShotModel(**PLAIN, frame=FrameRecipe(waves=2))
    folder = save_checkpoint(tmp_path, build(recipe.model, **recipe.model_options), recipe, {})
    target = tight_channels(0.25)
    mask = np.random.default_rng(1).random(target.shape) < 0.25
    observed = np.where(mask, target, 0)
    told, untold = (load_model(folder, spacing_wavelengths=spacing) for spacing in (0.25, None))
    answers = [told.predict(observed, mask), untold.predict(observed, mask, 0.25)]
    np.testing.assert_array_equal(*answers)
    with pytest.warns(AssumedSpacing, match="assumes 0.5 wavelengths"):
        answers[1] = untold.predict(observed, mask)
    error = [np.mean(np.abs(answer - target) ** 2) for answer in answers]
    assert error[0] < 1e-3
    assert error[0] < error[1]


def test_a_raw_network_knows_its_own_spacing_only(tmp_path):
    folder = save_checkpoint(tmp_path, fresh(), RECIPE.model_copy(update={"frame": FrameRecipe(kind="raw")}), {})
    assert load_model(folder, spacing_wavelengths=0.501).recipe.frame.kind == "raw"
    with pytest.raises(InputError, match="canonical"):
        load_model(folder, spacing_wavelengths=0.7)


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_spacing(folder, spacing):
    with pytest.raises(InputError, match="give one above 0"):
        load_model(folder, spacing_wavelengths=spacing)


FACTS = {
    "data": "Twelve cities.",
    "budget": "800 steps of 32.",
    "hardware": "Two CPU cores.",
    "results": [{"mask": 0.5, "NMSE [dB]": -27.6}, {"mask": 0.9, "NMSE [dB]": -20.3}],
    "limits": "Clean observations only.",
}


def test_the_card_tells_what_the_checkpoint_knows_and_what_it_is_told(folder):
    card = write_card(folder, **FACTS).read_text()
    assert card.startswith("# checkpoint\n")
    for part in ("Twelve cities.", "800 steps of 32.", "Two CPU cores.", "Clean observations only.", "| 0.9 | -20.3 |"):
        assert part in card
    for part in ("cddim-tiny", f"{sum(weight.numel() for weight in fresh().parameters()):,} parameters", "torch"):
        assert part in card
    assert hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() in card
    assert write_card(folder, **FACTS).read_text() == card


def test_a_card_shows_the_recipe_of_the_run(tmp_path):
    folder = save_checkpoint(tmp_path / "mine", fresh(), RECIPE, {"recipe": {"learning_rate": 0.125}})
    card = write_card(folder, **(FACTS | {"results": []})).read_text()
    assert "learning_rate: 0.125" in card
    assert "Results" not in card


def test_a_packaged_model_is_found_by_its_name(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_PACKAGED", tmp_path)
    assert packaged_models() == ["checkpoint"]
    assert load_model("checkpoint").name == "mine"
    with pytest.raises(InputError, match="packaged: checkpoint"):
        load_model("other")


@pytest.mark.parametrize("name", packaged_models())
def test_packaged_models_are_whole_small_and_described(name):
    folder, model = checkpoints._PACKAGED / name, load_model(name)
    assert read_config(folder).predictor.of_sequences == isinstance(model, SequenceEstimator)
    if isinstance(model, SequenceEstimator):
        past = np.ones((1, 10, 1, 8, 8), np.complex64)
        assert np.isfinite(model.predict(past, np.ones((1, 1, 1, 1, 1), bool), 2)).all()
    else:
        seen = np.eye(8, dtype=bool)[None, :, :, None]
        assert model.predict(np.ones((1, 8, 8, 1), np.complex64), seen).any()
    assert (folder / WEIGHTS).stat().st_size < 13e6
    assert "## Limits" in (folder / CARD).read_text()


def test_a_wheel_holds_the_packaged_models(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", ".gitignore", "README.md", "LICENSE", "NOTICE", "scripts/pypi_readme.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "recipes").mkdir()
    files = [f"channelfm/weights/some/{name}" for name in (WEIGHTS, CONFIG, CARD)]
    for name in ("channelfm/__init__.py", *files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (wheel,) = WheelBuilder(str(tmp_path)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    assert set(zipfile.ZipFile(wheel).namelist()) >= set(files)
