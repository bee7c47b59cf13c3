"""Exact near field at far-field cost: candidates once, then every element evaluates only what is open (SPEC 4).

Tracing each element by itself costs (candidate chains) x (elements). But the chains that are open are few, and
neighbouring elements share them. So the mirrors that the array can see are found once for scene and array, the open
chains of each user are settled at a few anchor elements, and these chains are then solved - image method, occlusion
test and field - at every element. A chain that exists for a part of the array only must be seen by some anchor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.records import Paths, Scene, Trajectory
from channelfm.tracing.antennas import look_at_angles
from channelfm.tracing.candidates import ArrayView, Candidates, Found
from channelfm.tracing.chains import DIFFRACTION, Chains, Endpoints, Solution
from channelfm.tracing.scatterers import SCATTERING_NOTE, Scatterers
from channelfm.tracing.settings import Settings
from channelfm.tracing.sionna import SionnaScene
from channelfm.tracing.skylines import Skylines
from channelfm.units import SPEED_OF_LIGHT

Float = NDArray[np.float64]

ANCHOR_SPACING_M = 0.35  # an edge's shadow on the array is seen if it is wider than this
SCATTERING_RAYS = 4_000  # from the array, one patch of surface each
MOST_OF_A_KIND = 64  # diffracted, and scattered, paths of one user
_PAIRS_AT_ONCE = 1 << 19  # of chain and element: bounds the memory of one call of the solver to about 400 MB
_LIKE_SEVERAL_EDGES = 8  # chains over one edge take as much memory as one over several
_USERS_AT_ONCE = 64
_SAME_POINT_M = 0.02  # interaction points nearer than this belong to one path


class NearFieldTracer:
    """One scene and one array inside the ray tracer, with all that does not depend on the users.

    Results of ``trace`` depend on the scene, the array, the settings and each snapshot's own position alone.
    """

    def __init__(self, scene: Scene, array: UPA, settings: Settings) -> None:
        self.array, self._settings = array, settings
        self._scene = SionnaScene(
            scene,
            array.carrier_hz,
            settings.max_depth,
            refraction=settings.refraction,
            diffraction=settings.diffraction,
            diffuse=settings.diffuse,
        )
        self._patterns = (
            self._scene.pattern(settings.user_pattern, settings.user_polarization),
            self._scene.pattern(array.pattern, array.polarization),
        )
        centre = np.asarray(array.position, dtype=np.float64)
        view = ArrayView(centre, array.element_positions[anchor_elements(array)], array.aperture_m / 2)
        self._candidates = Candidates(self._scene.rays, self._scene.triangles, view, settings)
        if settings.diffuse:
            self._scene.solver.scatterers = Scatterers.seen_from(
                self._scene.rays, self._scene.triangles, centre, SCATTERING_RAYS, settings.seed
            )
            self._scene.material_notes["diffuse scattering"] = SCATTERING_NOTE
        # The array centre goes last: directions and interaction points are reported as seen from there.
        self._elements = _array_end(array, np.vstack([array.element_positions, centre]))
        self._centre = _array_end(array, centre[None])
        corners = array.element_positions[anchor_elements(array, max(array.aperture_m, array.spacing_m))]
        self._outline = _array_end(array, np.vstack([corners, centre]))
        if self._scene.edge_solver is not None:
            self._skylines = Skylines(self._scene.edge_solver.edges, array.wavelength_m, settings.max_depth)
        beyond = settings.plane_wave_beyond
        self._plane_wave_m = np.inf if beyond is None else beyond * array.rayleigh_distance_m

    def trace(self, trajectory: Trajectory, progress: Callable[[int], None]) -> Paths:
        """Paths to every antenna; see ``channelfm.trace``. ``progress`` is told the number of snapshots just done."""
        parts = []
        for start in range(0, len(trajectory), _USERS_AT_ONCE):
            group = trajectory.select(slice(start, start + _USERS_AT_ONCE))
            parts += [replace(rows, user=rows.user + start) for rows in self._rows(group)]
            progress(len(group))
        return self._into_slots(parts, trajectory)

    def _rows(self, group: Trajectory) -> list[_Rows]:
        """All paths of some users, in pieces."""
        centre = self._centre.positions_m[0]
        looks = np.array([look_at_angles(position, centre) for position in group.positions_m])
        users = Endpoints(group.positions_m, looks, group.velocities_mps)
        direct = Found(np.arange(len(users)), Chains.empty(len(users), self._settings.max_depth))
        kinds = [direct, self._candidates.find(users.positions_m)]
        over_edges, scatterers = self._scene.edge_solver, self._scene.solver.scatterers
        if over_edges is not None and self._settings.max_depth > 0:
            single = self._candidates.diffracted(users.positions_m, over_edges.edges)
            ends = (self._outline if self.array.aperture_m > ANCHOR_SPACING_M else self._centre).positions_m
            several = self._candidates.over_roofs(users.positions_m, ends, over_edges.edges, self._skylines)
            kinds += _by_edges(self._strongest(users, Found.joined([single, several])))
        if scatterers is not None and self._settings.max_depth > 0:
            kinds.append(self._strongest(users, self._candidates.scattered(users.positions_m, scatterers)))
        far = np.linalg.norm(users.positions_m - centre, axis=1) > self._plane_wave_m
        parts = []
        for found in kinds:
            for chosen, elements in ((~far[found.user], self._elements), (far[found.user], self._centre)):
                parts += self._solved(users, found.select(chosen), elements)
        return parts

    def _strongest(self, users: Endpoints, found: Found) -> Found:
        """The strongest chains of each user as centre and corners of the array see them, ``MOST_OF_A_KIND`` at most."""
        pieces = [piece for alike in _by_edges(found) for piece in _pieces(alike, len(self._outline))]
        powers = [np.zeros(0)]
        for piece in pieces:
            solution = self._solution(users, piece.user, piece.chains, self._outline)
            seen = np.where(solution.valid, np.sum(np.abs(solution.gain) ** 2, axis=1), 0.0)
            powers.append(seen.max(axis=1))
        found, power = Found.joined(pieces) if pieces else found, np.concatenate(powers)
        order = np.lexsort([-power, found.user])
        first = np.searchsorted(found.user[order], found.user[order])
        order = order[np.arange(len(order)) - first < MOST_OF_A_KIND]
        return found.select(order[power[order] > 0.0])

    def _solution(self, users: Endpoints, user: NDArray[np.intp], chains: Chains, elements: Endpoints) -> Solution:
        """Chains that pass over one number of edges, or over none, solved by who knows them."""
        over_edges = bool((chains.kinds[:1] == DIFFRACTION).any())
        solver = self._scene.edge_solver if over_edges else self._scene.solver
        assert solver is not None
        return solver.solve(chains, user, users, elements, self._patterns)

    def _solved(self, users: Endpoints, found: Found, elements: Endpoints) -> list[_Rows]:
        """Chains of users at the array's end: all elements, or its centre alone for plane waves."""
        return [self._piece(users, piece.user, piece.chains, elements) for piece in _pieces(found, len(elements))]

    def _piece(self, users: Endpoints, user: NDArray[np.intp], chains: Chains, elements: Endpoints) -> _Rows:
        """One call of the solver, with every polarisation's antennas side by side."""
        solution = self._solution(users, user, chains, elements)
        count, antennas = len(user), self.array.num_elements
        valid, delay = solution.valid, solution.length_m / SPEED_OF_LIGHT
        doppler, gain = solution.closing_mps / self.array.wavelength_m, solution.gain
        if len(elements) == 1:
            delay = delay - solution.arrival @ self.array.element_offsets.T / SPEED_OF_LIGHT
            valid, doppler = (np.broadcast_to(values, delay.shape) for values in (valid, doppler))
            gain = np.broadcast_to(gain, (count, gain.shape[1], antennas))
        valid = valid[:, :antennas]
        kept = _first_of_each_path(user, chains.kinds, solution.points_m) & valid.any(axis=1)

        def masked(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
            """Values [R, E] as antennas [R, A], 0 where invalid."""
            values = np.where(valid[kept], values[kept, :antennas], 0).astype(dtype)
            return np.tile(values, (1, self.array.num_polarizations))

        touched = chains.kinds[kept, :, None] > 0
        return _Rows(
            user=user[kept],
            gain=np.where(valid[kept, None], gain[kept, :, :antennas], 0).reshape(kept.sum(), self.array.num_antennas),
            delay_s=masked(delay, np.float64),
            valid=np.tile(valid[kept], (1, self.array.num_polarizations)),
            doppler_hz=masked(doppler, np.float32),
            interactions=chains.kinds[kept].astype(np.int32),
            points_m=np.where(touched, solution.points_m[kept], 0.0),
            departure=solution.departure[kept],
            arrival=solution.arrival[kept],
        )

    def _into_slots(self, parts: list[_Rows], trajectory: Trajectory) -> Paths:
        """Rows as path slots [S, P, ...], strongest first, at least one slot; empties ``parts`` as it goes."""
        user = np.concatenate([part.user for part in parts])
        power = np.concatenate([np.sum(np.abs(part.gain) ** 2, axis=1) for part in parts])
        order = np.lexsort([-power, user])
        counts = np.bincount(user, minlength=len(trajectory))
        first = np.cumsum(counts) - counts
        slot = np.empty(len(user), np.intp)
        slot[order] = np.arange(len(user)) - first[user[order]]
        shape = (len(trajectory), max(1, int(counts.max(initial=0))))
        names = [item.name for item in fields(_Rows) if item.name != "user"]
        filled: dict[str, Any] = {}
        done = 0
        while parts:
            part = parts.pop(0)
            place = part.user, slot[done : done + len(part.user)]
            done += len(part.user)
            for name in names:
                values = getattr(part, name)
                filled.setdefault(name, np.zeros((*shape, *values.shape[1:]), values.dtype))[place] = values
        return Paths(
            **filled,
            times_s=trajectory.times_s,
            positions_m=trajectory.positions_m,
            carrier_hz=self.array.carrier_hz,
            method="near-field",
            materials=dict(self._scene.material_notes),
            array=self.array,
        )


@dataclass(frozen=True)
class _Rows:
    """Paths, one row per (user, chain); antenna axis A, invalid entries 0."""

    user: NDArray[np.intp]  # [R]
    gain: NDArray[np.complex64]  # [R, A]
    delay_s: NDArray[np.float64]  # [R, A]
    valid: NDArray[np.bool_]  # [R, A]
    doppler_hz: NDArray[np.float32]  # [R, A]
    interactions: NDArray[np.int32]  # [R, D]
    points_m: NDArray[np.float64]  # [R, D, 3], at the reference element
    departure: NDArray[np.float64]  # [R, 3]
    arrival: NDArray[np.float64]  # [R, 3]


def anchor_elements(array: UPA, spacing_m: float = ANCHOR_SPACING_M) -> NDArray[np.intp]:
    """Indices of anchor elements: a grid over the array that includes its corners, about ``spacing_m`` apart."""
    row, col = (
        np.unique(np.round(np.linspace(0, count - 1, 1 + int(np.ceil((count - 1) * array.spacing_m / spacing_m)))))
        for count in (array.rows, array.cols)
    )
    return np.asarray((row[:, None] * array.cols + col[None, :]).ravel().astype(np.intp))


def _pieces(found: Found, elements: int) -> list[Found]:
    """Chains, all over equally many edges, in sets that the solver can hold with so many elements."""
    several = int((found.chains.kinds[:1] == DIFFRACTION).sum()) > 1
    at_once = max(1, _PAIRS_AT_ONCE // elements // (_LIKE_SEVERAL_EDGES if several else 1))
    return [found.select(slice(start, start + at_once)) for start in range(0, len(found.user), at_once)]


def _by_edges(found: Found) -> list[Found]:
    """Chains sorted into sets that pass over equally many edges."""
    edges = (found.chains.kinds == DIFFRACTION).sum(axis=1)
    return [found.select(edges == count) for count in np.unique(edges)]


def _array_end(array: UPA, positions: Float) -> Endpoints:
    orientations = np.broadcast_to(np.asarray(array.orientation_rad, dtype=np.float64), positions.shape)
    return Endpoints(positions, orientations, np.zeros_like(positions))


def _first_of_each_path(user: NDArray[np.intp], kinds: NDArray[np.int64], points: Float) -> NDArray[np.bool_]:
    """Drop rows that repeat another row's path: rounding can give one plane two numbers, which would count it twice."""
    spots = np.where(kinds[:, :, None] > 0, points, 0.0).reshape(len(points), 3 * points.shape[1])
    order = np.lexsort([*spots.T[::-1], *kinds.T, user])
    same = np.full(max(0, len(order) - 1), True)
    for labels in (user[order, None], kinds[order]):
        same &= (labels[1:] == labels[:-1]).all(axis=1)
    same &= np.abs(spots[order][1:] - spots[order][:-1]).max(axis=1, initial=0.0) < _SAME_POINT_M
    kept = np.ones(len(user), dtype=bool)
    kept[order[1:][same]] = False
    return kept
