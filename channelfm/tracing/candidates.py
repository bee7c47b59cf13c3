"""Which chains of reflections and walls join a user to the array: mirrors by geometry, walls by counting.

Straight transmission through walls bends no ray, so a chain's shape is its sequence of mirrors alone, and the walls
on its way can be counted afterwards. Sequences of mirrors belong to the scene and the array, not to the users: one
mirror is tried on every plane; longer sequences are those that dense rays from the array visit, shot once for all
users and all flights. For each user, image geometry then leaves the few sequences whose mirror points lie on the
mirrors, seen from the array's middle, and rays along their legs settle for a few anchor elements which of these are
open, and through how many walls.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.chains import DIFFRACTION, DIFFUSE, REFRACTION, SPECULAR, Chains, Mirrors, Triangles
from channelfm.tracing.edges import LIFT_M, Edges
from channelfm.tracing.rays import ONWARD_M, RayCaster, sphere_lattice
from channelfm.tracing.scatterers import Scatterers
from channelfm.tracing.settings import Settings
from channelfm.tracing.skylines import Skylines

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

_BEYOND_M = 0.5  # rays towards a mirror go on a little: rounding must not let them end before it
_RAYS_AT_ONCE, _FEW_NEW = 250_000, 0.01  # a batch, and the share of new sequences that is not worth another
_TRIPLES_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class ArrayView:
    """From where the array looks: its ``centre`` [3], ``anchors`` [N, 3] among its elements, and ``reach_m``, the
    largest distance of an element from the centre."""

    centre: Float
    anchors: Float
    reach_m: float


def sequences_seen(rays: RayCaster, plane: Index, view: ArrayView, settings: Settings) -> list[Index]:
    """Sequences of 2 to ``max_depth`` mirrors that rays from the array visit: planes [K, k], user's first, by length k.

    With ``refraction``, rays also go through walls before and between reflections, in every order that a chain of
    ``max_depth`` interactions can have. ``plane`` [F] numbers the planes of the triangles. Batches of rays are shot
    until one brings few new sequences, or ``settings.rays`` in all.
    """
    origins = np.vstack([view.centre, view.anchors])
    found: dict[int, Index] = {}
    for batch, shot in enumerate(range(0, settings.rays, _RAYS_AT_ONCE)):
        directions = sphere_lattice(min(_RAYS_AT_ONCE, settings.rays - shot), settings.seed + batch)
        known = sum(map(len, found.values()))
        for word in _words(settings.max_depth, settings.refraction):
            hits = rays.visited(origins[batch % len(origins)], directions, word)
            _add_sequences(found, plane, hits, word)
        total = sum(map(len, found.values()))
        if batch and total - known <= _FEW_NEW * total:
            break
    return [found[length] for length in sorted(found)]


def _add_sequences(found: dict[int, Index], plane: Index, hits: Index, word: str) -> None:
    """Add to the sequences found, by length, those of the rays that hit triangles [N, D] as a word says."""
    planes = np.where(hits >= 0, plane[hits], -1)
    bounces = [at for at, letter in enumerate(word) if letter == "R"]
    for length in range(2, len(bounces) + 1):
        turned = planes[:, bounces[:length][::-1]]  # rays leave the array, so their last mirror is the user's first
        new = _distinct(turned[(turned >= 0).all(axis=1)])
        found[length] = _distinct(np.concatenate([found[length], new])) if length in found else new


def _words(depth: int, refraction: bool) -> list[str]:
    """What may happen at each hit of a ray that shows at least two mirrors."""
    words = ["".join(letters) for letters in product("RT" if refraction else "R", repeat=depth)]
    return [word for word in words if word.endswith("R") and word.count("R") >= 2]


def _distinct(rows: Index) -> Index:
    """The rows [K, k] once each, sorted; columns are packed into one number as they come, to sort numbers only."""
    label = np.zeros(len(rows), np.int64)
    for column in rows.T:
        _, label = np.unique(label * (column.max(initial=0) + 1) + column, return_inverse=True)
    _, first = np.unique(label, return_index=True)
    return rows[first]


@dataclass(frozen=True)
class Found:
    """Open chains: of which ``user`` int64 [N] each of the ``chains`` is."""

    user: Index
    chains: Chains

    def select(self, index: Any) -> Found:
        """The chains that a NumPy index picks."""
        return Found(self.user[index], self.chains.select(index))

    @classmethod
    def joined(cls, parts: list[Found]) -> Found:
        """All chains of several sets, one after the other."""
        return cls(np.concatenate([part.user for part in parts]), Chains.joined([part.chains for part in parts]))


class Candidates:
    """All candidate chains between any user and one array."""

    def __init__(self, rays: RayCaster, triangles: Triangles, view: ArrayView, settings: Settings) -> None:
        self._rays, self._triangles, self._mirrors = rays, triangles, Mirrors.of(triangles)
        self._view, self._depth, self._refraction = view, settings.max_depth, settings.refraction
        singles = [np.arange(len(self._mirrors))[:, None]] if self._depth > 0 else []
        longer = sequences_seen(rays, triangles.plane, view, settings) if self._depth > 1 else []
        self._beams = [_Beams(self._mirrors, item, view) for item in [*singles, *longer]]

    def find(self, users: Float) -> Found:
        """Chains from users [U, 3] to at least one anchor, lines of sight through walls included, free ones not."""
        everyone = np.arange(len(users))
        parts = [self._open(users, everyone, np.zeros((len(users), 0), np.int64))]
        for beams in self._beams:
            user, row = beams.serving(users)
            parts.append(self._open(users, user, beams.planes[row]))
        return Found.joined(parts)

    def _open(self, users: Float, user: Index, planes: Index) -> Found:
        """Which of the rows (user [N], planes [N, k]) are open to an anchor, with the walls on their way."""
        anchors, bounces = self._view.anchors, planes.shape[1]
        seen = [np.zeros((0, 2 * bounces + 2), np.int64)]  # row, walls by leg, triangle by mirror
        at_once = max(1, _TRIPLES_AT_ONCE // len(anchors))
        for start in range(0, len(user), at_once):
            row = np.repeat(np.arange(start, min(len(user), start + at_once)), len(anchors))
            stops, possible = self._mirrors.stops(users[user[row]], planes[row], np.resize(anchors, (len(row), 3)))
            row = row[possible]
            kept, walls, triangle = self._walls(stops[possible], planes[row])
            seen.append(np.column_stack([row[kept], walls, triangle]))
        return self._distinct_chains(np.concatenate(seen), user, planes)

    def _distinct_chains(self, seen: Index, user: Index, planes: Index) -> Found:
        """What anchors see, (row of user and planes, walls by leg, triangle by mirror), as chains of each user, once
        each and without free lines of sight."""
        bounces = planes.shape[1]
        _, first = np.unique(seen[:, : bounces + 2], axis=0, return_index=True)
        first = first[(seen[first, 1 : bounces + 2] > 0).any(axis=1) | (bounces > 0)]
        row, walls, triangle = seen[first, 0], seen[first, 1 : bounces + 2], seen[first, bounces + 2 :]
        return Found(user[row], self._chains(walls, np.full(bounces, SPECULAR), triangle, np.full(triangle.shape, -1)))

    def diffracted(self, users: Float, edges: Edges) -> Found:
        """Chains of one diffraction, with walls before and after it, that are open to an anchor."""
        hits = [edges.diffracting(user, self._view.centre, self._view.reach_m) for user in users]
        user, edge = np.repeat(np.arange(len(users)), [len(hit) for hit in hits]), np.concatenate(hits)
        wedges, start = edges.select(edge), users[user]
        lines = [np.zeros((0, 3), np.int64)]  # row, walls on both legs
        for anchor in self._view.anchors:
            end = np.broadcast_to(anchor, start.shape)
            place = wedges.places(start, end)
            row = np.flatnonzero((place > 0.0) & (place < wedges.length) & wedges.outside(end))
            stops = np.stack([start, wedges.points(place) + LIFT_M * wedges.outwards, end], axis=1)[row]
            kept, walls, _ = self._walls(stops, np.full((len(row), 1), -1))
            lines.append(np.column_stack([row[kept], walls]))
        seen = np.unique(np.concatenate(lines), axis=0)
        row, walls = seen[:, 0], seen[:, 1:]
        site = edge[row, None]
        return Found(user[row], self._chains(walls, np.array([DIFFRACTION]), edges.near_triangle[site], site))

    def over_roofs(self, users: Float, ends: Float, edges: Edges, skylines: Skylines) -> Found:
        """Chains of two and more diffractions from users [U, 3] to any of ends [N, 3]; whether they are open is not
        tested."""
        strings = [set().union(*(skylines.strings(user, end) for end in ends)) for user in users]
        parts = [Found(np.zeros(0, np.int64), Chains.empty(0, self._depth))]
        for count in range(2, self._depth + 1):
            listed = [
                (user, string)
                for user, of_user in enumerate(strings)
                for string in sorted(of_user)
                if len(string) == count
            ]
            if listed:
                site = np.array([string for _, string in listed])
                walls, kinds = np.zeros((len(site), count + 1), np.int64), np.full(count, DIFFRACTION)
                chains = self._chains(walls, kinds, edges.near_triangle[site], site)
                parts.append(Found(np.array([user for user, _ in listed]), chains))
        return Found.joined(parts)

    def scattered(self, users: Float, scatterers: Scatterers) -> Found:
        """Chains of one diffuse reflection at scatterers that face the user; whether they are open is not tested."""
        user, scatterer = scatterers.facing(users)
        walls, site = np.zeros((len(user), 2), np.int64), scatterer[:, None]
        return Found(user, self._chains(walls, np.array([DIFFUSE]), scatterers.triangle[site], site))

    def _chains(self, walls: Index, between: Index, triangle: Index, site: Index) -> Chains:
        """Chains with walls [N, k + 1] on their legs and interactions ``between`` [k] them, on triangles and at sites
        [N, k]."""
        kinds = np.zeros((len(walls), max(1, self._depth)), np.int64)
        touched, sites = np.zeros_like(kinds), np.full_like(kinds, -1)
        place, number = np.zeros(len(walls), np.int64), np.arange(len(walls))
        for leg in range(walls.shape[1]):
            for wall in range(int(walls[:, leg].max(initial=0))):
                more = walls[:, leg] > wall
                kinds[number[more], place[more]] = REFRACTION
                place += more
            if leg < len(between):
                kinds[number, place], touched[number, place] = between[leg], triangle[:, leg]
                sites[number, place] = site[:, leg]
                place += 1
        return Chains(kinds, touched, sites)

    def _walls(self, stops: Float, planes: Index) -> tuple[Index, Index, Index]:
        """Which rows are open, and of these the walls on each leg int64 [O, k + 1] and the triangle hit on each
        mirror [O, k]; rows are legs between stops [N, k + 2, 3] with mirrors in planes [N, k]."""
        bounces, row = planes.shape[1], np.arange(len(stops))
        walls, mirror = np.zeros((len(stops), bounces + 1), np.int64), np.zeros((len(stops), bounces), np.int64)
        none = np.full((len(stops), 1), -1)
        ends = np.concatenate([none, planes, none], axis=1)
        for leg in range(bounces, -1, -1):
            spare = self._depth - bounces if self._refraction else 0
            allowed = spare - walls[row, leg + 1 :].sum(axis=1)
            crossed, hit = self._leg(stops[row, leg], stops[row, leg + 1], ends[row, leg], ends[row, leg + 1], allowed)
            row, crossed, hit = row[crossed >= 0], crossed[crossed >= 0], hit[crossed >= 0]
            walls[row, leg] = crossed
            if leg < bounces:
                mirror[row, leg] = hit
        return row, walls[row], mirror[row]

    def _leg(self, start: Float, end: Float, behind: Index, ahead: Index, allowed: Index) -> tuple[Index, Index]:
        """Walls crossed between start and end [N, 3], -1 if more than ``allowed`` [N] or if the mirror that should be
        at the end is not there; and the triangle hit on that mirror.

        ``behind`` and ``ahead`` [N] are the planes of the mirrors at both ends, -1 at users and array. A straight leg
        meets these planes nowhere else, so hits on them are no walls.
        """
        length = np.linalg.norm(end - start, axis=1)
        direction = (end - start) / np.maximum(length, 1e-9)[:, None]
        length = np.where(ahead >= 0, length + _BEYOND_M, length * (1.0 - 1e-6))
        walls, mirror = np.zeros(len(start), np.int64), np.full(len(start), -1)
        travelled, active = np.zeros(len(start)), np.arange(len(start))
        while len(active):
            here = start[active] + travelled[active, None] * direction[active]
            distance, hit = self._rays.first_hits(here, direction[active], length[active] - travelled[active])
            active, distance, hit = active[hit >= 0], distance[hit >= 0], hit[hit >= 0]
            plane = self._triangles.plane[hit]
            arrived = plane == ahead[active]
            mirror[active[arrived]] = hit[arrived]
            walls[active] += ~arrived & (plane != behind[active])
            travelled[active] += distance + ONWARD_M
            active = active[~arrived & (walls[active] <= allowed[active]) & (travelled[active] < length[active])]
        walls[(walls > allowed) | ((ahead >= 0) & (mirror < 0))] = -1
        return walls, mirror


class _Beams:
    """Sequences with the images of the array's middle in them: where the array would seem to stand.

    A user whom a sequence serves sees the image through the first mirror, hence within a cone around it.
    """

    def __init__(self, mirrors: Mirrors, planes: Index, view: ArrayView) -> None:
        self.planes, self._mirrors, self._reach = planes, mirrors, view.reach_m + 1e-3
        image = np.broadcast_to(view.centre, (len(self.planes), 3))
        self._images: list[Float] = []  # of the array in the mirrors from this one on
        for plane in self.planes.T[::-1]:
            image = mirrors.image(image, plane)
            self._images.insert(0, image)
        first = self.planes[:, 0]
        middle = (mirrors.lower[first] + mirrors.upper[first]) / 2.0 - image
        distance = np.maximum(np.linalg.norm(middle, axis=1), 1e-9)
        radius = np.linalg.norm(mirrors.upper[first] - mirrors.lower[first], axis=1) / 2.0 + 2.0 * self._reach
        self._axis = middle / distance[:, None]
        self._along = np.sum(self._axis * image, axis=1)
        self._norm = np.sum(image**2, axis=1)
        # An image inside the sphere around its mirror is seen from everywhere.
        self._cosine = np.where(radius < distance, np.sqrt(np.clip(1.0 - (radius / distance) ** 2, 0.0, 1.0)), -1.0)

    def serving(self, users: Float) -> tuple[Index, Index]:
        """User [N] and sequence [N] of all pairs whose mirror points, from users [U, 3] to the array's middle, lie on
        (nearly) their mirrors."""
        pairs = [np.nonzero(self._in_cone(user)) for user in users]
        user = np.repeat(np.arange(len(users)), [len(pair[0]) for pair in pairs])
        row = np.concatenate([pair[0] for pair in pairs])
        mirrors, start = self._mirrors, users[user]
        for bounce, images in enumerate(self._images):
            plane = self.planes[row, bounce]
            here, there = mirrors.height(start, plane), mirrors.height(images[row], plane)
            apart = np.where(here == there, 1.0, here - there)
            share = np.clip(here / apart, 0.0, 1.0)
            start = start + share[:, None] * (images[row] - start)
            inside = (start >= mirrors.lower[plane] - self._reach) & (start <= mirrors.upper[plane] + self._reach)
            # The image lies behind the mirror, or so near to it that some element's image may.
            kept = inside.all(axis=1) & ((here * there < 0.0) | (np.abs(there) < self._reach))
            user, row, start = user[kept], row[kept], start[kept]
        return user, row

    def _in_cone(self, user: Float) -> Mask:
        along = self._axis @ user - self._along
        squared = user @ user - 2.0 * (self._images[0] @ user) + self._norm
        return np.asarray(along >= self._cosine * np.sqrt(np.maximum(squared, 0.0)))
