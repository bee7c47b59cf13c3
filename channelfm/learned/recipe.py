"""All that is needed, beside weights, to use a network: a recipe for each way to ask one.

A recipe that cannot run cannot be written: each has only the fields that apply to it, and takes only networks that
answer what it asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BeforeValidator, Field, field_validator, model_validator

from channelfm.baselines import sequence_baselines
from channelfm.config import Recipe
from channelfm.diffusion import DiffusionRecipe, SamplerRecipe
from channelfm.errors import InputError
from channelfm.estimator import SequenceEstimator
from channelfm.learned.domains import SequenceDomain
from channelfm.models.zoo import (
    BUILDERS,
    CLUSTER_NETWORKS,
    DENOISERS,
    MIXTURES,
    PRIORS,
    SEQUENCE_NETWORKS,
    WAVE_NETWORKS,
    Builder,
    build,
)
from channelfm.tokens.canonical import WIDEST_SPACING, FrameRecipe


class NetworkRecipe(Recipe):
    """What all recipes have: ``name`` of the row in tables; ``model`` and ``model_options`` name the network
    (:mod:`channelfm.models.zoo`)."""

    name: str
    model: str
    model_options: dict[str, int | bool] = Field(default_factory=dict)

    networks: ClassVar[Mapping[str, Builder]]
    of_sequences: ClassVar[bool] = False  # whether it predicts sequences; else it reconstructs channels

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.model not in self.networks:
            there = "this method cannot ask" if self.model in BUILDERS else "no such network"
            raise ValueError(f"model '{self.model[:40]}': {there}; use one of: {', '.join(self.networks)}")
        if self.model_options:
            try:
                with torch.device("meta"):
                    self.network()
            except InputError as error:
                raise ValueError(str(error)) from error
        return self

    @property
    def sees(self) -> str:
        """In which domain the network sees channels, for people."""
        return "waves of its own"

    def network(self) -> torch.nn.Module:
        """The network, its weights drawn from the global generator."""
        return build(self.model, **self.model_options)


class Consistency(Recipe):
    """Whether observed antennas keep their values exactly."""

    data_consistency: bool = True


class Elements(Recipe):
    """How far apart the array's elements are."""

    spacing_wavelengths: float = Field(default=0.5, gt=0, le=WIDEST_SPACING)


class _OfFrames(NetworkRecipe):
    networks: ClassVar[Mapping[str, Builder]] = DENOISERS

    model: str = "cddim-demo"
    frame: FrameRecipe = FrameRecipe()
    noise_seed: int = Field(default=0, ge=0, lt=2**63)

    @property
    def sees(self) -> str:
        """See :class:`NetworkRecipe`."""
        return "raw frame" if self.frame.kind == "raw" else f"canonical frame, waves: {self.frame.waves}"


class DiffusionModel(_OfFrames):
    """A denoiser that is asked at every step of the ``sampler``; ``frame`` and ``diffusion`` are those of its training.
    ``noise_seed`` fixes all noise, so that answers are deterministic and do not depend on how samples are batched."""

    name: str = "cddim-canonical"
    method: Literal["diffusion"] = "diffusion"
    diffusion: DiffusionRecipe = DiffusionRecipe()
    sampler: SamplerRecipe = SamplerRecipe()


class OneShotModel(_OfFrames):
    """A denoiser that is asked once for the clean channel: masked modelling (LWM's MCM), regression, or the generator
    of a CGAN. ``latent`` gives it Gaussian noise, fixed by ``noise_seed``, instead of zeros."""

    name: str = "one-shot"
    method: Literal["one-shot"] = "one-shot"
    sampler: Consistency = Consistency()
    latent: bool = False


class WavefieldModel(NetworkRecipe):
    """A network that finds the waves itself, so that it needs no frame."""

    networks: ClassVar[Mapping[str, Builder]] = WAVE_NETWORKS

    name: str = "wavefield"
    method: Literal["wavefield"] = "wavefield"
    model: str = "wavefield-small"
    frame: Elements = Elements()
    sampler: Consistency = Consistency()


class SequenceModel(NetworkRecipe):
    """A network that predicts the frames to come in the domain ``sequence``."""

    networks: ClassVar[Mapping[str, Builder]] = SEQUENCE_NETWORKS
    of_sequences: ClassVar[bool] = True

    name: str = "sequence"
    method: Literal["sequence"] = "sequence"
    model: str = "lwm-temporal-small"
    sequence: SequenceDomain = SequenceDomain()

    @property
    def sees(self) -> str:
        """See :class:`NetworkRecipe`."""
        return f"{self.sequence.kind} frames" + (", bins turned" if self.sequence.turned else "")


class MixtureModel(NetworkRecipe):
    """A network that says which of the classical ``candidates``, names of baselines in its order, to believe."""

    networks: ClassVar[Mapping[str, Builder]] = MIXTURES
    of_sequences: ClassVar[bool] = True

    name: str = "mixture"
    method: Literal["mixture"] = "mixture"
    model: str = "linear-mixture"
    candidates: tuple[str, ...] = Field(min_length=1)

    @property
    def sees(self) -> str:
        """See :class:`NetworkRecipe`."""
        return f"candidates {', '.join(self.candidates)}"

    @field_validator("candidates")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            sequence_baselines(names)
        except InputError as error:
            raise ValueError(str(error)) from error
        return names

    def predictors(self) -> list[SequenceEstimator]:
        """The candidates."""
        return sequence_baselines(self.candidates)


