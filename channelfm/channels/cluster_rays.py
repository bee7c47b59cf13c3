"""Sionna's share of the 3GPP channels: the rays of one user, drawn by its models. The only importer of sionna.phy.

Its models draw large-scale parameters, clusters and rays (TR 38.901, section 7.5, steps 1 to 9, and section 7.7.1), and
its coefficient generator evaluates fields, polarisation, phases and Doppler (steps 10 and 11): for every ray by itself
and at the centre of the array only, so that the cost of this part does not depend on the number of elements.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channelfm.arrays import UPA, ElementPattern, element_amplitude
from channelfm.errors import DependencyError
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]

StochasticModel = Literal["cdl-a", "cdl-b", "cdl-c", "cdl-d", "cdl-e", "umi", "uma"]

SUPPORTED_RELEASE = "2.2.0"
# Table 7.5-5: delay of each of the 20 rays of the two strongest clusters, in cluster delay spreads
SUBCLUSTER_DELAYS = np.array([0.0] * 8 + [1.28] * 4 + [2.56] * 4 + [1.28] * 2 + [0.0] * 2)
SLANTS_RAD = {"V": (0.0,), "H": (np.pi / 2,), "VH": (0.0, np.pi / 2), "cross": (-np.pi / 4, np.pi / 4)}
ON_CPU: dict[str, Any] = {"precision": "double", "device": "cpu"}


@dataclass(frozen=True)
class Scenario:
    """A model with the settings that only some models have."""

    model: StochasticModel
    delay_spread_s: float = 0.0  # CDL
    distance_m: tuple[float, float] = (0.0, 0.0)  # UMi, UMa
    path_loss: bool = False  # UMi, UMa

    @property
    def is_cdl(self) -> bool:
        """Whether the model is a CDL: clusters without a geometry."""
        return self.model.startswith("cdl")


@dataclass(frozen=True)
class User:
    """One track's user: position at the first step [m], velocity [m/s], seed of its rays."""

    position_m: Float
    velocity_mps: Float
    seed: int


@dataclass(frozen=True)
class Rays:
    """One track's rays at the array centre.

    ``gain`` complex128 [step, polarisation, ray] with carrier phase and Doppler; ``delay_s`` [ray];
    ``arrival`` [ray, 3]: unit vectors from the array towards where a ray comes from, in the scene's frame.
    """

    gain: NDArray[np.complex128]
    delay_s: Float
    arrival: Float
    line_of_sight: bool


def draw_rays(scenario: Scenario, array: UPA, user: User, steps: Float) -> Rays:
    """Let Sionna draw one track's rays, and evaluate every ray by itself at the centre of the array.

    Times ``steps`` [step] in s count from the user's first position, at equal intervals.
    """
    import torch

    load_sionna()  # which says what is missing
    with seeded(user.seed) as generator:
        drawn = _draw_cdl(scenario, array) if scenario.is_cdl else _draw_system_level(scenario, array, user)
        shape = (*drawn.rays.aoa.shape, 4)
        phases = torch.rand(shape, dtype=torch.float64, generator=generator) * 2.0 * np.pi - np.pi  # step 10
    rays, delay_s = _separate(drawn, phases)
    coefficients = _evaluate(drawn, array, user, rays, steps)
    used = np.flatnonzero(np.abs(coefficients).max(axis=(0, 1)) > 0.0)  # not the clusters beyond a state's number
    zenith, azimuth = rays.zoa.numpy().reshape(-1)[used], rays.aoa.numpy().reshape(-1)[used]
    arrival = [np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)]
    return Rays(
        gain=drawn.amplitude * coefficients[..., used],
        delay_s=float(drawn.topology.distance_3d) / SPEED_OF_LIGHT + delay_s[used],  # CDL's distance is 0
        arrival=np.stack(arrival, axis=-1),
        line_of_sight=bool(drawn.topology.los),
    )


