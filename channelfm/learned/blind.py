"""Imperfect hardware of which nothing is told: a network recognises it, and what it recognises is corrected.

Nobody says which impairments there are, nor how strong: only how many RF chains there are, the pilots, and the power of
the noise, which every row is told. A first fit of a few waves leaves residuals in which each kind of hardware writes
its own pattern; one pass of a small network reads them, and the corrections of
:mod:`channelfm.baselines.calibrated` do the rest.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from channelfm.baselines.calibrated import OffGridCalibrated, fields_of
from channelfm.baselines.calibration import Received
from channelfm.baselines.off_grid_delay import OffGridDelay, measurements
from channelfm.errors import InputError, IntegrityError
from channelfm.estimator import ChannelEstimator
from channelfm.files import write_atomically
from channelfm.hardware import (
    KINDS,
    Amplifier,
    AntennaGains,
    ChainGains,
    DeadAntennas,
    Hardware,
    Impairment,
    IQImbalance,
    PhaseNoise,
    Quantisation,
)
from channelfm.impairments import Slots, impair, mirrored, pilot_response, to_samples
from channelfm.learned.descent import Descent
from channelfm.learned.networks import sharing_weights
from channelfm.models.recogniser import TOKEN_FEATURES, Recogniser
from channelfm.observation import Bool, Combining, Complex, Grid, Observation, RandomlyCombined, observe

Float = NDArray[np.float64]

_WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "recogniser"
_FEW_WAVES = 3
_QUANTILES = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_BACK_OFFS_DB = (-4.0, -1.0, 2.0, 5.0, 8.0, 11.0)
_CONTRASTS = 8
_SUMMARY = 2 + 2 + 2 * len(_BACK_OFFS_DB) + len(_QUANTILES) + 2 + 3 + _CONTRASTS
# Where in a summary these stand: what the patterns of some back-offs match, and the logarithm of the number of levels.
_MATCHES, _LEVELS = slice(4, 4 + 2 * len(_BACK_OFFS_DB), 2), 4 + 2 * len(_BACK_OFFS_DB)
# Probability from which on a kind is corrected, without converters of few bits and with them, whose errors look like
# others': on held-out draws these cost few kinds that are there, and find hardly any that is not.
_PRESENT, _PRESENT_QUANTISED = 0.7, 0.9
_BITS = (1, 1, 1, 1, 2, 2, 3, 4, 6, 8)  # drawn in training: the fewer, the more they hide
_SHARE_OF_EACH = 0.25  # of the training examples that have a kind
_SNR_DB = (-5.0, 25.0)
_LINKS_AT_ONCE = 16
# Sizes that are drawn in training, and that answers stay within: logarithms, but of the back-off and of bits.
_SIZES: dict[type[Impairment], tuple[tuple[str, float, float, bool], ...]] = {
    DeadAntennas: (("share", 0.01, 0.15, True),),
    AntennaGains: (("share", 0.02, 0.25, True),),
    Amplifier: (("back_off_db", -2.0, 9.0, False),),
    ChainGains: (("share", 0.02, 0.3, True),),
    PhaseNoise: (("step_deg", 0.5, 12.0, True),),
    IQImbalance: (("gain_db", 0.2, 2.5, True), ("phase_deg", 1.0, 12.0, True)),
    Quantisation: (("bits", 1.0, 8.0, False),),
}
_NUMBERS = sum(map(len, _SIZES.values()))


class Lesson(NamedTuple):
    """Inputs of the network, and what it should say: presence float32 [N, kind] and sizes [N, number]."""

    tokens: Tensor
    summary: Tensor
    present: Tensor
    sizes: Tensor


class BlindCalibration(ChannelEstimator):
    """Recognises hardware in the measurements of RF chains, with the network that ships with the package or another
    one of :func:`train_recogniser`, and corrects what it recognises.

    Of an observation's hardware it reads the number of chains and the pilots' seed, nothing else. What it knows besides
    is what its network was taught: the kinds of :data:`channelfm.hardware.KINDS` and usual sizes of theirs, on one
    array, band, number of chains and of slots.
    """

    name = "blind-calibrated"

    def __init__(self, network: Recogniser | None = None) -> None:
        self.network = sharing_weights(packaged_recogniser() if network is None else network)

    def check(self, observation: Observation) -> None:
        """See :class:`channelfm.estimator.ChannelEstimator`."""
        super().check(observation)
        if observation.hardware is None or not isinstance(observation.operator, Combining):
            raise InputError(f"'{self.name}' recognises the hardware of RF chains: the observation tells of none")
        # Whatever is recognised has to be correctable, and dead antennas ask most.
        most = replace(_unknown(observation), impairments=(DeadAntennas(share=0.1),))
        OffGridCalibrated().check(replace(observation, hardware=most))

    def estimate(self, observation: Observation) -> Complex:
        """See :class:`channelfm.estimator.Estimator`."""
        self.check(observation)
        answer = np.zeros((len(observation), *observation.grid.shape), np.complex64)
        found = self.recognised(observation)
        row = OffGridCalibrated()
        for models in dict.fromkeys(found):
            links = np.flatnonzero([other == models for other in found])
            told = replace(_unknown(observation), impairments=models)
            answer[links] = row.estimate(replace(observation.select(links), hardware=told))
        return answer

    @torch.inference_mode()
    def recognised(self, observation: Observation) -> list[tuple[Impairment, ...]]:
        """What each link's hardware is thought to do."""
        tokens, summary = features(observation)
        frames = observation.grid.shape[0]
        answers, known = (
            part.reshape(-1, frames, part.shape[1]).mean(1).numpy() for part in (self.network(tokens, summary), summary)
        )
        return [_models(*link) for link in zip(kinds_there(answers), answers, known, strict=True)]


