import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.recurrent import RecurrentPredictor

KINDS = ["lstm", "gru"]


def inputs(times=6, rows=8, cols=8, future=0, share=1.0, count=2):
    """Frames and what was seen: a share of every patch of the past (its first entry always), nothing of the future."""
    torch.manual_seed(0)
    seen = torch.rand(count, times, rows, cols) < share
    seen[:, :, ::4, ::4] = True
    seen[:, times - future :] = False
    return torch.randn(count, times, rows, cols, 2), seen


def awake(kind="lstm", **options):
    """A network whose output layer is not zero, as it is at the start of training."""
    torch.manual_seed(1)
    network = RecurrentPredictor(kind, width=24, layers=2, **options)
    torch.nn.init.normal_(network.project.weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("times", "rows", "cols"), [(6, 8, 8), (1, 4, 4), (2, 1, 9), (5, 7, 5)])
def test_any_size(kind, times, rows, cols):
    for future in {0, 1, times // 2}:
        frames, seen = inputs(times, rows, cols, future)
        output = awake(kind)(frames, seen)
        assert output.shape == frames.shape
        assert output.dtype == torch.float32
        assert torch.isfinite(output).all()


def test_untrained_it_is_sample_and_hold():
    frames, seen = inputs(future=3)
    output = RecurrentPredictor("gru", width=8, layers=1)(frames, seen)
    assert (output[:, 0] == 0).all()
    assert torch.equal(output[:, 1:3], frames[:, :2])
    assert torch.equal(output[:, 3:], frames[:, 2:3].expand(-1, 3, -1, -1, -1))


def test_untrained_it_holds_entries_of_patches_seen_in_part():
    frames, seen = inputs(share=0.5)
    output = RecurrentPredictor("lstm", width=8, layers=1)(frames, seen)
    held = torch.zeros_like(frames[:, 0])
    for time in range(5):
        held = torch.where(seen[:, time, ..., None], frames[:, time], held)
        assert torch.equal(output[:, time + 1], held)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_only_seen_entries_matter(kind, share):
    network = awake(kind)
    frames, seen = inputs(future=2, share=share)
    changed = torch.where(seen[..., None], frames, 100.0)
    assert torch.equal(network(frames, seen), network(changed, seen))


def test_every_frame_is_predicted_from_those_before_it():
    network = awake()
    frames, seen = inputs()
    changed = frames.clone()
    changed[:, 3] += 1
    difference = (network(changed, seen) - network(frames, seen)).abs().amax(dim=(0, 2, 3, 4))
    assert (difference[:4] == 0).all()
    assert (difference[4:] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (6, 5)])
def test_roll_out_is_teacher_forcing_with_its_own_predictions(kind, rows, cols):
    network = awake(kind)
    frames, seen = inputs(7, rows, cols, future=4)
    rolled = network(frames, seen)
    taught = network(torch.where(seen[..., None], frames, rolled), torch.ones_like(seen))
    torch.testing.assert_close(rolled, taught)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_patch_is_its_own_prediction(kind):
    # One patch is lost in the middle: it rolls out there, and its neighbours and the other sample do not notice.
    network = awake(kind)
    frames, seen = inputs(rows=4, share=0.6)
    whole = network(frames, seen)
    seen[0, 2, :, :4] = False
    output = network(frames, seen)
    torch.testing.assert_close(output[1], whole[1])
    torch.testing.assert_close(output[0, :, :, 4:], whole[0, :, :, 4:])
    filled, known = frames.clone(), seen.clone()
    filled[0, 2, :, :4], known[0, 2, :, :4] = output[0, 2, :, :4], True
    torch.testing.assert_close(network(filled, known), output)


def test_padding_is_as_good_as_entries_that_were_not_seen():
    network = awake()
    frames, seen = inputs(5, 6, 7)
    pad = torch.nn.functional.pad
    whole = network(pad(frames, (0, 0, 0, 1, 0, 2)), pad(seen, (0, 1, 0, 2)))
    torch.testing.assert_close(network(frames, seen), whole[:, :, :6, :7])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("future", [0, 3])
def test_gradients_reach_every_parameter(kind, future):
    network = awake(kind)
    network(*inputs(future=future)).square().mean().backward()
    assert all(weight.grad.abs().max() > 0 for weight in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16(kind):
    network, given = awake(kind), inputs(future=2, share=0.5)
    exact = network(*given)
    rough = network.to(torch.bfloat16)(*given)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_nothing_seen_at_all():
    frames, seen = inputs()
    output = awake()(frames, torch.zeros_like(seen))
    assert torch.isfinite(output).all()


@pytest.mark.parametrize(("kind", "parameters"), [("lstm", 847_904), ("gru", 637_984)])
def test_parameters(kind, parameters):
    assert sum(weight.numel() for weight in RecurrentPredictor(kind, 256, 2).parameters()) == parameters


def test_bad_options():
    with pytest.raises(InputError, match="lstm, gru"):
        RecurrentPredictor("rnn")
    with pytest.raises(InputError, match="at least 1"):
        RecurrentPredictor("gru", width=0)
