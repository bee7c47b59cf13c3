import itertools
import math

import diffusers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.diffusion import (
    CLEAN,
    DiffusionRecipe,
    SamplerRecipe,
    clean_estimate,
    ddim_step,
    draw_steps,
    levels,
    noise_sample,
    sample,
    sampling_steps,
    step_target,
)
from channelfm.errors import InputError

PREDICTIONS = ("epsilon", "sample", "v_prediction")
SAMPLERS = ("ddim", "dpm-solver++")
SCHEDULES = ("linear", "cosine")
CASES = list(itertools.product(PREDICTIONS, SAMPLERS, SCHEDULES))
SHAPE = (2, 4, 4, 2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def predict(recipe, noisy, clean, step):
    """What a network that takes ``clean`` for the clean sample says."""
    signal, sigma = (level.to(noisy.dtype) for level in levels(recipe, step, noisy))
    noise = (noisy - signal * clean) / sigma
    return {"epsilon": noise, "sample": clean, "v_prediction": signal * noise - sigma * clean}[recipe.prediction]


def perfect(recipe, clean):
    """The perfect network for one known clean sample."""
    return lambda noisy, step: predict(recipe, noisy, clean, step)


class Gaussian:
    """Independent Gaussian samples: the best denoiser and the flow from noise to samples are known in closed form."""

    def __init__(self, mean, variance):
        self.mean, self.variance = mean, variance

    def denoiser(self, recipe):
        def denoise(noisy, step):
            signal, sigma = levels(recipe, step, noisy)
            gain = self.variance * signal / (self.variance * signal**2 + sigma**2)
            return predict(recipe, noisy, self.mean + gain * (noisy - signal * self.mean), step)

        return denoise

    def flow(self, recipe, noise, following):
        """Where the probability flow takes ``noise`` from step T - 1: it keeps standard scores."""
        (first, spread), (last, narrow) = (
            self._marginal(recipe, step, noise) for step in (recipe.steps - 1, following)
        )
        return last + narrow / spread * (noise - first)

    def _marginal(self, recipe, step, like):
        signal, sigma = levels(recipe, torch.tensor([step]), like)
        return signal * self.mean, (self.variance * signal**2 + sigma**2).sqrt()


def gaussian():
    spread = torch.rand(1, 4, 4, 2, generator=generator(1), dtype=torch.float64)
    return Gaussian(normal(1, 4, 4, 2, dtype=torch.float64), 0.3 + 3 * spread)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_those_of_diffusers(schedule):
    recipe = DiffusionRecipe(schedule=schedule)
    theirs = diffusers.DDIMScheduler(**arguments(recipe)).alphas_cumprod
    signal, sigma = levels(recipe, torch.arange(-1, 1000), torch.zeros(1001))
    torch.testing.assert_close(signal[1:].square().float(), theirs, rtol=2e-4, atol=1e-9)
    torch.testing.assert_close(signal**2 + sigma**2, torch.ones(1001, dtype=torch.float64))
    assert (signal[0], sigma[0]) == (1, 0)
    assert signal[-1] < 0.01


def test_linear_schedule_is_ddpms():
    signal, _ = levels(DiffusionRecipe(), torch.arange(1000), torch.zeros(1000))
    expected = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    torch.testing.assert_close(signal**2, expected)
    assert signal[-1] ** 2 < 1e-4


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_target_and_clean_estimate_are_inverse(prediction, schedule):
    recipe = DiffusionRecipe(prediction=prediction, schedule=schedule)
    clean, noise = normal(2, 3, 4, 4, 2).unbind()
    step = torch.tensor([0, 400, 900])
    noisy, target = noise_sample(recipe, clean, noise, step)
    torch.testing.assert_close(clean_estimate(recipe, noisy, target, step), clean, atol=1e-3, rtol=1e-3)


def test_forward_process_has_unit_variance_and_the_right_signal():
    recipe = DiffusionRecipe()
    clean, noise = normal(2, 20_000, 1, 1, 1).unbind()
    step = torch.full((20_000,), 500)
    noisy, _ = noise_sample(recipe, clean, noise, step)
    assert noisy.var().item() == pytest.approx(1, abs=0.05)
    signal, _ = levels(recipe, step[:1], clean)
    assert (noisy * clean).mean().item() == pytest.approx(signal.item(), abs=0.03)


@given(total=st.integers(2, 2000), share=st.floats(0, 1))
def test_sampling_steps_go_down_evenly_from_noise_to_clean(total, share):
    recipe = DiffusionRecipe(steps=total)
    count = max(1, round(share * total))
    steps = sampling_steps(recipe, count)
    assert len(steps) == count + 1
    assert (steps[0], steps[-1]) == (total - 1, CLEAN)
    strides = [before - after for before, after in itertools.pairwise(steps)]
    assert min(strides) >= 1
    assert max(strides) - min(strides) <= 1
    for factor in (2, 3):
        if factor * count <= total:
            assert sampling_steps(recipe, factor * count)[::factor] == steps


@given(step=st.integers(1, 999), following=st.integers(-1, 998), schedule=st.sampled_from(SCHEDULES))
@settings(deadline=None)
def test_ddim_step_moves_along_the_line_between_clean_and_noise(step, following, schedule):
    recipe = DiffusionRecipe(schedule=schedule)
    clean, noise = normal(2, *SHAPE).unbind()
    step, following = torch.tensor([step, 999]), torch.tensor([min(following, step - 1), 400])
    noisy, expected = (noise_sample(recipe, clean, noise, which)[0] for which in (step, following))
    torch.testing.assert_close(ddim_step(recipe, noisy, clean, step, following), expected, atol=1e-5, rtol=1e-5)


@given(step=st.integers(1, 999), following=st.integers(-1, 998), schedule=st.sampled_from(SCHEDULES))
@settings(deadline=None)
def test_step_target_inverts_the_ddim_step(step, following, schedule):
    recipe = DiffusionRecipe(schedule=schedule)
    state, clean = normal(2, *SHAPE, dtype=torch.float64).unbind()
    step, following = torch.tensor([step, 999]), torch.tensor([min(following, step - 1), 400])
    after = ddim_step(recipe, state, clean, step, following)
    torch.testing.assert_close(step_target(recipe, state, after, step, following), clean)


def test_ddim_step_is_equation_13():
    recipe, states = DiffusionRecipe(), []

    def denoise(noisy, step):
        states.append((step, noisy))
        return 0.3 * noisy + 0.1

    sample(denoise, recipe, SamplerRecipe(steps=50), normal(1, 2, 2, 2))
    (now, state), (then, following) = states[10:12]
    assert now - then == 20
    kept, kept_after = (levels(recipe, step, state)[0].square().item() for step in (now, then))
    prediction = 0.3 * state + 0.1
    clean = (state - math.sqrt(1 - kept) * prediction) / math.sqrt(kept)
    torch.testing.assert_close(following, math.sqrt(kept_after) * clean + math.sqrt(1 - kept_after) * prediction)


@pytest.mark.parametrize(("prediction", "sampler", "schedule"), CASES)
def test_a_perfect_network_is_sampled_exactly(prediction, sampler, schedule):
    recipe = DiffusionRecipe(prediction=prediction, schedule=schedule)
    clean = normal(*SHAPE)
    for steps in (1, 2, 7, 10):
        result = sample(perfect(recipe, clean), recipe, SamplerRecipe(sampler=sampler, steps=steps), normal(*SHAPE))
        torch.testing.assert_close(result, clean, atol=2e-3, rtol=2e-3)


def arguments(recipe):
    return {
        "beta_schedule": {"linear": "linear", "cosine": "squaredcos_cap_v2"}[recipe.schedule],
        "beta_start": recipe.beta_start,
        "beta_end": recipe.beta_end,
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
    }


@pytest.mark.parametrize(("sampler", "schedule"), list(itertools.product(SAMPLERS, SCHEDULES)))
def test_samplers_are_those_of_diffusers_where_steps_divide_evenly(sampler, schedule):
    recipe = DiffusionRecipe(prediction="sample", schedule=schedule)
    theirs = {
        "ddim": lambda: diffusers.DDIMScheduler(**arguments(recipe), clip_sample=False),
        "dpm-solver++": lambda: diffusers.DPMSolverMultistepScheduler(**arguments(recipe), final_sigmas_type="zero"),
    }[sampler]()

    def denoise(noisy, step):
        return noisy.tanh() * (0.3 + step.reshape(-1, 1, 1, 1) / 2000)

    for steps in (1, 2, 4, 5, 20, 50):
        ours = sample(denoise, recipe, SamplerRecipe(sampler=sampler, steps=steps), normal(*SHAPE))
        theirs.set_timesteps(steps)
        state = normal(*SHAPE)
        for step in theirs.timesteps:
            state = theirs.step(denoise(state, step.expand(2)), step, state).prev_sample
        torch.testing.assert_close(ours, state, atol=5e-6, rtol=5e-6)


@pytest.mark.parametrize(("prediction", "sampler", "schedule"), CASES)
def test_samples_of_a_gaussian_approach_the_exact_flow(prediction, sampler, schedule):
    recipe, known = DiffusionRecipe(prediction=prediction, schedule=schedule), gaussian()
    noise = normal(1, 4, 4, 2, seed=2, dtype=torch.float64)
    exact = known.flow(recipe, noise, CLEAN)
    errors = [
        (sample(known.denoiser(recipe), recipe, SamplerRecipe(sampler=sampler, steps=steps), noise) - exact).norm()
        / exact.norm()
        for steps in (8, 50)
    ]
    limits = {"ddim": (0.2, 0.03), "dpm-solver++": (0.06, 0.003)}[sampler]
    assert errors[0] < limits[0]
    assert errors[1] < limits[1]


@pytest.mark.parametrize(
    ("sampler", "schedule", "order"),
    [
        ("ddim", "linear", pytest.approx(1, abs=0.03)),
        ("ddim", "cosine", pytest.approx(1, abs=0.03)),
        ("dpm-solver++", "linear", pytest.approx(2, abs=0.15)),
        # Log-SNR goes to -35 dB within the first step, which adds log(steps) to the error: 1.7 here.
        ("dpm-solver++", "cosine", pytest.approx(1.75, abs=0.15)),
    ],
)
def test_convergence_order(sampler, schedule, order):
    # Up to a quarter of the way from the clean sample: the jump to no noise at all is of first order in any sampler.
    recipe = DiffusionRecipe(prediction="sample", steps=1024, schedule=schedule)
    known, noise, end = gaussian(), normal(1, 4, 4, 2, seed=2, dtype=torch.float64), 255
    exact = known.flow(recipe, noise, end)

    def error(steps):
        visited = {}

        def denoise(noisy, step):
            visited[step.item()] = noisy
            return known.denoiser(recipe)(noisy, step)

        sample(denoise, recipe, SamplerRecipe(sampler=sampler, steps=steps), noise)
        return (visited[end] - exact).square().mean().sqrt().item()

    assert math.log2(error(64) / error(128)) == order


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_prediction_does_not_change_the_trajectory(sampler, schedule):
    known, noise, results = gaussian(), normal(1, 4, 4, 2, seed=2, dtype=torch.float64), []
    for prediction in PREDICTIONS:
        recipe = DiffusionRecipe(prediction=prediction, schedule=schedule)
        results.append(sample(known.denoiser(recipe), recipe, SamplerRecipe(sampler=sampler, steps=10), noise))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_data_consistency_keeps_what_was_observed(sampler):
    # 7, 16 and 600 do not divide 1000
    recipe, known = DiffusionRecipe(prediction="sample"), normal(*SHAPE, seed=1)
    mask = torch.rand(2, 4, 4, 1, generator=generator()) < 0.5
    for steps in (1, 5, 7, 16, 600):
        chosen = SamplerRecipe(sampler=sampler, steps=steps)
        result = sample(lambda noisy, _: noisy * 0.5, recipe, chosen, normal(*SHAPE), known, mask)
        assert torch.equal(torch.where(mask, result, 0), torch.where(mask, known, 0))
        assert not torch.allclose(torch.where(mask, 0, result), torch.where(mask, 0, known))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_corrected_estimate_steers_the_sampler(sampler):
    # Whatever the network says of them, observed antennas go straight from their noise to their values (eq. 10).
    recipe, known = DiffusionRecipe(prediction="sample"), normal(*SHAPE, seed=1, dtype=torch.float64)
    mask = torch.rand(2, 4, 4, 1, generator=generator()) < 0.5
    noise, visited = normal(*SHAPE, dtype=torch.float64), {}

    def denoise(noisy, step):
        visited[step[0].item()] = noisy
        return noisy.sin()

    sample(denoise, recipe, SamplerRecipe(sampler=sampler, steps=7), noise, known, mask)
    signal, sigma = levels(recipe, torch.tensor([999]), known)
    implied = (noise - signal * known) / sigma
    for step, state in visited.items():
        expected, _ = noise_sample(recipe, known, implied, torch.full((2,), step))
        torch.testing.assert_close(torch.where(mask, state, 0), torch.where(mask, expected, 0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_given_the_observation_approach_the_flow_of_the_posterior(sampler):
    # Pairs of antennas with correlation 0.8, one of each observed: posterior mean 0.8 known, variance 1 - 0.64.
    recipe, chosen = DiffusionRecipe(prediction="v_prediction"), SamplerRecipe(sampler=sampler, steps=100)
    known, noise = normal(2, *SHAPE, dtype=torch.float64).unbind()
    mask = (torch.arange(4) % 2 == 0)[:, None]
    posterior = Gaussian(0.8 * known[:, :, [0, 0, 2, 2]], torch.tensor(0.36, dtype=torch.float64))
    result = sample(posterior.denoiser(recipe), recipe, chosen, noise, known, mask)
    exact = torch.where(mask, known, posterior.flow(recipe, noise, CLEAN))
    torch.testing.assert_close(result, exact, atol={"ddim": 0.05, "dpm-solver++": 0.005}[sampler], rtol=0)


def test_sampling_is_deterministic_and_each_sample_its_own():
    recipe, noise = DiffusionRecipe(), normal(3, 4, 4, 2)

    def run(noise):
        return sample(lambda noisy, _: 0.2 * noisy, recipe, SamplerRecipe(steps=7), noise)

    assert torch.equal(run(noise), run(noise))
    assert torch.equal(run(noise)[1:2], run(noise[1:2]))


def test_type_of_the_state_is_kept():
    recipe = DiffusionRecipe(prediction="v_prediction")
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        result = sample(lambda noisy, _: 0.2 * noisy, recipe, SamplerRecipe(steps=3), normal(*SHAPE).to(dtype))
        assert result.dtype == dtype


def test_skewed_steps():
    uniform = torch.linspace(0, 0.99999, 10_000)
    assert draw_steps(DiffusionRecipe(), uniform).float().mean().item() == pytest.approx(499.5, abs=2)
    assert draw_steps(DiffusionRecipe(noise_skew=3), uniform).float().mean().item() == pytest.approx(750, abs=3)
    assert draw_steps(DiffusionRecipe(noise_skew=3), uniform).max() == 999


def test_too_many_steps():
    with pytest.raises(InputError, match="at most the 100"):
        sample(lambda noisy, _: noisy, DiffusionRecipe(steps=100), SamplerRecipe(steps=200), torch.randn(1, 2, 2, 2))
