import itertools

import pytest
import torch

from channelfm.diffusion import DiffusionRecipe, SamplerRecipe, clean_estimate, draw_steps, noise_sample, sample
from channelfm.diffusion import training_scheduler as scheduler_of
from channelfm.errors import InputError

PREDICTIONS = ("epsilon", "sample", "v_prediction")


def oracle(recipe, clean):
    """The perfect network for one known clean sample."""
    kept = scheduler_of(recipe).alphas_cumprod

    def denoise(noisy, step):
        alpha = kept[step].reshape(-1, *[1] * (clean.ndim - 1))
        noise = (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        return {"epsilon": noise, "sample": clean, "v_prediction": velocity}[recipe.prediction]

    return denoise


def test_linear_schedule_is_ddpms():
    kept = scheduler_of(DiffusionRecipe()).alphas_cumprod
    expected = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    torch.testing.assert_close(kept, expected)
    assert kept[-1] < 1e-4


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_target_and_clean_estimate_are_inverse(prediction):
    recipe = DiffusionRecipe(prediction=prediction)
    clean, noise = torch.randn(2, 3, 4, 4, 2).unbind()
    for step in (0, 400, 900):
        noisy, target = noise_sample(recipe, clean, noise, torch.full((3,), step))
        torch.testing.assert_close(clean_estimate(recipe, noisy, target, step), clean, atol=1e-3, rtol=1e-3)


def test_forward_process_has_unit_variance_and_the_right_signal():
    recipe = DiffusionRecipe()
    clean, noise = torch.randn(2, 20_000, 1, 1, 1).unbind()
    noisy, _ = noise_sample(recipe, clean, noise, torch.full((20_000,), 500))
    kept = scheduler_of(recipe).alphas_cumprod[500]
    assert noisy.var().item() == pytest.approx(1, abs=0.05)
    assert (noisy * clean).mean().item() == pytest.approx(kept.sqrt().item(), abs=0.03)


@pytest.mark.parametrize(
    ("prediction", "sampler", "schedule"),
    list(itertools.product(PREDICTIONS, ("ddim", "dpm-solver++"), ("linear", "cosine"))),
)
def test_a_perfect_network_is_sampled_exactly(prediction, sampler, schedule):
    recipe = DiffusionRecipe(prediction=prediction, schedule=schedule)
    clean = torch.randn(2, 4, 4, 2)
    for steps in (2, 10):
        result = sample(
            oracle(recipe, clean), recipe, SamplerRecipe(sampler=sampler, steps=steps), torch.randn(2, 4, 4, 2)
        )
        torch.testing.assert_close(result, clean, atol=2e-3, rtol=2e-3)


def test_ddim_step_is_equation_13():
    recipe, noise = DiffusionRecipe(), torch.randn(1, 2, 2, 2)
    states = []

    def denoise(noisy, step):
        states.append((int(step[0]), noisy))
        return 0.3 * noisy + 0.1

    sample(denoise, recipe, SamplerRecipe(steps=50), noise)
    kept = scheduler_of(recipe).alphas_cumprod
    (now, state), (then, following) = states[10:12]
    assert now - then == 20
    prediction = 0.3 * state + 0.1
    clean = (state - (1 - kept[now]).sqrt() * prediction) / kept[now].sqrt()
    torch.testing.assert_close(following, kept[then].sqrt() * clean + (1 - kept[then]).sqrt() * prediction)


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_data_consistency_keeps_what_was_observed(sampler):
    recipe, known = DiffusionRecipe(prediction="sample"), torch.randn(2, 4, 4, 2)
    mask = torch.rand(2, 4, 4, 1) < 0.5
    for steps in (1, 5):
        result = sample(
            lambda noisy, _: noisy * 0.5,
            recipe,
            SamplerRecipe(sampler=sampler, steps=steps),
            torch.randn(2, 4, 4, 2),
            known,
            mask,
        )
        torch.testing.assert_close(torch.where(mask, result, 0), torch.where(mask, known, 0))
        assert not torch.allclose(torch.where(mask, 0, result), torch.where(mask, 0, known))


def test_sampling_is_deterministic():
    recipe, noise = DiffusionRecipe(), torch.randn(1, 4, 4, 2)
    first, second = (sample(lambda noisy, _: 0.2 * noisy, recipe, SamplerRecipe(steps=7), noise) for _ in range(2))
    assert torch.equal(first, second)


def test_skewed_steps():
    uniform = torch.linspace(0, 0.99999, 10_000)
    assert draw_steps(DiffusionRecipe(), uniform).float().mean().item() == pytest.approx(499.5, abs=2)
    assert draw_steps(DiffusionRecipe(noise_skew=3), uniform).float().mean().item() == pytest.approx(750, abs=3)
    assert draw_steps(DiffusionRecipe(noise_skew=3), uniform).max() == 999


def test_too_many_steps():
    with pytest.raises(InputError, match="at most the 100"):
        sample(lambda noisy, _: noisy, DiffusionRecipe(steps=100), SamplerRecipe(steps=200), torch.randn(1, 2, 2, 2))
