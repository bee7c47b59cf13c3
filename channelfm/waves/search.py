"""The waves of partial observations under any mask: where directions look alike, all that they may be.

A regular mask leaves every wave several directions (:mod:`channelfm.waves.aliases`). Each alias of the strongest wave
is a hypothesis, under which the whole search runs again; what it leaves unexplained, and with how many waves, decides
between them. Where it does not, they share the answer: the expected field is the mean over their posterior, which is
hardly ever worse than saying nothing. The weaker waves are spread over their own aliases in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from channelfm.waves.aliases import by_aliases, white_share
from channelfm.waves.gathered import Gathered
from channelfm.waves.greedy import (
    EXPLAINED_DB,
    FoundWaves,
    alias_waves,
    find_waves,
    single_energies,
    wave_fields,
)
from channelfm.waves.spherical import coarse_spherical_wave, parameters_of

_ANTENNAS = 512  # observed antennas that the search looks at ...
_ANTENNAS_OF_LATTICE = 2048  # ... and where they lie on a coarse lattice, since aliases differ so little
_NUMBERS_AT_ONCE = 1 << 18  # antennas of hypotheses searched together, which bounds the memory
_MOST_HYPOTHESES = 16
_WAVES_BESIDE_STRONGEST = 4
_UNLIKELY = 0.01  # hypotheses and aliases of less probability are left out
# What a wave must explain to be believed, as a number of real parameters of the information criterion.
_PARAMETERS = 4
# Scores of hypotheses scatter with what their waves, each the best of many places, explain by chance: as many waves as
# these halve the evidence.
_DOUBTED_WAVES = 2


@dataclass(frozen=True)
class Hypotheses:
    """What N observations may be, up to H hypotheses each: ``found`` holds the waves of N H samples, ``probability``
    [N, H] is 0 where there are fewer. ``antennas`` were looked at; ``offsets`` [A, 2] are those of their aliases."""

    antennas: Gathered
    found: FoundWaves
    probability: Tensor
    offsets: Tensor

    def best(self) -> FoundWaves:
        """The waves of the likeliest hypothesis of each sample."""
        count, number = self.probability.shape
        first = torch.arange(count, device=self.probability.device) * number
        return self.found.select(first + self.probability.argmax(1))


@dataclass(frozen=True)
class Alternatives:
    """The likely hypotheses of N observations, R in all, and what each of their waves may be instead.

    ``sample`` int64 [R]: which observation a hypothesis is of; ``found``: its waves, whose ``probability`` [R, K] is
    that of hypothesis and wave together; ``others``: aliases of these waves, of all N observations.
    """

    sample: Tensor
    found: FoundWaves
    others: FoundWaves


def search_waves(field: Tensor, mask: Tensor, spacing_wavelengths: float, most: int) -> FoundWaves:
    """At most ``most`` waves of each of complex64 [N, rows, cols], seen where bool ``mask`` of that shape is True.

    Where the mask is regular, a wave takes a slot for each alias that it may be, each with its ``probability``.
    """
    hypotheses = alias_hypotheses(field, mask, spacing_wavelengths, most)
    if not hypotheses:
        return find_waves(_gathered(field, mask, spacing_wavelengths), most)
    numbers = torch.cat([some for some, _ in hypotheses])
    found = [_expected(part) for _, part in hypotheses]
    rest = torch.ones(len(field), dtype=torch.bool, device=field.device).index_fill_(0, numbers, False)
    if bool(rest.any()):
        antennas = _gathered(field[rest], mask[rest], spacing_wavelengths)
        numbers, found = torch.cat([numbers, torch.nonzero(rest)[:, 0]]), [*found, find_waves(antennas, most)]
    return _joined(found, numbers.argsort())


def strongest_wave(field: Tensor, mask: Tensor, spacing_wavelengths: float) -> tuple[Tensor, Tensor, Tensor]:
    """The strongest wave of each of complex64 [N, rows, cols] seen where bool ``mask``: source [N, 3], gain [N], and
    the probability float32 [N] that it is this one and no alias.

    Where the mask is regular it is that of the likeliest hypothesis, which knows of weaker waves; else it is certain.
    """
    found = coarse_spherical_wave(field, mask, spacing_wavelengths)
    sources, gains = parameters_of(found), found.amplitude
    certainty = torch.ones_like(gains.real)
    for numbers, hypotheses in alias_hypotheses(field, mask, spacing_wavelengths, _WAVES_BESIDE_STRONGEST):
        best = hypotheses.best()
        chosen = torch.arange(len(numbers), device=field.device), best.gains[..., 0].abs().argmax(1)
        sources[numbers], gains[numbers] = best.sources[chosen], best.gains[..., 0][chosen]
        certainty[numbers] = hypotheses.probability.amax(1).to(certainty.dtype)
    return sources, gains, certainty


def alias_hypotheses(
    field: Tensor, mask: Tensor, spacing_wavelengths: float, most: int
) -> list[tuple[Tensor, Hypotheses]]:
    """Numbers of those samples whose mask (or spacing) leaves several directions alike, and what they may be."""
    hypotheses = []
    for numbers, offsets in by_aliases(mask, spacing_wavelengths):
        if len(offsets) > 1:
            antennas = _gathered(field[numbers], mask[numbers], spacing_wavelengths, _ANTENNAS_OF_LATTICE)
            at_once = max(1, _NUMBERS_AT_ONCE // (min(len(offsets), _MOST_HYPOTHESES) * antennas.field.shape[1]))
            for part in torch.split(torch.arange(len(numbers), device=field.device), at_once):
                hypotheses.append((numbers[part], _hypotheses(antennas.select(part), offsets, most)))
    return hypotheses


def _gathered(field: Tensor, mask: Tensor, spacing_wavelengths: float, most: int = _ANTENNAS) -> Gathered:
    """At most so many of the observed antennas, in the precision of the search."""
    return Gathered.entries(field, mask, spacing_wavelengths, most, torch.float32)


def _hypotheses(antennas: Gathered, offsets: Tensor, most: int) -> Hypotheses:
    """The search under each alias of the strongest wave."""
    start = find_waves(antennas, 1).sources[:, 0]
    sources, gains = alias_waves(antennas, antennas.field, start, offsets)
    order = gains.abs().topk(min(_MOST_HYPOTHESES, gains.shape[1]), dim=1).indices
    possible = gains.gather(1, order).abs() > 0
    count, number = order.shape
    several = antennas.select(torch.arange(count, device=start.device).repeat_interleave(number))
    first = sources.gather(1, order[..., None].expand(-1, -1, 3)).flatten(0, 1)
    found = find_waves(several, most, first=first, offsets=offsets)
    return Hypotheses(antennas, found, _posterior(several, found, possible), offsets)


def _posterior(antennas: Gathered, found: FoundWaves, possible: Tensor) -> Tensor:
    """Probabilities [N, H] of hypotheses, ``found`` for each of N H; 0 where not ``possible``.

    The evidence is the likelihood -n ln(unexplained share) of n antennas, less the information criterion's price of the
    waves. It is trusted as far as what the best hypothesis leaves is white: structure that waves miss is no noise, and
    says little about which of them is right.
    """
    count, number = possible.shape
    antennas_seen = antennas.number.reshape(count, number)
    rest = antennas.field - wave_fields(found, antennas).sum(1)
    left = (single_energies(rest) / single_energies(antennas.field)).reshape(count, number)
    evidence = -antennas_seen * left.clamp_min(10 ** (EXPLAINED_DB / 10)).log()
    waves = found.present.sum(1).reshape(count, number)
    price = _PARAMETERS / 2 * waves * (2 * antennas_seen).log()
    best = (evidence - price).masked_fill(~possible, -torch.inf).argmax(1, keepdim=True)
    trust = white_share(antennas.on_grid(rest)).reshape(count, number).gather(1, best).square()
    doubt = 1 + waves.gather(1, best) / _DOUBTED_WAVES
    score = ((trust * evidence - price) / doubt).masked_fill(~possible, -torch.inf)
    return torch.nan_to_num(score.softmax(1))


def alternatives(hypotheses: Hypotheses) -> Alternatives:
    """The likely hypotheses, each weaker wave of which is spread over its aliases."""
    probability = hypotheses.probability
    count, number = probability.shape
    sample, hypothesis = torch.nonzero(probability >= _UNLIKELY).T
    likely = probability[sample, hypothesis]
    likely = likely / likely.new_zeros(count).index_add_(0, sample, likely)[sample]
    antennas, found = hypotheses.antennas.select(sample), hypotheses.found.select(sample * number + hypothesis)
    row, spread = _spread(antennas, found, hypotheses.offsets)
    spread = spread._replace(probability=spread.probability * likely[row][:, None])
    own = torch.zeros_like(found.probability)
    own[found.present] = spread.probability[:, 0]
    others = FoundWaves(*(value[:, 1:] for value in spread))
    return Alternatives(sample, found._replace(probability=own), _packed(others, sample[row], count))


def _expected(hypotheses: Hypotheses) -> FoundWaves:
    """All that the waves may be, with their probabilities, for each of N observations."""
    parts = alternatives(hypotheses)
    count = len(hypotheses.probability)
    found = _packed(parts.found, parts.sample, count)
    return FoundWaves(*(torch.cat(columns, dim=1) for columns in zip(found, parts.others, strict=True)))


def _spread(antennas: Gathered, found: FoundWaves, offsets: Tensor) -> tuple[Tensor, FoundWaves]:
    """Every wave of R samples, W in all, and its aliases: the samples' numbers [W], and waves [W, A], itself first.

    Each is judged alone, all others as they are. The strongest of a sample stays: its aliases are other hypotheses.
    """
    parts = wave_fields(found, antennas)
    row, wave = torch.nonzero(found.present).T
    alone = (antennas.field - parts.sum(1))[row] + parts[row, wave]
    own = FoundWaves(*(value[row, wave] for value in found))
    sources, gains = alias_waves(antennas.select(row), alone, own.sources, offsets)
    n, energy = antennas.number[row][:, None], single_energies(alone)[:, None]
    left = (energy - gains.abs().square() * n).clamp_min(1e-6 * energy)
    possible = gains.abs() > 0
    possible[wave == 0, 1:] = False
    probability = (-n * left.log()).masked_fill(~possible, -torch.inf).softmax(1)
    possible &= probability >= _UNLIKELY
    probability = torch.where(possible, probability, 0)
    sources[:, 0] = own.sources
    turned = gains / torch.where(gains[:, :1] == 0, 1, gains[:, :1])
    turned[:, 0] = 1
    aliases = possible.shape[1]
    return row, FoundWaves(
        sources,
        turned[..., None] * own.gains[:, None],
        possible,
        own.covariance[:, None].expand(-1, aliases, -1, -1),
        own.centre[:, None].expand(-1, aliases, -1),
        probability / probability.sum(1, keepdim=True),
    )


def _packed(waves: FoundWaves, owner: Tensor, count: int) -> FoundWaves:
    """Waves of ``count`` samples from rows [R, S], each of which belongs to its ``owner`` [R]; empty slots last."""
    row, slot = torch.nonzero(waves.present).T
    order = owner[row].argsort(stable=True)
    row, slot = row[order], slot[order]
    number = torch.bincount(owner[row], minlength=count)
    place = torch.arange(len(row), device=row.device) - (number.cumsum(0) - number)[owner[row]]
    packed = []
    for value in waves:
        whole = value.new_zeros(count, int(number.max()), *value.shape[2:])
        whole[owner[row], place] = value[row, slot]
        packed.append(whole)
    return FoundWaves(*packed)


def _joined(parts: list[FoundWaves], order: Tensor) -> FoundWaves:
    """The samples of all parts, in the given order, padded to as many slots."""
    most = max(part.present.shape[1] for part in parts)
    padded = (
        [torch.cat([v, v.new_zeros(len(v), most - v.shape[1], *v.shape[2:])], dim=1) for v in part] for part in parts
    )
    return FoundWaves(*(torch.cat(columns)[order] for columns in zip(*padded, strict=True)))
