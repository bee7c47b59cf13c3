"""Exact image method in NumPy: line of sight and specular reflections, for every antenna of an array.

It shares no code with the ray tracer, so it is the oracle that the tracer is tested against, and the fallback
where no LLVM exists. Chains of planes are found for a few anchor points of the array (corners, edge middles,
centre); each chain is then evaluated for all elements: image, interaction points, occlusion, field. Not modelled:
transmission through walls, diffraction, diffuse scattering, and chains that no anchor sees. Time and candidates of
the second depth grow with the square of the number of planes: well under a second a position for some thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA, ElementPattern, rotation_matrix
from channelfm.errors import InputError
from channelfm.records import Paths, Scene, Trajectory
from channelfm.scenes.materials import electromagnetic_properties
from channelfm.tracing.antennas import SLANTS, UserPolarization, check_user_antenna, field_pattern, look_at_angles
from channelfm.tracing.fresnel import (
    DEFAULT_THICKNESS_M,
    complex_permittivity,
    reflect_field,
    slab_reflection,
    slab_thickness_wavelengths,
)
from channelfm.tracing.planes import PlanarScene, planar_scene
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]
Complex128 = NDArray[np.complex128]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

Chain = tuple[int, ...]  # planes from the user to the array; () is the line of sight
SPECULAR = 1  # Sionna's interaction code
LARGEST_DEPTH = 2
CHUNK_PLANE_PAIRS = 200_000  # a few megabytes: the arithmetic of a chunk stays in cache
SHORTEST_SEGMENT_M = 1e-6


def trace_images(
    scene: Scene,
    trajectory: Trajectory,
    array: UPA,
    max_depth: int = 2,
    user_pattern: ElementPattern = "tr38901",
    thickness_m: float = DEFAULT_THICKNESS_M,
    user_polarization: UserPolarization = "V",
) -> Paths:
    """Trace unobstructed specular paths from every snapshot's user to every antenna, in float64.

    The user transmits (the channel is reciprocal), has one antenna of ``user_pattern`` and ``user_polarization``,
    and looks at the array's centre. The antenna axis holds the elements once per polarisation of the array. Surfaces
    are slabs of ``thickness_m`` metres with the ITU materials of the scene; infinity makes them half-spaces. Path
    slots are ordered by the delay at the array centre; ``points_m``, ``departure`` and ``arrival`` are those of the
    centre, or, where the centre does not see the path, of the nearest element that does. Source: SPEC 1; gain
    lambda / (4 pi d) C_rx . R ... R C_tx.

    Raises
    ------
    InputError : on a ``max_depth`` outside 0 ... 2, a thickness that is negative, a user's antenna that does not exist,
        or a user at an antenna.
    """
    check_user_antenna(user_pattern, user_polarization)
    if max_depth not in range(LARGEST_DEPTH + 1):
        raise InputError(f"max_depth = {max_depth}: the image method goes up to {LARGEST_DEPTH}; give 0, 1 or 2")
    if not thickness_m >= 0:
        raise InputError(f"thickness_m = {thickness_m}: give metres >= 0, e.g. {DEFAULT_THICKNESS_M}")
    geometry = planar_scene(scene)
    surfaces, notes = _surfaces(geometry, array.carrier_hz, thickness_m)
    traced: list[list[_Path]] = []
    for user, velocity in zip(trajectory.positions_m, trajectory.velocities_mps, strict=True):
        distance = np.linalg.norm(array.element_positions - user, axis=1).min()
        if not distance > SHORTEST_SEGMENT_M:
            raise InputError(f"user position {user.tolist()} coincides with an antenna; move the user or the array")
        link = _Link(geometry, surfaces, array, user, velocity, user_pattern, user_polarization)
        chains = [(), *find_chains(geometry, user, _anchors(array), max_depth)]
        paths = [path for path in map(link.follow, chains) if path is not None]
        traced.append(sorted(paths, key=lambda path: path.centre_delay_s))
    return _collect(traced, trajectory, array, max(max_depth, 1), notes)


def find_chains(geometry: PlanarScene, user: Float, anchors: Float, max_depth: int) -> list[Chain]:
    """Chains of one to ``max_depth`` planes that carry an unobstructed specular path from the user [3] to any
    of the anchors [N, 3], without repetition and in a fixed order."""
    found: set[Chain] = set()
    if max_depth >= 1:
        for anchor in anchors:
            found.update(_single_bounces(geometry, user, anchor))
    if max_depth >= 2:
        pairs = _plausible_pairs(geometry, user, anchors)
        for anchor in anchors:
            found.update(_double_bounces(geometry, user, anchor, *pairs))
    return sorted(found, key=lambda chain: (len(chain), chain))


def _single_bounces(geometry: PlanarScene, user: Float, anchor: Float) -> list[Chain]:
    user_height = geometry.normal @ user - geometry.offset
    anchor_height = geometry.normal @ anchor - geometry.offset
    plane = np.flatnonzero(user_height * anchor_height > 0.0)
    share = user_height[plane] / (user_height[plane] + anchor_height[plane])
    image = geometry.mirror(np.broadcast_to(user, (len(plane), 3)), plane)
    points = _along(image, anchor, share)
    kept = _carries_path(geometry, user, anchor, [plane], [points])
    return [(int(index),) for index in plane[kept]]


def _plausible_pairs(geometry: PlanarScene, user: Float, anchors: Float) -> tuple[Index, Index]:
    """First and second planes [N] of all double bounces that bounding spheres do not rule out.

    The line L from the user's image in the first plane to an anchor's image in the second passes through both
    interaction points, hence through the bounding spheres of both surfaces. For every anchor at once: the lines
    of all anchors stay within the anchors' own radius of the middle one's. With w from a line's end to a
    sphere's centre, the line meets the sphere if |w|^2 |L|^2 - (w . L)^2 <= radius^2 |L|^2.
    """
    middle = (anchors.min(axis=0) + anchors.max(axis=0)) / 2.0
    slack = float(np.linalg.norm(anchors - middle, axis=1).max()) + 1e-6
    every = np.arange(len(geometry.normal))
    user_image = geometry.mirror(np.broadcast_to(user, geometry.normal.shape), every)
    middle_image = geometry.mirror(np.broadcast_to(middle, geometry.normal.shape), every)
    centre = (geometry.lower + geometry.upper) / 2.0
    radius = np.linalg.norm(geometry.upper - geometry.lower, axis=1) / 2.0 + slack
    to_first, to_second = centre - user_image, centre - middle_image
    first_miss = np.sum(to_first**2, axis=1) - radius**2
    second_miss = np.sum(to_second**2, axis=1) - radius**2
    first, second = [every[:0]], [every[:0]]
    rows = max(1, CHUNK_PLANE_PAIRS // max(1, len(every)))
    for start in range(0, len(every), rows):
        part = slice(start, start + rows)
        end = user_image[part]
        squared = np.sum(end**2, axis=1)[:, None] + np.sum(middle_image**2, axis=1) - 2.0 * end @ middle_image.T
        along_first = to_first[part] @ middle_image.T - np.sum(to_first[part] * end, axis=1)[:, None]
        along_second = end @ to_second.T - np.sum(to_second * middle_image, axis=1)
        meets = first_miss[part, None] * squared <= along_first**2
        meets &= second_miss * squared <= along_second**2
        row, column = np.nonzero(meets)
        first.append(row + start)
        second.append(column)
    one, two = np.concatenate(first), np.concatenate(second)
    return one[one != two], two[one != two]


def _double_bounces(geometry: PlanarScene, user: Float, anchor: Float, first: Index, second: Index) -> list[Chain]:
    """The line from the user's image in the first plane to the anchor's image in the second meets both planes
    at the interaction points; crossing them in that order puts user, anchor and points on the proper sides."""
    normal, offset = geometry.normal, geometry.offset
    user_image = geometry.mirror(np.broadcast_to(user, (len(first), 3)), first)
    anchor_image = geometry.mirror(np.broadcast_to(anchor, (len(first), 3)), second)
    user_height, anchor_height = normal[first] @ user - offset[first], normal[second] @ anchor - offset[second]
    anchor_above_first = np.sum(normal[first] * anchor_image, axis=1) - offset[first]
    user_above_second = np.sum(normal[second] * user_image, axis=1) - offset[second]
    # An image lies as far below its own plane as its source lies above.
    with np.errstate(divide="ignore", invalid="ignore"):
        first_share = user_height / (user_height + anchor_above_first)
        second_share = user_above_second / (user_above_second + anchor_height)
        ordered = np.flatnonzero((first_share > 0.0) & (first_share < second_share) & (second_share < 1.0))
    planes = [first[ordered], second[ordered]]
    line = user_image[ordered], anchor_image[ordered]
    points = [_along(*line, share[ordered]) for share in (first_share, second_share)]
    kept = _carries_path(geometry, user, anchor, planes, points)
    return [(int(one), int(two)) for one, two in zip(planes[0][kept], planes[1][kept], strict=True)]


def _along(start: Float, end: Float, share: Float) -> Float:
    """Points [N, 3] that divide the lines start -> end in the given shares [N]."""
    return np.asarray(start + share[:, None] * (end - start))


def _carries_path(geometry: PlanarScene, user: Float, anchor: Float, planes: list[Index], points: list[Float]) -> Index:
    """Indices of candidates whose interaction points lie on the surfaces and whose segments are free."""
    kept = np.arange(len(planes[0]))
    for test in (geometry.in_box, lambda at, plane: geometry.triangle_at(at, plane) >= 0):
        for plane, point in zip(planes, points, strict=True):
            kept = kept[test(point[kept], plane[kept])]
    stops = [np.broadcast_to(user, points[0].shape), *points, np.broadcast_to(anchor, points[0].shape)]
    none = np.full(len(planes[0]), -1, dtype=np.int64)
    ends = [none, *planes, none]
    for leg in range(len(stops) - 1):
        ignored = np.stack([ends[leg], ends[leg + 1]], axis=1)
        kept = kept[~geometry.blocked(stops[leg][kept], stops[leg + 1][kept], ignored[kept])]
    return kept


@dataclass(frozen=True)
class _Surface:
    """One material at the carrier frequency."""

    permittivity: complex
    thickness_wavelengths: float


def _surfaces(geometry: PlanarScene, frequency_hz: float, thickness_m: float) -> tuple[list[_Surface], dict[str, str]]:
    """The scene's materials at a frequency, and notes on those outside their ITU range."""
    surfaces, notes = [], {}
    for name in geometry.materials:
        properties = electromagnetic_properties(name, frequency_hz)
        permittivity = complex_permittivity(
            properties.relative_permittivity, properties.conductivity_s_per_m, frequency_hz
        )
        surfaces.append(_Surface(permittivity, slab_thickness_wavelengths(thickness_m, frequency_hz)))
        if properties.note is not None:
            notes[name] = properties.note
    return surfaces, notes


