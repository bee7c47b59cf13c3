import numpy as np
import pytest
import torch

from channelfm.errors import InputError
from channelfm.models.lwm import (
    CLS,
    MASK,
    Lwm10,
    Lwm11,
    load_lwm_state,
    lwm10_patches,
    lwm11_patches,
    mask_patches,
)

VERSIONS = [(Lwm10, lwm10_patches), (Lwm11, lwm11_patches)]


def channels(count=2, antennas=32, subcarriers=32):
    torch.manual_seed(0)
    return torch.randn(count, antennas, subcarriers, dtype=torch.complex64) * 1e-6


def pseudo_weights(network, prefix=""):
    generator = torch.Generator().manual_seed(1)
    state = network.state_dict()
    return {prefix + key: 0.3 * torch.randn(weight.shape, generator=generator) for key, weight in state.items()}


def loaded(version):
    network = version().eval()
    load_lwm_state(network, pseudo_weights(network))
    return network


@pytest.mark.parametrize(("version", "parameters", "tensors"), [(Lwm10, 603_712, 227), (Lwm11, 2_470_304, 203)])
def test_counts_of_the_public_weights(version, parameters, tensors):
    state = version().state_dict()
    assert len(state) == tensors
    assert sum(weight.numel() for weight in state.values()) == parameters


def test_keys_and_shapes_of_the_public_weights():
    first, second = Lwm10().state_dict(), Lwm11().state_dict()
    shapes = {key: tuple(weight.shape) for key, weight in first.items()}
    assert shapes["embedding.proj.weight"] == (64, 16)
    assert shapes["embedding.pos_embed.weight"] == (129, 64)
    assert shapes["layers.11.enc_self_attn.W_Q.weight"] == (60, 64)
    assert shapes["layers.11.enc_self_attn.linear.weight"] == (64, 60)
    assert shapes["layers.0.pos_ffn.fc1.weight"] == (256, 64)
    assert shapes["decoder.weight"] == (16, 64)
    assert shapes["decoder_bias"] == (16,)
    unused = [key for key in first if ".enc_self_attn.norm." in key or ".pos_ffn.norm." in key]
    assert sum(first[key].numel() for key in unused) == 3072
    assert {"layers.3.norm1.alpha", "layers.3.norm2.bias", "norm.alpha", "linear.bias"} <= second.keys()
    assert tuple(second["embedding.pos_embed.weight"].shape) == (513, 128)


@pytest.mark.parametrize("version", [Lwm10, Lwm11])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_load_round_trip(version, prefix):
    network = version()
    given = pseudo_weights(network, prefix)
    load_lwm_state(network, given)
    assert all(torch.equal(weight, given[prefix + key]) for key, weight in network.state_dict().items())


def test_wrong_weights_are_named():
    network = Lwm11()
    before = {key: weight.clone() for key, weight in network.state_dict().items()}
    state = pseudo_weights(network)
    with pytest.raises(InputError, match=r"'layers.0.norm1.alpha' is missing"):
        load_lwm_state(network, {key: weight for key, weight in state.items() if "norm1" not in key})
    with pytest.raises(InputError, match=r"'layers.2.new' is unexpected"):
        load_lwm_state(network, {**state, "module.layers.2.new": torch.zeros(3)})
    with pytest.raises(InputError, match=r"'norm.bias' is \(64,\) instead of \(128,\)"):
        load_lwm_state(network, {**state, "norm.bias": torch.zeros(64)})
    with pytest.raises(InputError, match=r"v1.1 \(203 tensors; 227 are given\)"):
        load_lwm_state(network, pseudo_weights(Lwm10()))
    assert all(torch.equal(weight, before[key]) for key, weight in network.state_dict().items())


def test_patches_of_the_first_version():
    given = channels()
    patches = lwm10_patches(given)
    assert patches.shape == (2, 129, 16)
    assert (patches[:, 0] == CLS).all()
    numbers = given.numpy() * 1e6
    flat = np.concatenate([numbers.real.reshape(2, -1), numbers.imag.reshape(2, -1)], axis=1)
    np.testing.assert_allclose(patches[:, 1:].numpy().reshape(2, -1), flat, rtol=1e-6)


def test_patches_of_the_second_version():
    given = channels(1, 6, 9)
    patches = lwm11_patches(given)
    assert patches.shape == (1, 1 + 2 * 3, 32)
    assert (patches[:, 0] == CLS).all()
    woven = np.zeros((8, 24), np.float32)
    woven[:6, 0:18:2], woven[:6, 1:18:2] = given[0].real * 1e6, given[0].imag * 1e6
    wanted = [woven[4 * row : 4 * row + 4, 8 * col : 8 * col + 8].ravel() for row in range(2) for col in range(3)]
    np.testing.assert_allclose(patches[0, 1:].numpy(), wanted, rtol=1e-6)


def test_mask_patches_hides_what_it_is_told():
    patches = lwm10_patches(channels())
    hidden = mask_patches(patches, torch.tensor([[3, 128], [1, 2]]))
    changed = (hidden != patches).any(dim=-1)
    assert changed.nonzero().tolist() == [[0, 3], [0, 128], [1, 1], [1, 2]]
    assert (hidden[changed] == MASK).all()
    for position in (0, 129):
        with pytest.raises(InputError, match="give 1 to 128"):
            mask_patches(patches, torch.tensor([[position], [5]]))


