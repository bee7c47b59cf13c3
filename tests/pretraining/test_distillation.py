from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from channelfm.diffusion import DiffusionRecipe, SamplerRecipe, levels, sample, sampling_steps, step_target
from channelfm.errors import InputError
from channelfm.pretraining.distillation import Teacher, distillation_loss, student_steps
from channelfm.pretraining.views import FrameBatch

RECIPE = DiffusionRecipe(prediction="sample")
SHAPE = (6, 4, 4, 2)


def drawn(seed=0):
    generator = torch.Generator().manual_seed(seed)
    clean = 0.5 * torch.randn(SHAPE, generator=generator) + 1
    mask = torch.rand(SHAPE[:3], generator=generator) < 0.3
    return FrameBatch(
        clean=clean,
        observed=torch.where(mask[..., None], clean, 0),
        mask=mask,
        noise=torch.randn(SHAPE, generator=generator),
        step=torch.randint(0, 1000, SHAPE[:1], generator=generator),
        weight=torch.ones(SHAPE[0]),
    )


class Best(torch.nn.Module):
    """The best denoiser of independent Gaussian antennas of mean 1 and variance 0.25."""

    def __init__(self, recipe):
        super().__init__()
        self.recipe = recipe

    def forward(self, noisy, step, observed, mask):
        signal, sigma = (level.to(noisy.dtype) for level in levels(self.recipe, step, noisy))
        clean = 1 + 0.25 * signal / (0.25 * signal**2 + sigma**2) * (noisy - signal)
        noise = (noisy - signal * clean) / sigma
        return {"epsilon": noise, "sample": clean, "v_prediction": signal * noise - sigma * clean}[
            self.recipe.prediction
        ]


class Jump(torch.nn.Module):
    """Answers with the clean sample that leads, within each of ``count`` equal steps, where the teacher leads."""

    def __init__(self, teacher, count):
        super().__init__()
        self.teacher, self.timeline = teacher, sampling_steps(teacher.diffusion, teacher.steps)
        self.each = teacher.steps // count

    def forward(self, noisy, step, observed, mask):
        answer = torch.empty_like(noisy)
        for number in range(len(noisy)):
            one = slice(number, number + 1)
            first = self.timeline.index(int(step[number]))
            state = noisy[one]
            for now, then in pairwise(self.timeline[first : first + self.each + 1]):
                clean = self.teacher.network(state, torch.tensor([now]), observed[one], mask[one])
                clean = torch.where(mask[one, ..., None], observed[one], clean)
                signal, sigma = levels(RECIPE, torch.tensor([now]), state)
                signal_after, sigma_after = levels(RECIPE, torch.tensor([then]), state)
                state = (signal_after * clean + sigma_after / sigma * (state - signal * clean)).float()
            ends = torch.tensor([then])
            answer[one] = step_target(RECIPE, noisy[one], state, step[one], ends)
        return answer


