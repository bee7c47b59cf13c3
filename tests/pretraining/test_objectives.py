"""Each objective learns; losses against what they are by hand."""

import pytest
import torch
from lightning_fabric import Fabric

from channelfm.diffusion import noise_sample
from channelfm.learned.recipe import MODELS
from channelfm.pretraining.feed import prepare
from channelfm.pretraining.learner import Learner
from channelfm.pretraining.objectives import (
    OBJECTIVES,
    diffusion_loss,
    fresh_networks,
    generated,
    regression_loss,
    weighted_mean,
)
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import ArraySource


class Constant(torch.nn.Module):
    """Answers one value everywhere, and keeps what it was given."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, noisy, step, observed, mask):
        self.given = noisy, step, observed, mask
        return torch.full_like(noisy, self.value)


@pytest.fixture
def batch(channels, make_recipe):
    return prepare(ArraySource(channels()), make_recipe(mask_ratio=(0.5, 0.5)), 0, range(4))


@pytest.mark.parametrize("kind", ["diffusion", "masked channel modelling", "masked autoencoder", "adversarial"])
def test_every_objective_lowers_its_loss(kind, channels, make_recipe, objective_values):
    recipe = make_recipe(learning_rate=3e-3, mask_ratio=(0.5, 0.5), **objective_values[kind])
    learner = Learner(Fabric(accelerator="cpu", devices=1), recipe, fresh_networks(recipe))
    source = ArraySource(channels(64))
    unseen = prepare(source, recipe, 10_000, range(32))

    def error():
        network = learner.networks["network"]
        with torch.no_grad():
            if kind == "diffusion":
                return diffusion_loss(network, recipe, unseen).item()
            answer = generated(network, recipe, unseen)
            return weighted_mean((answer - unseen.clean).square().mean((1, 2, 3)), unseen).item()

    before = error()
    for step in range(60):
        learner.set_learning_rate(1.0)
        values = OBJECTIVES[recipe.objective.kind].step(learner, prepare(source, recipe, step, range(8)))
        learner.state.step += 1
    assert set(values) >= {"loss", "gradient_norm"}
    assert error() < 0.5 * before


def test_the_critic_learns_to_tell_generated_channels(channels, make_recipe, objective_values):
    recipe = make_recipe(learning_rate=1e-9, **objective_values["adversarial"])  # a generator that stays bad
    recipe = recipe.model_copy(update={"objective": recipe.objective.model_copy(update={"critic_learning_rate": 3e-3})})
    learner = Learner(Fabric(accelerator="cpu", devices=1), recipe, fresh_networks(recipe))
    source, losses = ArraySource(channels(64)), []
    for step in range(60):
        values = OBJECTIVES["adversarial"].step(learner, prepare(source, recipe, step, range(8)))
        losses.append(values["critic"].item())
    assert losses[0] == pytest.approx(2.0, abs=0.5)  # undecided: hinge losses of 1 for each
    assert sum(losses[-5:]) / 5 < 1.2


def test_diffusion_loss_by_hand(batch, make_recipe):
    recipe, network = make_recipe(), Constant(0.25)
    noisy, target = noise_sample(recipe.predictor.diffusion, batch.clean, batch.noise, batch.step)
    wanted = ((target - 0.25).square().mean((1, 2, 3)) * batch.weight).mean()
    assert torch.allclose(diffusion_loss(network, recipe, batch), wanted)
    assert torch.equal(network.given[0], noisy)
    assert torch.equal(network.given[2], batch.observed)


def test_regression_counts_all_antennas_or_the_hidden_ones(batch, make_recipe):
    one_shot = {"predictor_method": "one-shot"}
    whole = make_recipe(objective={"kind": "regression"}, **one_shot)
    hidden = make_recipe(objective={"kind": "regression", "hidden_only": True}, **one_shot)
    error = batch.clean.square().mean(-1)
    assert torch.allclose(regression_loss(Constant(0.0), whole, batch), (error.mean((1, 2)) * batch.weight).mean())
    by_sample = torch.stack([e[~m].mean() for e, m in zip(error, batch.mask, strict=True)])
    assert torch.allclose(regression_loss(Constant(0.0), hidden, batch), (by_sample * batch.weight).mean())
    everything = type(batch)(**(vars(batch) | {"mask": torch.ones_like(batch.mask)}))
    assert regression_loss(Constant(0.0), hidden, everything) == 0


def test_one_shot_networks_start_from_zeros_or_noise_at_step_0(batch, make_recipe):
    for latent, start in ((False, torch.zeros_like(batch.noise)), (True, batch.noise)):
        network = Constant(0.0)
        recipe = make_recipe(objective={"kind": "regression"}, predictor_method="one-shot", predictor_latent=latent)
        generated(network, recipe, batch)
        assert torch.equal(network.given[0], start)
        assert (network.given[1] == 0).all()


def test_every_kind_of_recipe_has_its_objective():
    members = PretrainRecipe.model_fields["objective"].annotation.__args__
    assert set(OBJECTIVES) == {member.model_fields["kind"].default for member in members}
    assert {member.method for member in members} == set(MODELS)