def load_sionna() -> Any:
    """The module sionna.phy.channel.tr38901; DependencyError if it is missing or of another release."""
    try:
        from sionna.phy.channel import tr38901
    except ImportError as error:
        raise DependencyError(
            f"3GPP channels need Sionna's PyTorch part ({error}); run: pip install 'channelfm[threegpp]'"
        ) from error
    release = importlib.metadata.version("sionna-no-rt")
    if release != SUPPORTED_RELEASE:
        raise DependencyError(
            f"sionna-no-rt {release} is installed, but this adapter uses internals of {SUPPORTED_RELEASE}; "
            f"run: pip install sionna-no-rt=={SUPPORTED_RELEASE}"
        )
    return tr38901


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[Any]:
    """Sionna's generator, seeded; afterwards it is as it was before."""
    from sionna.phy import config

    generator = config.torch_rng("cpu")
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield generator
    finally:
        generator.set_state(before)


class _Drawn:
    """Stands in the place of Sionna's coefficient generator and keeps what the model has drawn for it.

    The coefficients that it answers with are one, so the model returns the ``amplitude`` that it gives to all of them
    (step 12).
    """

    k_factor: Any
    rays: Any
    topology: Any
    cluster_delay_spread_s: Any = None
    amplitude: float = 1.0

    def __call__(
        self,
        num_time_samples: int,
        sampling_frequency: float,
        k_factor: Any,
        rays: Any,
        topology: Any,
        c_ds: Any = None,
    ) -> tuple[Any, Any]:
        self.k_factor, self.rays, self.topology, self.cluster_delay_spread_s = k_factor, rays, topology, c_ds
        return rays.delays.new_ones((1,) * 7), rays.delays


class _CentreElements:
    """The antennas of one element of an array, at its centre, as Sionna's coefficient generator asks for them."""

    polarization = "single"  # every antenna has its field from element_field

    def __init__(self, pattern: ElementPattern, slants_rad: tuple[float, ...]) -> None:
        import torch

        self.pattern, self.num_ant = pattern, len(slants_rad)
        slants = torch.tensor(slants_rad, dtype=torch.float64)
        self._slants = torch.stack([torch.cos(slants), torch.sin(slants)], dim=-1)
        self.ant_pos = torch.zeros((self.num_ant, 3), dtype=torch.float64)

    def element_field(self, zenith: Any, azimuth: Any) -> Any:
        """Components (theta, phi) of the field [antenna, ..., 2]: polarisation model 2, eq. 7.3-4 and 7.3-5."""
        import torch

        amplitude = torch.from_numpy(element_amplitude(self.pattern, zenith.numpy(), azimuth.numpy()))
        slants = self._slants.reshape(self.num_ant, *(1,) * zenith.ndim, 2)
        return amplitude[None, ..., None] * slants


# Sionna's models keep parts of earlier topologies, on which later draws depend: every track gets a new one (3 ms).


def _draw_cdl(scenario: Scenario, array: UPA) -> _Drawn:
    """The rays of a CDL model (section 7.7.1), for a station that receives."""
    element, resting = _CentreElements("isotropic", (0.0,)), np.zeros(3)  # else it draws a velocity of its own
    channel = load_sionna().CDL(
        scenario.model[-1].upper(),
        scenario.delay_spread_s,
        array.carrier_hz,
        element,
        element,
        "uplink",
        ut_velocity=resting,
        **ON_CPU,
    )
    del channel._cir_gen  # a torch module does not let a plain object take a submodule's place
    drawn = channel._cir_gen = _Drawn()
    channel(1, 1, 1.0)
    return drawn


def _draw_system_level(scenario: Scenario, array: UPA, user: User) -> _Drawn:
    """The rays of UMi or UMa (section 7.5, steps 1 to 9), for a station that receives."""
    tr38901 = load_sionna()
    # only passed on to the coefficient generator, but its type is insisted on
    element = tr38901.PanelArray(1, 1, "single", "V", "omni", array.carrier_hz, **ON_CPU)
    losses = {"enable_pathloss": scenario.path_loss, "enable_shadow_fading": scenario.path_loss}
    kind = {"umi": tr38901.UMi, "uma": tr38901.UMa}[scenario.model]
    channel = kind(array.carrier_hz, "low", element, element, "uplink", **losses, **ON_CPU)
    del channel._cir_sampler
    drawn = channel._cir_sampler = _Drawn()
    set_topology(channel, array, user)
    gain, _ = channel(1, 1.0)
    drawn.amplitude = float(gain.real)
    return drawn


