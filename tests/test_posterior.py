"""Samplers against what is known exactly: conditional means of Gaussian mixtures through any linear operator."""

import math

import pytest
import torch

from channelfm.posterior import (
    Measured,
    average_velocity_target,
    geometric,
    guided,
    langevin,
    one_step,
    projected,
    truncated,
)

LENGTH, LINKS = 6, 64


def normal(*shape, seed):
    return torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


class Mixture:
    """A mixture of complex Gaussians, with its conditional means through any matrix in closed form."""

    def __init__(self, components, seed=0):
        roots = normal(components, LENGTH, 3, seed=seed)
        covariances = roots @ roots.mH + 0.05 * torch.eye(LENGTH)
        scale = covariances.diagonal(dim1=1, dim2=2).real.mean(1)
        self.covariances = covariances / scale[:, None, None]
        self.eigenvalues, self.eigenvectors = torch.linalg.eigh(self.covariances)

    def draw(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        which = torch.randint(len(self.covariances), (count,), generator=generator)
        roots = torch.linalg.cholesky(self.covariances)
        return (roots[which] @ normal(count, LENGTH, 1, seed=seed + 1))[..., 0]

    def mean(self, matrix, values, noise):
        """E[x | values = matrix x + white noise]: every component's linear estimate, as likely as it is."""
        identity = torch.eye(len(matrix))
        own = matrix @ self.covariances @ matrix.mH + noise[:, None, None, None] * identity
        solved = torch.linalg.solve(own, values[:, None, :, None].expand(-1, own.shape[1], -1, -1))
        energy = (values[:, None].conj() * solved[..., 0]).real.sum(2)
        likely = (-energy - torch.linalg.slogdet(own)[1]).softmax(1)
        means = (self.covariances @ matrix.mH @ solved)[..., 0]
        return (likely[..., None] * means).sum(1)

    def denoise(self, noisy, sigma):
        """E[x | x + sigma n], as :meth:`mean` has it for the identity, without a solve."""
        own = self.eigenvalues + sigma.square()[:, None, None]
        inside = torch.einsum("kij,ni->nkj", self.eigenvectors.conj(), noisy)
        likely = (-(inside.abs().square() / own).sum(2) - own.log().sum(2)).softmax(1)
        means = torch.einsum("kij,nkj->nki", self.eigenvectors, inside * self.eigenvalues / own)
        return (likely[..., None] * means).sum(1)


def measurement(mixture, rows, noise=0.1):
    matrix = normal(rows, LENGTH, seed=5) / math.sqrt(LENGTH)
    clean = mixture.draw(LINKS, 7)
    told = torch.full((LINKS,), noise, dtype=torch.float64)
    values = clean @ matrix.mT + math.sqrt(noise) * normal(LINKS, rows, seed=9)
    norm = float(torch.linalg.svdvals(matrix)[0] ** 2)
    measured = Measured(values, lambda x: x @ matrix.mT, lambda y: y @ matrix.conj(), told, norm)
    return clean, measured, mixture.mean(matrix, values, told)


def drawing(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.randn(like.shape, dtype=like.dtype, generator=generator)


def error(answer, exact):
    return float((answer - exact).abs().square().sum() / exact.abs().square().sum())


def noisy_pilots(mixture, sigma=0.4):
    clean = mixture.draw(LINKS, 3)
    return clean, clean + sigma * normal(LINKS, LENGTH, seed=4), torch.full((LINKS,), sigma, dtype=torch.float64)


def levels_from(sigma, count):
    return geometric(1.0, 1e-3, count)[:, None] * sigma


def test_one_truncated_step_is_the_conditional_mean_of_a_mixture():
    mixture = Mixture(3)
    _, noisy, sigma = noisy_pilots(mixture)
    exact = mixture.mean(torch.eye(LENGTH, dtype=noisy.dtype), noisy, sigma.square())
    answer = truncated(mixture.denoise, noisy, torch.stack([sigma, 0 * sigma]))
    torch.testing.assert_close(answer, exact)


def test_many_truncated_steps_end_at_the_lmmse_estimate_of_a_gaussian_and_near_the_mean_of_a_mixture():
    for components, most in ((1, 1e-4), (3, 0.02)):
        mixture = Mixture(components)
        _, noisy, sigma = noisy_pilots(mixture)
        exact = mixture.denoise(noisy, sigma)
        assert error(truncated(mixture.denoise, noisy, levels_from(sigma, 300)), exact) < most


@pytest.mark.parametrize(("condition", "most"), [(guided, 0.05), (projected, 0.15)])
def test_conditioning_ends_near_the_posterior_mean_of_a_mixture(condition, most):
    mixture = Mixture(3)
    _, measured, exact = measurement(mixture, rows=4, noise=0.01)
    start = 30 * normal(LINKS, LENGTH, seed=1)
    levels = geometric(30.0, 1e-2, 60)[:, None].expand(-1, LINKS)
    assert error(truncated(condition(mixture.denoise, measured, 6), start, levels), exact) < most
    assert error(truncated(mixture.denoise, start, levels), exact) > 0.5


def test_guidance_is_exact_for_gaussians_from_pure_noise():
    mixture = Mixture(1)
    _, measured, exact = measurement(mixture, rows=4)
    sigma = torch.full((LINKS,), 1e4, dtype=torch.float64)
    answer = guided(mixture.denoise, measured, 20)(torch.zeros_like(exact), sigma)
    torch.testing.assert_close(answer, exact, rtol=1e-3, atol=1e-3)


def test_langevin_ends_at_the_exact_posterior_mean_of_a_mixture():
    mixture = Mixture(2)
    _, measured, exact = measurement(mixture, rows=4, noise=0.2)
    chains = 8
    values, noise = measured.values.repeat(chains, 1), measured.noise.repeat(chains)
    many = Measured(values, measured.forward, measured.adjoint, noise, measured.norm)
    levels = geometric(3.0, 0.1, 8)[:-1].tolist()
    start = 3 * normal(chains * LINKS, LENGTH, seed=2)
    answer = langevin(mixture.denoise, many, start, levels, 60, 0.8, drawing(0))
    mean = answer.reshape(chains, LINKS, LENGTH).mean(0)
    # The mean over chains errs by the posterior's variance over their number.
    chance = float((answer.reshape(chains, LINKS, LENGTH) - mean).abs().square().sum()) / (chains - 1) / chains
    assert error(mean, exact) < 2 * chance / float(exact.abs().square().sum()) + 0.01


def test_langevin_is_as_deterministic_as_its_noise():
    mixture = Mixture(2)
    _, measured, _ = measurement(mixture, rows=4)
    start = normal(LINKS, LENGTH, seed=2)
    first, again = (langevin(mixture.denoise, measured, start, [1.0, 0.3], 4, 0.3, drawing(3)) for _ in "ab")
    torch.testing.assert_close(first, again, rtol=0, atol=0)


VARIANCE = 0.7


def flowed(noisy, sigma, until):
    return noisy * ((VARIANCE + until.square()) / (VARIANCE + sigma.square())).sqrt()[:, None]


def gaussian_average(noisy, sigma, until):
    span = (sigma - until)[:, None]
    return (noisy - flowed(noisy, sigma, until)) / span


def test_one_step_of_the_average_velocity_ends_where_many_small_steps_do():
    sigma = torch.full((8,), 1.3, dtype=torch.float64)
    noisy = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state, count = noisy, 4000
    for step in range(count):
        now = sigma * (1 - step / count)
        velocity = state * (now / (VARIANCE + now.square()))[:, None]  # (noisy - mean) / sigma
        state = state - velocity * (sigma / count)[:, None]
    torch.testing.assert_close(one_step(gaussian_average, noisy, sigma), state, rtol=1e-3, atol=1e-3)


def test_the_exact_average_velocity_is_its_own_target():
    sigma, until = (torch.full((8,), level, dtype=torch.float64) for level in (1.3, 0.4))
    noisy = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direction = noisy * (sigma / (VARIANCE + sigma.square()))[:, None]
    answer, target = average_velocity_target(gaussian_average, noisy, direction, sigma, until)
    torch.testing.assert_close(answer, target)