def _anchors(array: UPA) -> Float:
    """Centre, corners and edge middles [N, 3] of an array, without repetition."""
    rows, cols = ({0, count // 2, count - 1} for count in (array.rows, array.cols))
    elements = array.element_positions[sorted(row * array.cols + col for row in rows for col in cols)]
    return np.unique(np.vstack([np.asarray(array.position, dtype=np.float64), elements]), axis=0)


@dataclass(frozen=True)
class _Path:
    """One chain evaluated for all A antennas; see ``Paths`` for the fields."""

    chain: Chain
    valid: Mask
    gain: Complex128
    delay_s: Float
    doppler_hz: Float
    points_m: Float
    departure: Float
    arrival: Float
    centre_delay_s: float


@dataclass(frozen=True)
class _Link:
    """One user and the array, ready to follow chains."""

    geometry: PlanarScene
    surfaces: list[_Surface]
    array: UPA
    user: Float
    velocity: Float
    user_pattern: ElementPattern
    user_polarization: UserPolarization

    def follow(self, chain: Chain) -> _Path | None:
        """Evaluate a chain for every antenna; None if no antenna sees it."""
        centre = np.asarray(self.array.position, dtype=np.float64)
        receivers = np.vstack([centre, self.array.element_positions])
        stops, triangles, valid = self._interactions(chain, receivers)
        if not valid[1:].any():
            return None
        legs = [stops[i + 1][valid] - stops[i][valid] for i in range(len(stops) - 1)]
        lengths = [np.linalg.norm(leg, axis=1) for leg in legs]
        directions = [leg / length[:, None] for leg, length in zip(legs, lengths, strict=True)]
        total = np.sum(lengths, axis=0)
        field = self._field(chain, directions, [triangle[valid] for triangle in triangles])
        gain = _scatter((self.array.wavelength_m / (4.0 * np.pi * total))[:, None] * field, valid)
        doppler = _scatter(self.array.carrier_hz / SPEED_OF_LIGHT * directions[0] @ self.velocity, valid)
        delay = _scatter(total / SPEED_OF_LIGHT, valid)
        # Row 0 is the centre. Where it does not see the path, the nearest antenna that does stands in.
        distance = np.where(valid, np.linalg.norm(receivers - centre, axis=1), np.inf)
        seen = int(np.argmin(distance))
        among_valid = int(np.count_nonzero(valid[:seen]))
        return _Path(
            chain=chain,
            valid=np.tile(valid[1:], self.array.num_polarizations),
            gain=gain[1:].T.ravel(),
            delay_s=np.tile(delay[1:], self.array.num_polarizations),
            doppler_hz=np.tile(doppler[1:], self.array.num_polarizations),
            points_m=np.array([stop[seen] for stop in stops[1:-1]]).reshape(-1, 3),
            departure=directions[0][among_valid],
            arrival=-directions[-1][among_valid],
            centre_delay_s=float(delay[seen]),
        )

    def _interactions(self, chain: Chain, receivers: Float) -> tuple[list[Float], list[Index], Mask]:
        """Stops (user, interaction points, receivers) each [N, 3], triangles hit, and which receivers see it."""
        geometry = self.geometry
        images = [self.user]
        for plane in chain:
            images.append(geometry.mirror(images[-1], plane))
        valid = np.ones(len(receivers), dtype=bool)
        stops = [receivers]
        triangles: list[Index] = []
        for plane, image in zip(reversed(chain), reversed(images[1:]), strict=True):
            normal, offset = geometry.normal[plane], geometry.offset[plane]
            here = stops[0] @ normal - offset
            there = float(image @ normal - offset)
            # The image lies behind the mirror; a point on its side, or on the mirror, sees no reflection.
            valid &= here * there < 0.0
            share = np.where(valid, here / np.where(valid, here - there, 1.0), 0.0)
            point = _along(stops[0], image, share)
            triangle = np.full(len(receivers), -1, dtype=np.int64)
            triangle[valid] = geometry.triangle_at(point[valid], np.full(np.count_nonzero(valid), plane))
            valid &= triangle >= 0
            stops.insert(0, point)
            triangles.insert(0, triangle)
        stops.insert(0, np.broadcast_to(self.user, receivers.shape))
        ends = (-1, *chain, -1)
        for leg in range(len(stops) - 1):
            ignored = np.array([ends[leg], ends[leg + 1]])
            free = ~geometry.bundle_blocked(stops[leg][valid], stops[leg + 1][valid], ignored)
            valid[valid] = free
        return stops, triangles, valid

    def _field(self, chain: Chain, directions: list[Float], triangles: list[Index]) -> Complex128:
        """C_rx . R_n ... R_1 C_tx for receivers and polarisations [N, Q]: patterns and reflections, no spreading."""
        facing = rotation_matrix(look_at_angles(self.user, np.asarray(self.array.position, dtype=np.float64)))
        (slant,) = SLANTS[self.user_polarization]
        sent = field_pattern(self.user_pattern, slant, facing, directions[0])
        field = sent.astype(np.complex128)
        for bounce, plane in enumerate(chain):
            before, after = directions[bounce], directions[bounce + 1]
            normal = np.broadcast_to(self.geometry.normal[plane], before.shape)
            te, tm = self._coefficients(np.abs(np.sum(before * normal, axis=1)), triangles[bounce])
            field = reflect_field(field, before, after, normal, te, tm)
        array, back = self.array, -directions[-1]
        received = [field_pattern(array.pattern, slant, array.rotation, back) for slant in SLANTS[array.polarization]]
        return np.stack([np.sum(pattern * field, axis=1) for pattern in received], axis=1)

    def _coefficients(self, cos_incidence: Float, triangle: Index) -> tuple[Complex128, Complex128]:
        """Reflection coefficients (TE, TM) [N] of the material at each triangle [N]."""
        material = self.geometry.material[triangle]
        te = np.empty(len(triangle), dtype=np.complex128)
        tm = np.empty(len(triangle), dtype=np.complex128)
        for index in np.unique(material):
            here = material == index
            surface = self.surfaces[index]
            te[here], tm[here] = slab_reflection(
                cos_incidence[here], surface.permittivity, surface.thickness_wavelengths
            )
        return te, tm


def _scatter(values: NDArray[Any], valid: Mask) -> NDArray[Any]:
    """Values [V, ...] of the valid receivers, in an array over all of them that is zero elsewhere."""
    result = np.zeros((len(valid), *values.shape[1:]), dtype=values.dtype)
    result[valid] = values
    return result


def _collect(traced: list[list[_Path]], trajectory: Trajectory, array: UPA, depth: int, notes: dict[str, str]) -> Paths:
    """Put the paths of all snapshots into one record, as many slots as the richest snapshot needs."""
    slots = max(1, max((len(paths) for paths in traced), default=1))
    shape, antennas = (len(traced), slots), array.num_antennas
    paths = Paths(
        gain=np.zeros((*shape, antennas), dtype=np.complex64),
        delay_s=np.zeros((*shape, antennas)),
        valid=np.zeros((*shape, antennas), dtype=bool),
        doppler_hz=np.zeros((*shape, antennas), dtype=np.float32),
        interactions=np.zeros((*shape, depth), dtype=np.int32),
        points_m=np.zeros((*shape, depth, 3)),
        departure=np.zeros((*shape, 3)),
        arrival=np.zeros((*shape, 3)),
        times_s=trajectory.times_s.copy(),
        positions_m=trajectory.positions_m.copy(),
        carrier_hz=array.carrier_hz,
        method="images",
        materials=notes,
        array=array,
    )
    for snapshot, found in enumerate(traced):
        for slot, path in enumerate(found):
            at = (snapshot, slot)
            bounces = len(path.chain)
            paths.gain[at], paths.delay_s[at], paths.valid[at] = path.gain, path.delay_s, path.valid
            paths.doppler_hz[at] = path.doppler_hz
            paths.interactions[at][:bounces] = SPECULAR
            paths.points_m[at][:bounces] = path.points_m
            paths.departure[at], paths.arrival[at] = path.departure, path.arrival
    return paths
