import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm.channels.transforms import angle_delay
from channelfm.errors import InputError
from channelfm.tokens.angle_delay import (
    SequenceShape,
    angle_delay_frames,
    from_angle_delay_frames,
    mirrored_past,
    observed_rms,
    phase_reference,
    sequence_frames,
    sequence_tokens,
    turning_error,
)


def sequences(count=2, frames=3, rows=2, cols=4, frequencies=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, frames, rows, cols, frequencies, dtype=torch.complex64, generator=generator)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 5)] * 5), st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_channels_come_back_from_their_tokens(shape, patch):
    channels = sequences(*shape)
    _, frames, rows, cols, frequencies = shape
    spectrum = angle_delay_frames(channels, frequencies)
    tokens = sequence_tokens(spectrum, patch)
    whole = SequenceShape(frames, rows * cols, frequencies)
    assert tokens.shape == (shape[0], np.prod(whole.token_grid(patch)), 2 * patch[0] * patch[1])
    back = from_angle_delay_frames(sequence_frames(tokens, whole, patch), rows, cols, frequencies)
    assert torch.allclose(back, channels, atol=1e-5)
    assert torch.allclose(spectrum.abs().square().sum(), channels.abs().square().sum(), rtol=1e-4)


def test_frames_are_the_angle_delay_spectra_of_single_snapshots():
    channels = sequences()
    frames = angle_delay_frames(channels, 8)
    for step in range(3):
        expected = angle_delay(channels[:, step].numpy()).reshape(2, 8, 8)
        assert np.allclose(frames[:, step].numpy(), expected, atol=1e-5)


def test_a_path_on_the_grid_is_one_entry_and_truncation_keeps_early_ones():
    # exp(-j 2 pi f tau) with tau of 2 bins, and 3 cycles over 8 columns
    ramp = torch.exp(2j * torch.pi * (3 * torch.arange(8)[:, None] / 8 - 2 * torch.arange(16) / 16))
    channels = ramp[None, None, None].repeat(1, 2, 1, 1, 1)
    frames = angle_delay_frames(channels, 4)
    assert frames.shape == (1, 2, 8, 4)
    expected = torch.zeros(8, 4)
    expected[3, 2] = np.sqrt(8 * 16)
    assert torch.allclose(frames[0, 0].abs(), expected, atol=1e-4)
    assert torch.allclose(from_angle_delay_frames(frames, 1, 8, 16), channels, atol=1e-5)
    late = torch.exp(-2j * torch.pi * 9 * torch.arange(16) / 16).expand(1, 1, 1, 8, 16)
    assert angle_delay_frames(late.contiguous(), 4).abs().max() < 1e-4


def test_tokens_are_ordered_by_time_angle_and_delay():
    frames = torch.arange(2 * 4 * 6, dtype=torch.float32).reshape(1, 2, 4, 6).to(torch.complex64)
    tokens = sequence_tokens(frames, (2, 3))
    assert tokens.shape == (1, 8, 12)
    assert tokens[0, :, 0].tolist() == [0, 3, 12, 15, 24, 27, 36, 39]
    assert tokens[0, 0].tolist() == [0, 0, 1, 0, 2, 0, 6, 0, 7, 0, 8, 0]


def test_samples_are_scaled_each_for_itself_and_silence_stays():
    frames = angle_delay_frames(sequences(), 8) * torch.tensor([5.0, 0.0])[:, None, None, None]
    everything = torch.ones(frames.shape, dtype=torch.bool)
    rms = observed_rms(frames, everything)
    scaled = frames / rms
    assert scaled[0].abs().square().mean() == pytest.approx(1.0, rel=1e-5)
    assert (scaled[1] == 0).all()
    assert rms[1] == 1
    half = everything.clone()
    half[:, ::2] = False
    louder = torch.where(half, frames, 7 * frames)
    assert torch.allclose(observed_rms(louder, half), observed_rms(frames, half))


@pytest.mark.parametrize(
    ("channels", "taps", "match"),
    [
        (sequences()[:, 0], 4, "sample, frame, row, col, frequency"),
        (sequences(frames=0), 4, "none of them empty"),
        (sequences().real, 4, "complex"),
        (sequences() * torch.nan, 4, "NaN"),
        (sequences(), 0, "1 to 8"),
        (sequences(), 9, "1 to 8"),
    ],
)
def test_what_is_no_sequence_is_refused(channels, taps, match):
    with pytest.raises(InputError, match=match):
        angle_delay_frames(channels, taps)


def test_frames_and_tokens_of_another_shape_are_refused():
    frames = angle_delay_frames(sequences(), 8)
    with pytest.raises(InputError, match="4 x 4 array"):
        from_angle_delay_frames(frames, 4, 4, 8)
    with pytest.raises(InputError, match="have 192 tokens"):
        sequence_frames(sequence_tokens(frames)[:, 1:], SequenceShape(3, 8, 8))
    with pytest.raises(InputError, match="at least 1"):
        sequence_tokens(frames, (0, 1))


def waves(count=2, frames=9):
    """One turning wave in each bin, complex64 [N, T, 3, 4]."""
    generator = torch.Generator().manual_seed(0)
    rate, start = 2 * torch.rand(2, count, 1, 3, 4, generator=generator) - 1
    phase = 2 * rate * torch.arange(frames).view(1, -1, 1, 1) + 3 * start
    return torch.polar(torch.rand(count, 1, 3, 4, generator=generator).expand_as(phase), phase)


def test_turning_waves_are_their_mirrored_past():
    frames = waves()
    seen = torch.ones(frames.shape, dtype=torch.bool)
    seen[:, 5:] = False
    guess, known = mirrored_past(frames, seen)
    assert torch.equal(known.any(1), seen.any(1))
    assert torch.allclose(guess[:, 5:], frames[:, 5:], atol=1e-5)
    assert not guess[:, :5].any()
    seen[0, :, 0, 0] = False  # never seen
    seen[0, 3, 1, 1] = False  # a gap, whose image is unknown
    guess, known = mirrored_past(torch.where(seen, frames, 7), seen)
    assert not known[0, :, 0, 0].any()
    assert not guess[0, :, 0, 0].any()
    assert guess[0, 5, 1, 1] == 0
    assert torch.allclose(guess[0, 6, 1, 1], frames[0, 6, 1, 1], atol=1e-5)


def test_how_evenly_bins_turn():
    frames = waves()
    seen = torch.ones(frames.shape, dtype=torch.bool)
    assert turning_error(frames, seen).max() < 1e-5
    generator = torch.Generator().manual_seed(3)
    noise = 0.01 * torch.randn(2, 400, 3, 4, generator=generator, dtype=torch.complex64)
    found = turning_error(waves(frames=400) + noise, torch.ones(noise.shape, dtype=torch.bool))
    assert torch.allclose(found, torch.full_like(found, 0.01 * 2**0.5), rtol=0.2)
    seen[:, 1::2] = False  # no two in a row
    assert not turning_error(frames, seen).any()


def test_frames_divided_by_their_reference_are_real_where_they_were_seen_last():
    frames = waves()
    seen = torch.ones(frames.shape, dtype=torch.bool)
    seen[:, 6:] = False
    seen[1, :, 2, 2] = False
    reference = phase_reference(frames, seen)
    assert torch.allclose(reference.abs(), torch.ones(()))
    turned = (frames / reference)[:, 5]
    assert torch.allclose(turned.imag[0], torch.zeros(()), atol=1e-6)
    assert (turned.real[0] > 0).all()
    assert reference[1, 0, 2, 2] == 1