def packaged_recogniser() -> Recogniser:
    """The network that ships with the package; IntegrityError where its file is damaged."""
    network = new_recogniser()
    try:
        content = (_WEIGHTS / "model.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != (_WEIGHTS / "model.sha256").read_text(encoding="ascii").strip():
            raise ValueError("their SHA-256 is another one")
        network.load_state_dict(load(content))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise IntegrityError(f"{_WEIGHTS}: not the weights of this version; install the package again") from error
    return network


def write_recogniser(network: Recogniser, folder: Path) -> None:
    """Its weights and their SHA-256, as :func:`packaged_recogniser` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save(network.state_dict())
    write_atomically(folder / "model.safetensors", content)
    write_atomically(folder / "model.sha256", f"{hashlib.sha256(content).hexdigest()}\n".encode())


def new_recogniser() -> Recogniser:
    """One that has learned nothing."""
    return Recogniser(_SUMMARY, len(KINDS) + _NUMBERS)


def train_recogniser(lessons: Lesson, steps: int = 1200, seed: int = 0) -> Recogniser:
    """A network taught by examples; the same ones and the same seed give the same weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_recogniser()
    network.standardise(lessons.tokens, lessons.summary)
    descent = Descent("recogniser", [(network.parameters(), 2e-3)], steps)
    for _ in range(steps):
        some = torch.randint(len(lessons.summary), (64,), generator=generator)
        answer = network(lessons.tokens[some], lessons.summary[some])
        there, sizes = answer[:, : len(KINDS)], answer[:, len(KINDS) :]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(there, lessons.present[some])
        weight = lessons.present[some][:, _kind_of_numbers()]
        loss = loss + (weight * (sizes - lessons.sizes[some]).square()).sum() / weight.sum().clamp_min(1)
        descent.step(loss)
    return network.eval()


def lessons_of(channel: Complex, grid: Grid, chains: int, slots: int, count: int, seed: int) -> Lesson:
    """So many examples of hardware and noise at random, of the channels [N, T, row, col, F] in turn."""
    generator = np.random.default_rng((seed, *b"hardware"))
    _, rows, cols, _ = grid.shape
    unknown, parts = Hardware((), chains, seed), []
    for start in range(0, count, _LINKS_AT_ONCE):
        numbers = np.arange(start, min(start + _LINKS_AT_ONCE, count))
        operator = RandomlyCombined(seed, numbers, chains * slots, rows, cols)
        seen, told = [], []
        for place, number in enumerate(numbers):
            one, models = channel[[number % len(channel)]], _some_models(generator)
            ideal = observe(one, operator.select([place]), grid, generator.uniform(*_SNR_DB), generator)
            hardware = replace(unknown, impairments=models)
            seen.append(impair(ideal, one, hardware, int(generator.integers(2**31))))
            told += [models] * grid.shape[0]
        noise = np.concatenate([one.noise for one in seen if one.noise is not None])
        values = np.concatenate([one.values for one in seen])
        parts.append(Lesson(*features(Observation(values, operator, grid, noise, unknown)), *_targets(told)))
    return Lesson(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.inference_mode()
def features(observation: Observation) -> tuple[Tensor, Tensor]:
    """Tokens float32 [N T, S, C, 4] and summaries [N T, G] of how measurements differ from a fit of a few waves."""
    observation = replace(observation, hardware=_unknown(observation))
    measured, _ = measurements(observation)
    received = Received.of(observation, measured.values.numpy())
    few = OffGridDelay(max_waves=_FEW_WAVES)
    patterns = _patterns(observation)
    tokens = np.zeros((*received.values.shape[:3], TOKEN_FEATURES))
    summary = np.zeros((len(tokens), _SUMMARY - _CONTRASTS))
    heard = torch.nonzero((measured.values != 0).flatten(1).any(1))[:, 0]
    for some in torch.split(heard, _LINKS_AT_ONCE) if len(heard) else ():
        for part in few._found(measured.select(some)):
            links = some[part.links]
            mine, seen = measured.select(links), received.select(links.numpy())
            assert mine.projection is not None
            expected = (mine.values - part.fit.rest).numpy().reshape(seen.values.shape)
            fields = fields_of(mine, part.fit, part.squints).numpy()
            back = (mine.projection.conj() @ part.fit.rest).numpy()
            weight = (mine.projection.abs().square().sum(2)).numpy()
            tokens[links.numpy()] = _tokens(seen, expected)
            summary[links.numpy()] = np.concatenate(
                [
                    _of_samples(seen, expected, patterns),
                    _of_antennas(fields, back, weight, seen, expected),
                ],
                1,
            )
    summary = np.concatenate([summary, _contrasts(tokens)], 1)
    return torch.from_numpy(tokens).float(), torch.from_numpy(summary).float()


def _tokens(seen: Received, expected: NDArray[np.complex128]) -> Float:
    """Of each slot and chain: its factor less 1, what is left of it, and its strength, both over the noise."""
    energy = np.sum(np.abs(expected) ** 2, axis=3) + 1e-12
    factor = np.sum(expected.conj() * seen.values, axis=3) / energy
    left = np.mean(np.abs(seen.values - factor[..., None] * expected) ** 2, axis=3)
    noise = _noise(seen)[:, :, 0]
    strength = energy / expected.shape[3]
    return np.stack([factor.real - 1, factor.imag, np.log(left / noise + 1e-3), np.log(strength / noise + 1e-3)], -1)


def _contrasts(tokens: Float) -> Float:
    """How much factors differ [N, 8], in logarithms: phases from slot to slot and over four slots, and amplitudes from
    slot to slot, all chains together; chains, all slots together; each as it is, and over what chance explains."""
    factor, left, strength = 1 + tokens[..., 0] + 1j * tokens[..., 1], np.exp(tokens[..., 2]), np.exp(tokens[..., 3])
    weight = strength / left
    columns = []
    slot, chain = ((np.sum(weight * factor, axis=axis) / weight.sum(axis), 1 / weight.sum(axis)) for axis in (2, 1))
    for lag in (1, 4):
        later = slot[0][:, lag:] * slot[0][:, :-lag].conj()
        chance = np.mean(slot[1], axis=1)
        moved = [np.mean(np.angle(later) ** 2, axis=1)]
        moved += [np.mean(np.log(np.abs(later) + 1e-3) ** 2, axis=1)] if lag == 1 else []
        columns += [part for one in moved for part in (one, one / chance)]
    differs = np.mean(np.abs(chain[0] - chain[0].mean(1, keepdims=True)) ** 2, axis=1)
    columns += [differs, differs / np.mean(chain[1], axis=1)]
    return np.nan_to_num(np.log(np.stack(columns, 1) + 1e-6), nan=0.0)


def _of_samples(seen: Received, expected: NDArray[np.complex128], patterns: NDArray[np.complex128]) -> Float:
    """Residual and strength over the noise; the mixers' images; the amplifier's pattern at some back-offs; how many
    levels samples have, and their kurtosis."""
    rest, noise = seen.values - expected, _noise(seen)[:, 0, 0, 0]
    left, whole = (np.mean(np.abs(part) ** 2, axis=(1, 2, 3)) for part in (rest, seen.values))
    image = mirrored(expected, seen.pilots)
    energy = np.sum(np.abs(image) ** 2, axis=(1, 3)) + 1e-12
    beta = np.sum(image.conj() * rest, axis=(1, 3)) / energy
    columns = [np.log(left / noise + 1e-3), np.log(whole / noise + 1e-3)]
    columns += [
        np.log(np.mean(np.abs(beta) ** 2, 1) + 1e-8),
        np.log(np.mean(np.abs(beta) ** 2 * energy, 1) / left + 1e-3),
    ]
    for pattern in patterns:
        disturbed = expected * pattern
        size = np.sum(np.abs(disturbed) ** 2, axis=(1, 2, 3)) + 1e-12
        match = np.sum((disturbed.conj() * rest).real, axis=(1, 2, 3)) / size
        columns += [match, np.log(match**2 * size / left + 1e-3)]
    samples = to_samples(seen.values, seen.pilots)
    parts = np.stack([samples.real, samples.imag], 1).reshape(len(samples), -1)
    parts = parts / (np.sqrt(np.mean(parts**2, axis=1, keepdims=True)) + 1e-300)
    levels = [len(np.unique(np.round(row * 2000))) for row in parts]
    columns += [np.log2(levels), np.log2(levels) >= 9, np.mean(parts**4, axis=1)]
    return np.stack(columns, 1).astype(np.float64)


def _of_antennas(
    fields: NDArray[np.complex128],
    back: NDArray[np.complex128],
    weight: Float,
    seen: Received,
    expected: NDArray[np.complex128],
) -> Float:
    """Quantiles of what single antennas' gains would explain of the residual, and its size beside chance."""
    energy = weight * np.sum(np.abs(fields) ** 2, axis=2) + 1e-12
    gain = np.sum(fields.conj() * back, axis=2) / energy
    left = np.mean(np.abs(seen.values - expected) ** 2, axis=(1, 2, 3))
    quantiles = np.quantile(gain.real, _QUANTILES, axis=1).T
    chance = np.log(np.median(np.abs(gain) ** 2 * energy, axis=1) / left + 1e-3)
    return np.concatenate([quantiles, np.log(np.mean(gain.imag**2, axis=1) + 1e-8)[:, None], chance[:, None]], 1)


def _patterns(observation: Observation) -> NDArray[np.complex128]:
    """What amplifiers of some back-offs do to the pilots beside their mean gain, over it, [back-off, S, 1, K]."""
    unknown = _unknown(observation)
    slots = Slots.of(unknown, observation.operator, observation.grid)
    each = slots.slots // observation.grid.shape[0]
    found = [
        pilot_response(replace(unknown, impairments=(Amplifier(back_off_db=back_off),)), slots)[:each]
        for back_off in _BACK_OFFS_DB
    ]
    return np.stack([pattern / pattern.mean() - 1 for pattern in found])[:, :, None].astype(np.complex128)


def _noise(seen: Received) -> Float:
    """The noise's power, told or, where it is not, small beside the measurements."""
    power = np.mean(np.abs(seen.values) ** 2, axis=(1, 2, 3), keepdims=True)
    return np.asarray(np.maximum(seen.noise, 1e-4 * power + 1e-30))


def _unknown(observation: Observation) -> Hardware:
    """What is known of any receiver."""
    told = observation.hardware or Hardware()
    return Hardware((), told.chains, told.pilot_seed)


def _some_models(generator: np.random.Generator) -> tuple[Impairment, ...]:
    """Hardware at random."""
    models: list[Impairment] = []
    for kind in KINDS:
        values = {
            name: (
                float(np.exp(generator.uniform(np.log(low), np.log(high))))
                if logarithmic
                else generator.uniform(low, high)
            )
            for name, low, high, logarithmic in _SIZES[kind]
        }
        if "bits" in values:
            values["bits"] = int(generator.choice(_BITS))
        if generator.random() < _SHARE_OF_EACH:
            models.append(kind(**values))  # type: ignore[arg-type]
    return tuple(models)


def _targets(told: list[tuple[Impairment, ...]]) -> tuple[Tensor, Tensor]:
    """Presence and sizes, each between -1 and 1."""
    present, sizes = np.zeros((len(told), len(KINDS))), np.zeros((len(told), _NUMBERS))
    for link, models in enumerate(told):
        for model in models:
            present[link, KINDS.index(type(model))] = 1
            for name, low, high, logarithmic in _SIZES[type(model)]:
                value = getattr(model, name)
                at, first, last = np.log([value, low, high]) if logarithmic else (value, low, high)
                sizes[link, _place(type(model), name)] = 2 * (at - first) / (last - first) - 1
    return torch.from_numpy(present).float(), torch.from_numpy(sizes).float()


def kinds_there(answers: NDArray[np.float32]) -> Bool:
    """Which kinds are probable enough to be corrected, bool [N, kind], by the network's answers [N, ...]."""
    probability = 1 / (1 + np.exp(-answers[:, : len(KINDS)]))
    converters = KINDS.index(Quantisation)
    quantised = probability[:, converters] > 0.5
    there = probability >= np.where(quantised, _PRESENT_QUANTISED, _PRESENT)[:, None]
    there[:, converters] = quantised
    return np.asarray(there)


def _models(there: Bool, answer: NDArray[np.float32], summary: NDArray[np.float32]) -> tuple[Impairment, ...]:
    """Hardware of the kinds that are ``there``, as the network says; sizes coarse, since corrections hardly depend on
    most of them. Two that they do depend on are read off a link's summary: how many levels samples have, and at which
    back-off the amplifier's pattern has the size that is seen."""
    found: list[Impairment] = []
    for kind in (kind for kind, is_there in zip(KINDS, there, strict=True) if is_there):
        values: dict[str, float] = {}
        for name, low, high in (size[:3] for size in _SIZES[kind] if size[3]):
            share = (np.clip(answer[len(KINDS) + _place(kind, name)], -1, 1) + 1) / 2
            values[name] = float(2.0 ** np.round(np.log2(low) + share * np.log2(high / low)))
        if kind is Quantisation:
            values["bits"] = int(np.clip(np.round(summary[_LEVELS]), 1, 8))
        if kind is Amplifier:
            size = np.maximum.accumulate(np.log(np.maximum(summary[_MATCHES], 1e-3)))
            values["back_off_db"] = float(np.round(16 * np.interp(0.0, size, _BACK_OFFS_DB)) / 16)
        found.append(kind(**values))  # type: ignore[arg-type]
    return tuple(found)


def _place(kind: type[Impairment], name: str) -> int:
    """Where a size stands among all."""
    flat = [(one, item[0]) for one in KINDS for item in _SIZES[one]]
    return flat.index((kind, name))


def _kind_of_numbers() -> list[int]:
    """The number of the kind that each size belongs to."""
    return [KINDS.index(kind) for kind in KINDS for _ in _SIZES[kind]]
