"""What is known of imperfect hardware between a user and the samples of its pilots: kinds of impairment, with numbers.

What of it a link was drawn with is not known to anybody who only receives (:mod:`channelfm.impairments` draws it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from channelfm.checks import as_whole
from channelfm.config import Recipe, brief
from channelfm.errors import InputError
from channelfm.records import Record

Share = Annotated[float, Field(ge=0, lt=1)]
Degrees = Annotated[float, Field(ge=0, le=180)]


class Impairment(Recipe):
    """Base of all: ``kind`` names it in recipes and files."""

    kind: str

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:g}" for name, value in self if name != "kind")
        return f"{self.kind} ({numbers})"


class DeadAntennas(Impairment):
    """Each antenna is dead with probability ``share``, and hears nothing of the channel.

    The usual model of element failures (Mailloux 1996, "Array failure correction with a digitally beamformed array").
    """

    kind: Literal["dead-antennas"] = "dead-antennas"
    share: Share


class AntennaGains(Impairment):
    """Antenna m hears g_m = 1 + e_m times its channel, e_m complex normal of standard deviation ``share``.

    The multiplicative error of arrays that are not calibrated (Vieira et al. 2017, "Reciprocity calibration for massive
    MIMO", eq. 3). What all antennas have in common cannot be told from the channel: the mean of e is taken off.
    """

    kind: Literal["antenna-gains"] = "antenna-gains"
    share: Share


class Amplifier(Impairment):
    """The user's power amplifier, after Rapp (1991): x / (1 + (|x| / a)^(2 p))^(1 / 2 p), with ``smoothness`` p.

    It acts on the samples of each pilot symbol, whose mean power lies ``back_off_db`` below the saturation a^2; small
    amplitudes pass with gain 1.
    """

    kind: Literal["amplifier"] = "amplifier"
    back_off_db: Annotated[float, Field(ge=-20, le=60)]
    smoothness: Annotated[float, Field(ge=0.5, le=20)] = 2.0


class ChainGains(Impairment):
    """RF chain c has gain 1 + e_c, e_c complex normal of standard deviation ``share``, the same at all times.

    The mean over the chains is taken off, as from :class:`AntennaGains`, which has the reference; the deviation from it
    keeps its size. One chain alone has no error.
    """

    kind: Literal["chain-gains"] = "chain-gains"
    share: Share


class PhaseNoise(Impairment):
    """A free-running oscillator: phases of one slot after the other are a Wiener process with steps of ``step_deg``
    standard deviation (Demir, Mehrotra & Roychowdhury 2000), constant within a slot.

    All chains share one oscillator, or each has its ``own``. The mean phase belongs to the channel: it is taken off.
    """

    kind: Literal["phase-noise"] = "phase-noise"
    step_deg: Degrees
    own: bool = False


class IQImbalance(Impairment):
    """Mixers of two branches that differ: z = alpha y + beta conj(y) of the samples y, with alpha = (1 + g exp(-j phi))
    / 2 and beta = (1 - g exp(j phi)) / 2 (Tarighat, Bagheri & Sayed 2005, eq. 2), so that alpha + conj(beta) = 1.

    20 log10 g and phi of every chain are normal, with standard deviations ``gain_db`` and ``phase_deg``. A subcarrier
    is disturbed by the conjugate of its mirror image about the centre of the band.
    """

    kind: Literal["iq-imbalance"] = "iq-imbalance"
    gain_db: Annotated[float, Field(ge=0, le=20)] = 1.0
    phase_deg: Degrees = 5.0


class Quantisation(Impairment):
    """Converters of ``bits`` each for the real and the imaginary parts of the samples: uniform, without a level at 0,
    with the best step for normal amplitudes (Max 1960, table II). A gain control brings all samples of a link together,
    as they come from all chains in all slots that measure something, to the amplitude that the step is made for.
    """

    kind: Literal["quantisation"] = "quantisation"
    bits: Annotated[int, Field(ge=1, le=8)]


# In the order in which they act: antennas, the user's pilots, then noise, then chains.
KINDS: tuple[type[Impairment], ...] = (
    DeadAntennas,
    AntennaGains,
    Amplifier,
    ChainGains,
    PhaseNoise,
    IQImbalance,
    Quantisation,
)
AnyImpairment = Annotated[
    DeadAntennas | AntennaGains | Amplifier | ChainGains | PhaseNoise | IQImbalance | Quantisation,
    Field(discriminator="kind"),
]  # as recipes have it
Known = TypeVar("Known", bound=Impairment)
_ANY: TypeAdapter[tuple[AnyImpairment, ...]] = TypeAdapter(tuple[AnyImpairment, ...])


@dataclass(frozen=True)
class Hardware(Record):
    """What a receiver knows of its hardware: ``impairments`` (or plain values of such), each kind once at most, which
    are brought in the order in which they act.

    ``chains``: number of RF chains, through which measurements come slot by slot; None: every antenna has its own, and
    a slot is a frame. ``pilot_seed``: of the pilots (:meth:`pilots`), which impairments in the time domain mix.
    """

    impairments: tuple[Impairment, ...] = ()
    chains: int | None = None
    pilot_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "impairments", impairments_of(self.impairments))
        twice = [kind for kind, count in Counter(item.kind for item in self.impairments).items() if count > 1]
        if twice:
            raise InputError(f"impairments: '{twice[0]}' is there twice; keep one")
        if self.chains is not None:
            as_whole(self.chains, "chains")
        as_whole(self.pilot_seed, "pilot_seed", 0)

    def __str__(self) -> str:
        return ", ".join(map(str, self.impairments)) or "ideal"

    def find(self, kind: type[Known]) -> Known | None:
        """That of a kind; None where there is none."""
        return next((item for item in self.impairments if isinstance(item, kind)), None)

    def pilots(self, slots: int, subcarriers: int) -> NDArray[np.complex64]:
        """The pilots complex64 [slot, subcarrier], of unit modulus: quaternary phases from ``pilot_seed``."""
        generator = np.random.default_rng((self.pilot_seed, *b"pilots"))
        return (1j ** generator.integers(4, size=(slots, subcarriers))).astype(np.complex64)

    def _parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays, plain = super()._parts()
        return arrays, plain | {"impairments": [item.model_dump(mode="json") for item in self.impairments]}


def impairments_of(values: Sequence[Any]) -> tuple[Impairment, ...]:
    """Impairments from plain values, or as they are; InputError, naming the field, where they are none."""
    try:
        found = _ANY.validate_python(tuple(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"impairments: {brief(place)}: {brief(first['msg'], 200)}") from error
    return tuple(sorted(found, key=lambda item: KINDS.index(type(item))))
