"""Sparse attention against dense attention under the same mask, and through PyTorch's machinery."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from channelfm.errors import InputError
from channelfm.ops import compiled
from channelfm.ops.neighbourhood import Neighbourhood, Routing, attention_mask, count_neighbours
from channelfm.ops.rotary import flat_rotation, rotate
from channelfm.ops.ssta import sparse_attention

CASES = [
    # grid, heads, width, neighbourhood
    ((3, 4, 5), 2, 4, Neighbourhood()),
    ((4, 3, 18), 3, 5, Neighbourhood((0, 2), (1, 3), (0.5, 2.0))),
    ((6, 5, 33), 8, 4, Neighbourhood()),
    ((5, 2, 3), 4, 16, Neighbourhood((1, 1), (1, 2), (1.0, 0.0), causal=True)),
    ((1, 7, 1), 1, 8, Neighbourhood((2, 2), ())),
    ((7, 1, 1), 5, 3, Neighbourhood((0, 0), (6,), (3.0, 3.0))),
]


def _dense(query, key, value, grid, neighbourhood, cls=False):
    return F.scaled_dot_product_attention(query, key, value, attention_mask(neighbourhood, grid, cls=cls))


def _dense_routed(query, key, value, grid, neighbourhood, cls, routing):
    """Masked dense attention to the K_r largest logits of every query, and to [CLS]; and for which queries [...,1] this
    choice is no matter of rounding."""
    mask, first = attention_mask(neighbourhood, grid, cls=cls), int(cls)
    logits = query @ key.mT / query.shape[-1] ** 0.5
    seen, clear = mask.expand_as(logits).clone(), torch.ones_like(logits[..., :1], dtype=torch.bool)
    kept = routing.kept(count_neighbours(neighbourhood.boxes, grid)).tolist()
    for token, number in enumerate(kept, first):
        own = logits[:, :, token, first:].masked_fill(~mask[token, first:], -torch.inf)
        values, order = own.sort(dim=-1, descending=True)
        seen[:, :, token, first:] = torch.zeros_like(own, dtype=torch.bool).scatter(-1, order[..., :number], True)
        if number < own.shape[-1]:
            clear[:, :, token, 0] = values[..., number - 1] - values[..., number] > 1e-5
    return logits.masked_fill(~seen, -torch.inf).softmax(-1) @ value, clear


def _same(actual, expected, inputs, tolerance):
    """Equal outputs, and equal gradients of all inputs."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)
    upper = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(actual, inputs, upper.to(actual.dtype)),
        torch.autograd.grad(expected, inputs, upper.to(expected.dtype)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cls", [False, True])
@pytest.mark.parametrize("routing", [None, Routing(0.2, 3, 20)], ids=["all", "routed"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_it_is_masked_dense_attention(draw, case, routing, cls, dtype) -> None:
    grid, heads, width, neighbourhood = CASES[case]
    inputs = draw(grid, heads=heads, width=width, batch=2, cls=cls, dtype=dtype)
    sparse = sparse_attention(*inputs, grid, neighbourhood, cls=cls, routing=routing)
    assert sparse.dtype == dtype
    if routing is None:
        dense, clear = _dense(*inputs, grid, neighbourhood, cls), 1
    else:
        dense, clear = _dense_routed(*inputs, grid, neighbourhood, cls, routing)
        assert clear.double().mean() > 0.99
    _same(sparse * clear, dense * clear, inputs, 1e-5 if dtype == torch.float32 else 1e-12)


@settings(deadline=None, max_examples=30)
@given(
    grid=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 20)),
    heads=st.integers(1, 6),
    width=st.integers(1, 9),
    neighbourhood=st.builds(
        Neighbourhood,
        radii=st.tuples(st.integers(0, 5), st.integers(0, 25)),
        offsets=st.sets(st.integers(1, 7), max_size=3).map(tuple),
        drift=st.tuples(st.floats(0, 3), st.floats(0, 3)),
        causal=st.booleans(),
    ),
    cls=st.booleans(),
    routed=st.booleans(),
)
def test_it_is_masked_dense_attention_for_any_grid(draw, grid, heads, width, neighbourhood, cls, routed) -> None:
    inputs = draw(grid, heads=heads, width=width, cls=cls, dtype=torch.float32)
    routing = Routing(0.3, 2, 10) if routed else None
    sparse = sparse_attention(*inputs, grid, neighbourhood, cls=cls, routing=routing)
    dense, clear = (
        _dense_routed(*inputs, grid, neighbourhood, cls, routing)
        if routed
        else (_dense(*inputs, grid, neighbourhood, cls), 1)
    )
    _same(sparse * clear, dense * clear, inputs, 1e-5)


@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_large_and_small_logits_stay_finite_and_right(draw, scale) -> None:
    grid, neighbourhood = (3, 4, 20), Neighbourhood()
    query, key, value = draw(grid, dtype=torch.float32)
    sparse = sparse_attention(query * scale, key * scale, value, grid, neighbourhood)
    exact = _dense(query.double() * scale, key.double() * scale, value.double(), grid, neighbourhood)
    torch.testing.assert_close(sparse.double(), exact, rtol=0, atol=1e-6 * max(1, scale**2))


def test_equal_logits_all_stay_when_routed(draw) -> None:
    grid, neighbourhood = (2, 3, 4), Neighbourhood()
    query, key, value = draw(grid)
    routed = sparse_attention(query * 0, key, value, grid, neighbourhood, routing=Routing(0.2, 1, 2))
    torch.testing.assert_close(routed, _dense(query * 0, key, value, grid, neighbourhood))


@pytest.mark.parametrize("routing", [None, Routing(0.3, 2, 9)], ids=["all", "routed"])
def test_what_is_no_number_spreads_to_all_who_see_it_and_no_further(draw, routing) -> None:
    grid, neighbourhood, broken = (4, 4, 20), Neighbourhood((1, 1), (1,)), 100
    mask = attention_mask(neighbourhood, grid)
    for place, reached in ((0, torch.arange(len(mask)) == broken), (2, mask[:, broken])):
        inputs = [tensor.detach().clone() for tensor in draw(grid, dtype=torch.float32)]
        inputs[place][:, :, broken] = torch.nan
        output = sparse_attention(*inputs, grid, neighbourhood, routing=routing)
        found = output.isnan().all(-1).all(1)[0]
        assert torch.equal(found, reached)


def test_what_is_no_neighbour_has_no_influence(draw) -> None:
    grid, neighbourhood = (6, 3, 4), Neighbourhood(causal=True)
    query, key, value = draw(grid, cls=True)
    changed = [tensor.detach().clone() for tensor in (query, key, value)]
    for tensor in changed:
        tensor[:, :, 1 + 3 * 12 :] += 1.0  # from the fourth frame on
    before = sparse_attention(query, key, value, grid, neighbourhood, cls=True)
    after = sparse_attention(*changed, grid, neighbourhood, cls=True)
    assert torch.equal(before[:, :, 1 : 1 + 3 * 12], after[:, :, 1 : 1 + 3 * 12])
    assert not torch.isclose(before[:, :, 0], after[:, :, 0]).any()


@pytest.mark.slow
@pytest.mark.parametrize("routing", [None, Routing(0.3, 2, 9)], ids=["all", "routed"])
@pytest.mark.parametrize("cls", [False, True])
def test_gradients_are_those_of_finite_differences(draw, cls, routing) -> None:
    grid, neighbourhood = (3, 2, 3), Neighbourhood((1, 1), (1, 2), (0.5, 1.0))
    inputs = draw(grid, width=3, cls=cls)

    def attend(*tensors):
        return sparse_attention(*tensors, grid, neighbourhood, cls=cls, routing=routing)

    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("kept", [None, torch.full((12,), 3, dtype=torch.int32)], ids=["all", "routed"])
def test_the_operator_keeps_the_promises_of_a_pytorch_operator(draw, kept) -> None:
    boxes = [number for box in Neighbourhood().boxes for number in box]
    cls = kept is not None
    arguments = (*draw((2, 2, 3), dtype=torch.float32, cls=cls), [2, 2, 3], boxes, kept, cls, cls)
    torch.library.opcheck(torch.ops.channelfm.ssta.default, arguments)


class Block(nn.Module):
    """A layer as a network would hold it: projections, rotary positions, attention."""

    def __init__(self, grid, cls=True, routing=None, width=16, heads=4) -> None:
        super().__init__()
        self.grid, self.cls, self.routing, self.heads = grid, cls, routing, heads
        self.project = nn.Linear(width, 3 * width)
        self.register_buffer("angles", flat_rotation(grid, width // heads, cls=cls))

    def forward(self, tokens):
        query, key, value = self.project(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(query, self.angles), rotate(key, self.angles)
        mixed = sparse_attention(query, key, value, self.grid, Neighbourhood(), cls=self.cls, routing=self.routing)
        return mixed.transpose(1, 2).flatten(2)


@pytest.fixture(params=[None, Routing(0.3, 2, 9)], ids=["all", "routed"])
def block(request):
    torch.manual_seed(0)
    return Block((3, 4, 5), routing=request.param)


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_without_breaks_in_its_graph(block) -> None:
    tokens = torch.randn(2, 61, 16)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    outcomes = []
    for network in (block, compiled):
        block.zero_grad()
        output = network(tokens)
        output.square().sum().backward()
        outcomes.append((output, block.project.weight.grad.clone()))
    torch.testing.assert_close(outcomes[1], outcomes[0])


def test_under_autocast_the_result_is_that_of_single_precision_to_bfloat16s_rounding(block) -> None:
    tokens = torch.randn(2, 61, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = block(tokens)
        output.float().sum().backward()
    assert output.dtype == torch.bfloat16
    assert torch.isfinite(block.project.weight.grad).all()
    if block.routing is None:  # rounding changes who is chosen
        torch.testing.assert_close(output.float(), block(tokens), rtol=0, atol=3e-2)


@pytest.mark.parametrize("library", [True, False], ids=["compiled", "plain"])
def test_autocast_leaves_single_precision_alone(draw, library, monkeypatch) -> None:
    if not library:
        monkeypatch.setattr(compiled, "library", lambda: None)
    grid, neighbourhood = (2, 3, 4), Neighbourhood()
    inputs = draw(grid, cls=True, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = sparse_attention(*inputs, grid, neighbourhood, cls=True)
        grads = torch.autograd.grad(output.sum(), inputs)
    expected = sparse_attention(*inputs, grid, neighbourhood, cls=True)
    assert torch.equal(output, expected)
    for grad, other in zip(grads, torch.autograd.grad(expected.sum(), inputs), strict=True):
        assert torch.equal(grad, other)


@pytest.mark.cuda
@pytest.mark.parametrize("routing", [None, Routing()], ids=["all", "routed"])
def test_on_a_gpu_it_is_what_it_is_on_the_processor(draw, routing) -> None:
    grid, neighbourhood = (6, 8, 32), Neighbourhood()
    inputs = draw(grid, heads=8, cls=True)  # float64: no choice is a matter of rounding
    there = [tensor.detach().cuda().requires_grad_() for tensor in inputs]
    results = []
    for tensors in (inputs, there):
        output = sparse_attention(*tensors, grid, neighbourhood, cls=True, routing=routing)
        grads = torch.autograd.grad(output.square().sum(), tensors)
        results.append([tensor.cpu() for tensor in (output, *grads)])
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-9)


def test_dtypes_that_differ_meet_in_the_widest(draw) -> None:
    grid = (2, 3, 4)
    query, key, value = draw(grid, dtype=torch.float32)
    output = sparse_attention(query, key, value.bfloat16(), grid, Neighbourhood())
    assert output.dtype == torch.float32
    rounded = value.bfloat16().float()
    torch.testing.assert_close(output, _dense(query, key, rounded, grid, Neighbourhood()))


def test_an_exported_network_holds_no_operator_of_ours_and_gives_the_same(block) -> None:
    tokens = torch.randn(2, 61, 16)
    exported = torch.export.export(block.eval(), (tokens,))
    assert "channelfm" not in str(exported.graph)
    torch.testing.assert_close(exported.module()(tokens), block(tokens))


@pytest.mark.parametrize(
    ("shape", "grid", "cls", "message"),
    [
        ((1, 2, 12, 4), (2, 2), False, "frames, rows and columns"),
        ((1, 2, 12, 4), (0, 2, 3), False, "at least 1"),
        ((1, 2, 12, 4), (2, 2, 4), False, "means 16"),
        ((1, 2, 12, 4), (2, 2, 3), True, "means 13"),
        ((2, 12, 4), (2, 2, 3), False, "one shape"),
        ((0, 2, 12, 4), (2, 2, 3), False, "at least one sequence"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, grid, cls, message) -> None:
    tokens = torch.zeros(shape)
    with pytest.raises(InputError, match=message):
        sparse_attention(tokens, tokens, tokens, grid, Neighbourhood(), cls=cls)


def test_tensors_that_do_not_fit_each_other_are_refused() -> None:
    tokens = torch.zeros(1, 2, 12, 4)
    with pytest.raises(InputError, match="one shape"):
        sparse_attention(tokens, tokens, tokens[..., :3], (2, 2, 3), Neighbourhood())
    with pytest.raises(InputError, match="int32"):
        sparse_attention(tokens.int(), tokens, tokens, (2, 2, 3), Neighbourhood())
    with pytest.raises(InputError, match="one device"):
        sparse_attention(tokens, tokens.to("meta"), tokens, (2, 2, 3), Neighbourhood())
