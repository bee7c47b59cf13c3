"""Sources of training channels: sub-arrays, rolls, frequencies, several data sets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from channelfm.channels.compact import expand
from channelfm.errors import InputError
from channelfm.pretraining.recipe import SourceRecipe
from channelfm.pretraining.source import ArraySource, PathSource, View

CPU = torch.device("cpu")
SIDE = 16


@pytest.fixture(scope="module")
def part(path_parts):
    return path_parts(side=SIDE, position=(3.0, 4.0, 20.0), orientation_rad=(0.4, 0.1, 0.0))


def seen(source, links, view, offset_s=0.0):
    links = np.atleast_1d(links)
    return source.channels(links, view, np.full(len(links), offset_s), CPU)


def nmse_db(estimate, truth):
    return 10 * np.log10(float((estimate - truth).abs().square().sum() / truth.abs().square().sum()) + 1e-20)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, SIDE),
    cols=st.integers(1, SIDE),
    place=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
)
def test_a_sub_array_of_paths_is_a_slice_of_the_whole(part, rows, cols, place):
    whole = expand(part[1]).reshape(-1, SIDE, SIDE)
    view = View((rows, cols), place)
    row, col = view.corner(SIDE, SIDE)
    assert 0 <= row <= SIDE - rows
    assert 0 <= col <= SIDE - cols
    cut = whole[:, row : row + rows, col : col + cols]
    assert nmse_db(seen(PathSource([part]), np.arange(10), view), cut) < -90
    from_array = ArraySource(whole.numpy()[..., None])
    assert torch.equal(seen(from_array, np.arange(10), view), cut)


def test_both_ends_of_the_aperture_are_reached():
    corners = {View((4, 4), (u, u)).corner(SIDE, SIDE) for u in np.linspace(0, 0.999, 200)}
    assert corners == {(k, k) for k in range(SIDE - 4 + 1)}


def test_a_quarter_turn_turns_the_grid(part):
    whole = expand(part[1]).reshape(-1, SIDE, SIDE)
    turned = seen(PathSource([part]), np.arange(10), View((SIDE, SIDE), (0.5, 0.5), roll_rad=np.pi / 2))
    # rolled by +90 degrees, columns run along +z and rows along -y
    assert nmse_db(turned, whole.transpose(1, 2).flip(1)) < -60


def test_a_roll_stays_within_the_aperture_or_is_left_out(part):
    source = PathSource([part])
    for place in ((0.0, 0.0), (0.99, 0.3)):
        assert seen(source, 0, View((11, 11), place, roll_rad=np.pi / 4)).abs().min() > 0
    whole = View((SIDE, SIDE), roll_rad=np.pi / 4)  # does not fit
    assert torch.equal(seen(source, 0, whole), seen(source, 0, View((SIDE, SIDE))))


def test_frequency_and_time_are_those_of_the_expansion(part):
    view = View((SIDE, SIDE), detune_hz=40e6)
    found = seen(PathSource([part]), np.arange(10), view, offset_s=1e-3)
    wanted = expand(part[1], frequencies_hz=[7.04e9], offset_s=1e-3).reshape(-1, SIDE, SIDE)
    assert nmse_db(found, wanted) < -80
    assert nmse_db(found, expand(part[1]).reshape(-1, SIDE, SIDE)) > -10


def test_several_arrays_and_polarisations_in_one_source(part, path_parts):
    dual, large = path_parts(count=3, seed=1, polarization="VH"), path_parts(count=2, side=20, seed=2)
    source = PathSource([part, dual, large])
    assert len(source) == 10 + 2 * 3 + 2
    assert source.size == (SIDE, SIDE)
    found = seen(source, np.arange(len(source)), View((SIDE, SIDE)))
    assert torch.allclose(found[:10], expand(part[1]).reshape(-1, SIDE, SIDE), atol=1e-9)
    both = expand(dual[1]).reshape(3, 2, SIDE, SIDE)
    assert torch.allclose(found[10:16], both.flatten(0, 1), atol=1e-9)
    assert torch.allclose(found[16:], expand(large[1]).reshape(2, 20, 20)[:, :SIDE, :SIDE], atol=1e-9)
    assert found[12].abs().max() > 1.5 * found[13].abs().max()  # the second polarisation is weaker
    again = seen(source, [15, 3], View((SIDE, SIDE)))
    assert torch.allclose(again, found[[15, 3]], atol=1e-9)


def test_links_without_a_path_are_left_out(channels, path_parts):
    grid = channels()
    grid[::2] = 0
    assert len(ArraySource(grid)) == 6
    with pytest.raises(InputError, match="no training channel"):
        ArraySource(np.zeros((3, 8, 8, 1), np.complex64))
    nothing = path_parts(count=4, seen=False)
    with pytest.raises(InputError, match="no training channel"):
        PathSource([nothing])
    assert len(PathSource([nothing, path_parts(count=3)])) == 3


def test_fingerprints_tell_sources_apart(channels, part, path_parts):
    sources = [ArraySource(channels()), ArraySource(channels(seed=1)), PathSource([part])]
    sources.append(PathSource([path_parts(seed=5)]))
    assert len({source.fingerprint() for source in sources}) == 4
    assert PathSource([part]).fingerprint() == PathSource([part]).fingerprint()


def test_what_a_source_cannot_give_is_refused(channels, part, make_recipe):
    with pytest.raises(InputError, match="9 x 8 does not fit"):
        ArraySource(channels()).check(make_recipe(source={"arrays": ((9, 8),)}))
    with pytest.raises(InputError, match=r"source\.roll_deg"):
        ArraySource(channels()).check(make_recipe(source={"roll_deg": 10}))
    with pytest.raises(InputError, match="spacing_wavelengths"):
        PathSource([part]).check(make_recipe(predictor_frame={"spacing_wavelengths": 0.25}))
    everything = {"arrays": ((8, 8),), "roll_deg": 10, "bandwidth_hz": 1e6, "latest_s": 1}
    PathSource([part]).check(make_recipe(source=everything))


@pytest.mark.parametrize(
    "values",
    [
        {"arrays": [[0, 4]]},
        {"arrays": [[4, 4]], "array_weights": [1, 2]},
        {"arrays": [[4, 4]], "array_weights": [0]},
        {"snr_db": [20, 10]},
    ],
)
def test_recipe_of_a_source_refuses_bad_values(values):
    with pytest.raises(ValidationError):
        SourceRecipe(**values)
