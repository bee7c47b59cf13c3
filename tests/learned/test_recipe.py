"""A recipe that cannot run cannot be written; recipes of format 1 are read."""

import pytest
import torch

from channelfm.config import parse_recipe
from channelfm.errors import InputError
from channelfm.learned.recipe import MODELS, DiffusionModel, WavefieldModel, from_format_1
from channelfm.models.zoo import BUILDERS
from channelfm.pretraining.recipe import PretrainRecipe

FORMAT_1 = {
    "name": "old",
    "model_options": {},
    "frame": {"kind": "canonical", "waves": 1, "spacing_wavelengths": 0.5},
    "diffusion": {
        "steps": 1000,
        "schedule": "linear",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "prediction": "epsilon",
        "noise_skew": 1.0,
    },
    "sampler": {"sampler": "ddim", "steps": 50, "data_consistency": True},
    "latent": False,
    "noise_seed": 0,
    "sequence": {"kind": "angle-delay", "taps": None, "turned": False},
    "candidates": [],
}
MODEL_OF = {
    "diffusion": "cddim-tiny",
    "one-shot": "unet-tiny",
    "wavefield": "wavefield-small",
    "sequence": "gru-small",
    "mixture": "linear-mixture",
}


def read(**predictor):
    return parse_recipe(PretrainRecipe, {"predictor": predictor}, "mine.yaml")


@pytest.mark.parametrize("model", BUILDERS)
@pytest.mark.parametrize("method", MODELS)
def test_a_method_takes_the_networks_that_it_can_ask(method, model):
    kind = MODELS[method]
    values = {"model": model} | ({"candidates": ["kalman"]} if method == "mixture" else {})
    if model in kind.networks:
        assert kind(**values).model == model
    else:
        with pytest.raises(ValueError, match="this method cannot ask; use one of: "):
            kind(**values)


def test_every_network_but_encoders_and_critics_can_be_asked():
    asked = {name for kind in MODELS.values() for name in kind.networks}
    assert set(BUILDERS) - asked == {"lwm-1.0", "lwm-1.1", "critic"}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            {"model": "gru-small"},
            r"mine.yaml: predictor.diffusion: .*'gru-small': this method cannot ask; .*cddim-tiny",
        ),
        ({"model": "cdim"}, "no such network; use one of: cddim-demo"),
        ({"method": "one-shot", "diffusion": {}}, r"unknown key 'predictor.one-shot.diffusion'; .*latent"),
        ({"method": "sequence", "frame": {}}, r"unknown key 'predictor.sequence.frame'"),
        ({"method": "wavefield", "frame": {"waves": 2}}, r"unknown key 'predictor.wavefield.frame.waves'"),
        ({"method": "guess"}, r"predictor: .*'diffusion', 'one-shot', 'wavefield', 'sequence', 'mixture'"),
        ({"method": "mixture"}, "predictor.mixture.candidates: Field required"),
        ({"method": "mixture", "candidates": ["zero"]}, "no classical predictor 'zero' of sequences"),
        ({"model_options": {"width": 30}}, "width must be a multiple of 4"),
        ({"model_options": {"colour": 1}}, "colour"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_field(values, complaint):
    with pytest.raises(InputError, match=complaint):
        read(**values)


def test_reading_a_recipe_leaves_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    read(model_options={"width": 32})
    assert torch.equal(torch.rand(1), before)


def test_recipes_of_sequences_have_no_links():
    sequence = {"predictor": {"method": "sequence"}, "objective": {"kind": "masked-sequence"}}
    assert parse_recipe(PretrainRecipe, sequence, "mine.yaml").predictor.of_sequences
    with pytest.raises(InputError, match=r"mask_ratio: does not apply to objective.kind masked-sequence"):
        parse_recipe(PretrainRecipe, sequence | {"mask_ratio": [0.1, 0.2]}, "mine.yaml")


@pytest.mark.parametrize("method", MODEL_OF)
def test_format_1_is_read(method):
    values = FORMAT_1 | {"method": method, "model": MODEL_OF[method]}
    if method == "mixture":
        values["candidates"] = ["kalman", "ar-local"]
    recipe = MODELS[method](**from_format_1(values))
    assert recipe.model_dump(mode="json").items() <= {**values, **from_format_1(values)}.items()


def test_format_1_keeps_what_applies_and_refuses_what_does_not():
    held = FORMAT_1 | {"method": "wavefield", "model": "wavefield-small"}
    held["sampler"] = held["sampler"] | {"data_consistency": False}
    held["frame"] = held["frame"] | {"spacing_wavelengths": 0.25}
    recipe = WavefieldModel(**from_format_1(held))
    assert not recipe.sampler.data_consistency
    assert recipe.frame.spacing_wavelengths == 0.25
    assert DiffusionModel(**from_format_1({"name": "short", "model": "cddim-tiny"})).name == "short"
    with pytest.raises(InputError, match=r"predictor.sampler.steps = 7: does not apply to this method"):
        from_format_1(held | {"sampler": FORMAT_1["sampler"] | {"steps": 7}})
    with pytest.raises(InputError, match=r"predictor.latent = True: does not apply"):
        from_format_1(held | {"latent": True})