def numpy_norm(tokens, weights, key):
    alpha, bias = weights[key + ".alpha"], weights[key + ".bias"]
    return alpha * (tokens - tokens.mean(-1, keepdims=True)) / (tokens.std(-1, keepdims=True, ddof=1) + 1e-6) + bias


def numpy_linear(tokens, weights, key):
    return tokens @ weights[key + ".weight"].T + weights[key + ".bias"]


def numpy_attention(tokens, weights, key, heads):
    query, keys, value = (numpy_linear(tokens, weights, f"{key}.W_{name}") for name in "QKV")
    size, out = query.shape[-1] // heads, []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        score = np.exp(query[:, part] @ keys[:, part].T / np.sqrt(size))
        out.append(score / score.sum(-1, keepdims=True) @ value[:, part])
    return numpy_linear(np.concatenate(out, -1), weights, key + ".linear")


def numpy_feed(tokens, weights, key):
    return numpy_linear(np.maximum(numpy_linear(tokens, weights, key + ".fc1"), 0), weights, key + ".fc2")


def numpy_first_version(tokens, weights, layer):
    tokens = tokens + numpy_attention(tokens, weights, layer + ".enc_self_attn", 12)
    tokens = numpy_norm(tokens, weights, layer + ".norm")
    return tokens + numpy_feed(tokens, weights, layer + ".pos_ffn")


def numpy_second_version(tokens, weights, layer):
    tokens = 2 * tokens + numpy_attention(tokens, weights, layer + ".enc_self_attn", 8)
    tokens = numpy_norm(tokens, weights, layer + ".norm1")
    return numpy_norm(tokens + numpy_feed(tokens, weights, layer + ".pos_ffn"), weights, layer + ".norm2")


@pytest.mark.parametrize(
    ("version", "patches_of", "block"),
    [(Lwm10, lwm10_patches, numpy_first_version), (Lwm11, lwm11_patches, numpy_second_version)],
)
def test_embedding_block_and_head_are_the_formulas(version, patches_of, block):
    network = loaded(version)
    weights = {key: weight.double().numpy() for key, weight in network.state_dict().items()}
    patches = patches_of(channels(1, 8, 8))
    tokens = numpy_linear(patches[0].double().numpy(), weights, "embedding.proj")
    tokens = numpy_norm(tokens + weights["embedding.pos_embed.weight"][: len(tokens)], weights, "embedding.norm")
    tokens = block(tokens, weights, "layers.0")
    network.layers = network.layers[:1]
    np.testing.assert_allclose(network.embed(patches)[0].detach().numpy(), tokens, rtol=1e-3, atol=1e-3)
    head = numpy_norm(np.maximum(numpy_linear(tokens, weights, "linear"), 0), weights, "norm")
    predicted = head @ weights["decoder.weight"].T + weights["decoder_bias"]
    np.testing.assert_allclose(network(patches)[0].detach().numpy(), predicted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("version", "patches_of"), VERSIONS)
def test_the_head_reads_out_at_masked_positions(version, patches_of):
    network, patches = loaded(version), patches_of(channels())
    positions = torch.tensor([[3, 60], [1, 64]])
    everywhere, there = network(patches), network(patches, positions)
    assert everywhere.shape == patches.shape
    for sample in range(2):
        torch.testing.assert_close(there[sample], everywhere[sample, positions[sample]])


@pytest.mark.parametrize(("version", "patches_of"), VERSIONS)
def test_what_is_behind_a_mask_does_not_matter(version, patches_of):
    network, patches = loaded(version), patches_of(channels())
    positions = torch.tensor([[5], [9]])
    other = patches.clone()
    other[0, 5], other[1, 9] = 100.0, -100.0
    hidden, other = mask_patches(patches, positions), mask_patches(other, positions)
    assert torch.equal(network(hidden, positions), network(other, positions))
    assert not torch.allclose(network.embed(hidden), network.embed(patches))


@pytest.mark.parametrize(("version", "patches_of"), VERSIONS)
def test_gradients_reach_all_that_the_forward_pass_uses(version, patches_of):
    network = loaded(version)
    network(patches_of(channels(1))).square().mean().backward()
    silent = {key for key, weight in network.named_parameters() if weight.grad is None}
    assert all(".enc_self_attn.norm." in key or ".pos_ffn.norm." in key for key in silent)
    assert len(silent) == (48 if version is Lwm10 else 0)


@pytest.mark.parametrize(("version", "patches_of"), VERSIONS)
def test_bfloat16(version, patches_of):
    network, patches = version().eval(), patches_of(channels())
    exact = network.embed(patches)
    rough = network.to(torch.bfloat16).embed(patches)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_inputs_that_do_not_fit():
    with pytest.raises(InputError, match="129 learned positions"):
        Lwm10().embed(lwm10_patches(channels(1, 64, 32)))
    with pytest.raises(InputError, match="513 learned positions"):
        Lwm11().embed(lwm11_patches(channels(1, 128, 128)))
    with pytest.raises(InputError, match=r"takes \[N, t, 32\]"):
        Lwm11().embed(lwm10_patches(channels()))
    with pytest.raises(InputError, match="multiples of 16"):
        lwm10_patches(channels(1, 5, 5))
    with pytest.raises(InputError, match="give complex"):
        lwm11_patches(channels().real)