class ClusterModel(NetworkRecipe):
    """A network that finds the clusters of a channel from measurements of any kind, and answers the conditional
    mean that follows from their covariance (:mod:`channelfm.models.clusters`)."""

    networks: ClassVar[Mapping[str, Builder]] = CLUSTER_NETWORKS

    name: str = "cluster-prior"
    method: Literal["clusters"] = "clusters"
    model: str = "clusters"

    @property
    def sees(self) -> str:
        """See :class:`NetworkRecipe`."""
        return "clusters of its own"


class Truncated(Recipe):
    """Noisy pilots of the whole channel are cleaned in so many ``steps`` (:func:`channelfm.posterior.truncated`)."""

    kind: Literal["truncated"] = "truncated"
    steps: int = Field(default=1, ge=1, le=1000)


class Langevin(Recipe):
    """Annealed Langevin sampling of the posterior: ``steps`` at each of ``levels`` of noise, each step ``size`` times
    the largest that is stable (:func:`channelfm.posterior.langevin`)."""

    kind: Literal["langevin"] = "langevin"
    levels: int = Field(default=10, ge=2, le=1000)
    steps: int = Field(default=10, ge=2, le=1000)
    size: float = Field(default=0.5, gt=0, lt=2)


class Guided(Recipe):
    """From noise alone in ``steps`` of the reverse process, each conditioned on what was measured by the gradient
    through the network (DPS; :func:`channelfm.posterior.guided`)."""

    kind: Literal["guided"] = "guided"
    steps: int = Field(default=20, ge=1, le=1000)
    solves: int = Field(default=4, ge=1, le=100)


class Projected(Recipe):
    """As :class:`Guided` by projection alone (DDRM; :func:`channelfm.posterior.projected`)."""

    kind: Literal["projected"] = "projected"
    steps: int = Field(default=20, ge=1, le=1000)
    solves: int = Field(default=8, ge=1, le=100)


class MeanFlow(Recipe):
    """One step of the average velocity from the pilots' noise to none, for networks that were trained for it
    (:func:`channelfm.posterior.one_step`)."""

    kind: Literal["mean-flow"] = "mean-flow"


class PriorModel(NetworkRecipe):
    """A prior of whole channels in angle and delay, and how it is asked (:mod:`channelfm.posterior`). ``noise_seed``
    fixes all that is drawn."""

    networks: ClassVar[Mapping[str, Builder]] = PRIORS

    name: str = "prior"
    method: Literal["prior"] = "prior"
    model: str = "adapted-filters"
    sampler: Annotated[Truncated | Langevin | Guided | Projected | MeanFlow, Field(discriminator="kind")] = Truncated()
    noise_seed: int = Field(default=0, ge=0, lt=2**63)

    @property
    def sees(self) -> str:
        """See :class:`NetworkRecipe`."""
        return "angle and delay"


def _with_method(values: Any) -> Any:
    """A recipe that names no method is one of diffusion."""
    return {"method": "diffusion", **values} if isinstance(values, Mapping) else values


ModelRecipe = Annotated[
    DiffusionModel | OneShotModel | WavefieldModel | SequenceModel | MixtureModel | ClusterModel | PriorModel,
    Field(discriminator="method"),
    BeforeValidator(_with_method),
]
MODELS: dict[str, type[NetworkRecipe]] = {
    str(kind.model_fields["method"].default): kind
    for kind in (DiffusionModel, OneShotModel, WavefieldModel, SequenceModel, MixtureModel, ClusterModel, PriorModel)
}

# Of format 1 of checkpoints, in which a recipe had the fields of all methods: what did not apply held these values.
_UNUSED: dict[str, Any] = {
    "frame": FrameRecipe().model_dump(),
    "diffusion": DiffusionRecipe().model_dump(),
    "sampler": SamplerRecipe().model_dump(),
    "latent": False,
    "noise_seed": 0,
    "sequence": SequenceDomain().model_dump(),
    "candidates": [],
}


def from_format_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a recipe of format 1 without the fields that do not apply to its method.

    Raises InputError for one that does not apply and yet holds another value than it had by itself.
    """
    kind = MODELS.get(values.get("method", "diffusion"))
    if kind is None:
        return dict(values)  # which its reader refuses
    return _applying(kind, values, _UNUSED, "predictor")


def _applying(kind: type[Recipe], values: Mapping[str, Any], unused: Mapping[str, Any], place: str) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        field = kind.model_fields.get(name)
        if field is None and name in unused:
            if value != unused[name]:
                raise InputError(f"{place}.{name} = {value}: does not apply to this method; remove it")
            continue
        inner = field.annotation if field is not None else None
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, Recipe):
            value = _applying(inner, value, unused.get(name, {}), f"{place}.{name}")
        kept[name] = value
    return kept