def set_topology(channel: Any, array: UPA, user: User) -> None:
    """Tell a model of Sionna's where the array and the outdoor user are."""
    import torch

    def vectors(values: ArrayLike) -> Any:
        return torch.as_tensor(np.asarray(values, dtype=np.float64).reshape(1, 1, 3))

    channel.set_topology(
        ut_loc=vectors(user.position_m),
        bs_loc=vectors(array.position),
        ut_orientations=vectors((0.0, 0.0, 0.0)),
        bs_orientations=vectors(array.orientation_rad),
        ut_velocities=vectors(user.velocity_mps),
        in_state=torch.zeros((1, 1), dtype=torch.bool),
        los="random",
    )


def _separate(drawn: _Drawn, phases: Any) -> tuple[Any, Float]:
    """The rays of all clusters as clusters of one ray, the line of sight first; and their delays [ray] in s.

    The first ray has no power of its own: Sionna adds the line of sight to it. The "delays" given to Sionna, which
    sorts by them, are the rays' numbers. ``phases`` [..., cluster, ray, 4] are those of step 10.
    """
    import torch

    rays, topology = drawn.rays, drawn.topology
    per_cluster = rays.aoa.shape[-1]
    delay_s = rays.delays.reshape(-1, 1).numpy().repeat(per_cluster, axis=1)
    if drawn.cluster_delay_spread_s is not None:
        strongest = rays.powers.reshape(-1).argsort(descending=True)[:2].numpy()
        delay_s[strongest] += SUBCLUSTER_DELAYS * float(drawn.cluster_delay_spread_s)

    def flat(values: Any, first: Any) -> Any:
        shape = rays.aoa.shape
        values = values.expand(shape).reshape(1, 1, 1, -1, 1)
        return torch.cat([torch.as_tensor(first, dtype=torch.float64).reshape(1, 1, 1, 1, 1), values], dim=3)

    powers = flat((rays.powers / per_cluster)[..., None], 0.0)[..., 0]
    separate = type(rays)(
        delays=torch.arange(powers.shape[-1], dtype=torch.float64).reshape(powers.shape),
        powers=powers,
        aoa=flat(rays.aoa, topology.los_aoa),
        aod=flat(rays.aod, topology.los_aod),
        zoa=flat(rays.zoa, topology.los_zoa),
        zod=flat(rays.zod, topology.los_zod),
        xpr=flat(rays.xpr, 1.0),
        phases=torch.nn.functional.pad(phases.reshape(1, 1, 1, -1, 1, 4), (0, 0, 0, 0, 1, 0)),
    )
    return separate, np.concatenate([[0.0], delay_s.reshape(-1)])


def _evaluate(drawn: _Drawn, array: UPA, user: User, rays: Any, steps: Float) -> NDArray[np.complex128]:
    """Coefficients [step, polarisation, ray] of separate rays at the array's centre (step 11, eq. 7.5-28 to 7.5-30)."""
    import torch

    topology = drawn.topology
    topology.velocities = torch.from_numpy(user.velocity_mps.reshape(1, 1, 3))
    topology.rx_orientations = torch.tensor(array.orientation_rad, dtype=torch.float64).reshape(1, 1, 3)
    generator = load_sionna().ChannelCoefficientsGenerator(
        array.carrier_hz,
        tx_array=_CentreElements("isotropic", (0.0,)),
        rx_array=_CentreElements(array.pattern, SLANTS_RAD[array.polarization]),
        subclustering=False,
        **ON_CPU,
    )
    rate = 1.0 / steps[1] if len(steps) > 1 else 1.0
    coefficients, _ = generator(len(steps), rate, drawn.k_factor, rays, topology)
    return np.asarray(coefficients[0, 0, 0, :, :, 0, :].permute(2, 1, 0).numpy())