class Affine(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain, self.offset = (torch.nn.Parameter(torch.zeros(SHAPE[1:])) for _ in range(2))

    def forward(self, noisy, step, observed, mask):
        return self.gain * noisy + self.offset


def test_a_student_that_knows_the_sampled_end_has_no_loss():
    # One step from noise: the target is exactly what the teacher's own sampler returns in use.
    teacher, batch = Teacher(Best(RECIPE), RECIPE, 8), drawn()

    def ends(noisy, step, observed, mask):
        assert (step == 999).all()
        return sample(
            lambda state, now: teacher.network(state, now, observed, mask),
            RECIPE,
            SamplerRecipe(steps=8),
            noisy,
            observed,
            mask[..., None],
        )

    assert distillation_loss(ends, teacher, RECIPE, 1, batch) < 1e-10
    assert distillation_loss(teacher.network, teacher, RECIPE, 1, batch) > 1e-3


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_target_of_every_number_of_steps(count):
    teacher, batch = Teacher(Best(RECIPE), RECIPE, 8), drawn()
    assert distillation_loss(Jump(teacher, count), teacher, RECIPE, count, batch) < 1e-9


def test_samples_start_at_the_step_that_holds_theirs():
    batch, visited = replace(drawn(), step=torch.tensor([999, 750, 749, 250, 249, 0])), []

    def student(noisy, step, observed, mask):
        visited.append(step.tolist())
        return noisy

    distillation_loss(student, Teacher(Best(RECIPE), RECIPE, 8), RECIPE, 4, batch)
    assert visited == [[999, 999, 749, 499, 249, 249]]


def test_a_network_teaches_itself_nothing_at_its_own_steps():
    network = Best(RECIPE)
    assert distillation_loss(network, Teacher(network, RECIPE, 4), RECIPE, 4, drawn()) < 1e-10


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_what_the_teacher_predicts_does_not_matter(prediction):
    other = DiffusionRecipe(prediction=prediction, noise_skew=2)
    losses = [
        distillation_loss(Affine(), Teacher(Best(recipe), recipe, 8), RECIPE, 2, drawn()) for recipe in (RECIPE, other)
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=0)


def test_gradients_reach_the_student_alone_and_not_through_observed_antennas():
    batch, student, teacher = drawn(), Affine(), Affine()
    torch.nn.init.ones_(teacher.offset)
    batch = replace(batch, mask=batch.mask[:1].expand_as(batch.mask))
    distillation_loss(student, Teacher(teacher, RECIPE, 4), RECIPE, 2, batch).backward()
    assert teacher.gain.grad is None
    assert (student.gain.grad[batch.mask[0]] == 0).all()
    assert (student.gain.grad[~batch.mask[0]] != 0).all()
    student.zero_grad()
    distillation_loss(student, Teacher(teacher, RECIPE, 4), RECIPE, 2, batch, data_consistency=False).backward()
    assert (student.gain.grad != 0).all()


def test_samples_count_by_their_weight():
    batch, teacher = drawn(), Teacher(Best(RECIPE), RECIPE, 4)
    alone = [
        distillation_loss(Affine(), teacher, RECIPE, 2, replace(batch, weight=torch.eye(SHAPE[0])[n])) for n in (0, 1)
    ]
    both = replace(batch, weight=torch.tensor([1.0, 2, 0, 0, 0, 0]))
    torch.testing.assert_close(distillation_loss(Affine(), teacher, RECIPE, 2, both), alone[0] + 2 * alone[1])


def test_a_student_learns_the_map_of_all_steps_of_its_teacher():
    # For Gaussian antennas that map is affine in the noise, which the student can represent.
    recipe = DiffusionRecipe(prediction="v_prediction")
    teacher, student = Teacher(Best(recipe), recipe, 8), Affine()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
    for number in range(120):
        batch = drawn(number)
        loss = distillation_loss(
            student, teacher, RECIPE, 1, replace(batch, mask=torch.zeros_like(batch.mask)), data_consistency=False
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(SHAPE), torch.zeros(SHAPE[:3], dtype=torch.bool)

    def run(network, of, steps):
        with torch.no_grad():
            return sample(lambda state, step: network(state, step, *nothing), of, SamplerRecipe(steps=steps), noise)

    long, one, distilled = run(teacher.network, recipe, 8), run(teacher.network, recipe, 1), run(student, RECIPE, 1)
    assert (distilled - long).square().mean() < 1e-3
    assert (one - long).square().mean() > 0.05


def test_turns_of_the_numbers_of_steps():
    assert [student_steps(step, 4) for step in range(7)] == [1, 2, 4, 1, 2, 4, 1]
    assert {student_steps(step, 1) for step in range(5)} == {1}
    for wrong in (0, 3, 6):
        with pytest.raises(InputError, match="1, 2, 4, 8"):
            student_steps(0, wrong)


@pytest.mark.parametrize(
    ("student", "teacher", "steps", "message"),
    [
        (DiffusionRecipe(), RECIPE, 2, "few steps cannot work"),
        (RECIPE, DiffusionRecipe(prediction="sample", schedule="cosine"), 2, "another forward process"),
        (RECIPE, DiffusionRecipe(prediction="sample", steps=500), 2, "another forward process"),
        (RECIPE, RECIPE, 3, "no multiple"),
    ],
)
def test_what_cannot_be_distilled(student, teacher, steps, message):
    with pytest.raises(InputError, match=message):
        distillation_loss(Affine(), Teacher(Best(teacher), teacher, 8), student, steps, drawn())
