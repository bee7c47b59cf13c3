"""Fields behind one edge and behind several, by the liftings of the path off its edges.

Over one edge: the uniform theory of diffraction. Over several, the waves that pass above them are added up as in the
multiple knife-edge integral of L. E. Vogler (Radio Science 17(6), 1982), so that neighbouring edges may graze each
other, stand close together or be of one height, where products of single diffractions fail. Each term of an edge
(``tracing.wedges``) is an exponential exp(-(1 + j) b w) of the path's lifting w >= 0 off that edge, in units of its
Fresnel zone, and liftings of neighbours are coupled by exp(2 r w w'). The integral over all of them is taken edge by
edge on fixed nodes. Where two edges bound one face, a flat roof, the wave that it reflects between them has the
reflection coefficient of its own grazing angle, which the liftings make.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.edge_paths import EdgeLanes, EdgePaths, Lanes, soft_and_hard
from channelfm.tracing.rays import Backend
from channelfm.tracing.wedges import Faces, Matrix, Term, Wedges, sum_of

_NODES, _LOWEST, _HIGHEST = 20, -8.5, 1.5  # of log w: right to 0.4 dB also for edges a fiftieth of the way apart
_PHASE = np.exp(-0.25j * np.pi)  # liftings are w times this, on the path of steepest descent


@dataclass(frozen=True)
class _Leg:
    """A leg between two edges: the ``coupling`` of liftings at its ends; the Fresnel ``zones`` there over its length,
    negative where what the edge hides is taken away from what is lit; whether it runs along a face that both edges
    share (``shared``), and (TE, TM) ``admittances`` of that face."""

    coupling: Lanes
    zones: list[Lanes]
    admittances: list[Lanes]
    shared: Lanes


class Liftings:
    """The integral over all liftings of paths off their edges, at one wavelength."""

    def __init__(self, backend: Backend, wedges: Wedges, wavelength_m: float) -> None:
        self._rt, self._mi, self._dr = backend.rt, backend.mitsuba, backend.drjit
        self._wedges, self._wavelength = wedges, wavelength_m
        self._nodes, self._weights = _quadrature()

    def behind(
        self,
        lanes: list[EdgeLanes],
        paths: EdgePaths,
        faces: list[Faces],
        terms: list[list[Term]],
        arriving: list[Lanes],
    ) -> list[Lanes]:
        """Soft and hard part of the field behind the last edge, but for what it loses by spreading, from those
        ``arriving`` at the first; of each edge the faces and the four terms."""
        if len(lanes) > 1:
            return self._behind_several(lanes, paths, faces, terms, arriving)
        return _plus(*(_applied(term.matrix, arriving, self._lifted_off(term.rate)) for term in terms[0]))

    def _lifted_off(self, rate: Lanes) -> Lanes:
        """Integral of exp(-(1 + j) rate w - w^2) over w >= 0: the transition function over its argument's root."""
        dr, mi = self._dr, self._mi
        square = 0.5 * rate * rate
        tail = mi.Complex2f(1.0, 1.0) - mi.Complex2f(0.0, 2.0) * dr.conj(self._rt.utils.fresnel(square))
        turn = mi.Complex2f(*dr.sincos(square)[::-1])
        return tail * turn * mi.Complex2f(*_parts(np.sqrt(np.pi / 8.0) * _PHASE))

    def _behind_several(
        self,
        lanes: list[EdgeLanes],
        paths: EdgePaths,
        faces: list[Faces],
        terms: list[list[Term]],
        arriving: list[Lanes],
    ) -> list[Lanes]:
        """Soft and hard part behind several edges, from those before the first.

        Every pair of chain and element is spread over the nodes of the last edge passed; states are (soft, hard), by
        whether what follows is seen as an image.
        """
        dr, mi = self._dr, self._mi
        for k in range(1, len(lanes)):
            terms[k] = self._turned(lanes, paths, k, terms[k])
        between = [self._between(paths, faces[k], k) for k in range(1, len(lanes))]
        dr.eval(arriving, [vars(term) for of_edge in terms for term in of_edge], [vars(leg) for leg in between])
        count = len(self._nodes)
        lane = dr.arange(mi.UInt32, dr.width(paths.length) * count)
        pair, node = lane // count, lane % count
        lifting, weight = (dr.gather(mi.Float, mi.Float(v), node) for v in (self._nodes, self._weights))
        first = [dr.gather(mi.Complex2f, part, pair) for part in arriving]
        states = self._passed(terms[0], pair, lifting, weight, [(first, first)] * 2)
        for leg, of_edge in zip(between, terms[1:], strict=True):
            dr.eval(states)
            states = self._passed(of_edge, pair, lifting, weight, self._lifted(states, leg, pair, lifting))
        both = _plus(*states)
        return [mi.Complex2f(dr.block_sum(part.real, count), dr.block_sum(part.imag, count)) for part in both]

    def _passed(
        self, terms: list[Term], pair: Lanes, lifting: Lanes, weight: Lanes, incoming: list[tuple[list[Lanes], ...]]
    ) -> list[list[Lanes]]:
        """States behind an edge, of what comes to it: seen directly and as an image, and of each what its source sent
        and what a face before the edge reflects of it."""
        dr, mi = self._dr, self._mi
        zero = mi.Complex2f(0.0)
        states: list[list[list[Lanes]]] = [[], []]
        for term in terms:
            mirrored, from_image, to_image = (
                dr.gather(mi.Bool, mask, pair) for mask in (term.mirrored, term.from_image, term.to_image)
            )
            direct, image = ([dr.select(mirrored, b, a) for a, b in zip(*kind, strict=True)] for kind in incoming)
            chosen = [dr.select(from_image, b, a) for a, b in zip(direct, image, strict=True)]
            fall = dr.gather(mi.Float, term.rate, pair) * lifting
            sine, cosine = dr.sincos(fall)
            matrix = [[dr.gather(mi.Complex2f, entry, pair) for entry in line] for line in term.matrix]
            parts = _applied(matrix, chosen, mi.Complex2f(cosine, -sine) * (weight * dr.exp(-fall)))
            states[0].append([dr.select(to_image, zero, part) for part in parts])
            states[1].append([dr.select(to_image, part, zero) for part in parts])
        return [_plus(*of_kind) for of_kind in states]

    def _turned(self, lanes: list[EdgeLanes], paths: EdgePaths, k: int, terms: list[Term]) -> list[Term]:
        """Terms of edge k for fields in (soft, hard) parts as they leave the edge before."""
        here, there = (soft_and_hard(self._dr, edge, paths.directions[k]) for edge in lanes[k - 1 : k + 1])
        turn = [[self._dr.dot(new, old) for old in here] for new in there]
        return [
            replace(
                term, matrix=[[line[0] * turn[0][j] + line[1] * turn[1][j] for j in range(2)] for line in term.matrix]
            )
            for term in terms
        ]

    def _between(self, paths: EdgePaths, faces: Faces, k: int) -> _Leg:
        """The leg before edge k."""
        dr, mi = self._dr, self._mi
        zones = [
            dr.select(paths.lit[at], -1.0, 1.0)
            * dr.sqrt(self._wavelength / np.pi / paths.tightness[at])
            / paths.legs[k]
            for at in (k - 1, k)
        ]
        turned = mi.Complex2f(*_parts(_PHASE))
        return _Leg(
            coupling=paths.coupling[k - 1],
            zones=zones,
            admittances=[admittance * turned for admittance in self._wedges.grazing_admittances(faces)],
            shared=faces.behind[0] | faces.behind[1],
        )

    def _lifted(
        self, states: list[list[Lanes]], leg: _Leg, pair: Lanes, lifting: Lanes
    ) -> list[tuple[list[Lanes], ...]]:
        """What reaches an edge at each of its nodes from all nodes of the edge before, as ``_passed`` takes it."""
        dr, mi = self._dr, self._mi
        count = len(self._nodes)
        coupling = 2.0 * dr.gather(mi.Float, leg.coupling, pair) * lifting
        zones = [dr.gather(mi.Float, zone, pair) for zone in leg.zones]
        admittances = [dr.gather(mi.Complex2f, admittance, pair) for admittance in leg.admittances]
        shared = dr.gather(mi.Bool, leg.shared, pair)
        sums: list[list[list[Lanes]]] = [[], [], [], []]  # direct and image, each as sent and as reflected
        for node, height in enumerate(self._nodes):
            together = dr.exp(coupling * float(height))
            against = dr.rcp(together)
            angle = zones[0] * float(height) + zones[1] * lifting
            here = [[dr.gather(mi.Complex2f, part, pair * count + node) for part in state] for state in states]
            reflected = [dr.select(shared, _grazing_reflection(y * angle), 0.0) for y in admittances]
            for kind, (one, other) in enumerate(((together, against), (against, together))):
                sent = [plain * one + seen * other for plain, seen in zip(*here, strict=True)]
                sums[2 * kind].append(sent)
                sums[2 * kind + 1].append([part * r for part, r in zip(sent, reflected, strict=True)])
        direct, direct_reflected, image, image_reflected = (_plus(*values) for values in sums)
        return [(direct, direct_reflected), (image, image_reflected)]


def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes w and weights of the integral of f(w) exp(-w^2) over w >= 0, for f that fall like exp(-b w) with any b.

    The trapezoidal rule in log w, exponentially accurate; below the lowest node f counts as even.
    """
    logarithm, step = np.linspace(_LOWEST, _HIGHEST, _NODES, retstep=True)
    nodes = np.exp(logarithm)
    weights = step * nodes * np.exp(-(nodes**2))
    weights[0] += step * nodes[0] / np.expm1(step)
    return nodes, weights


def _grazing_reflection(steep: Lanes) -> Lanes:
    """Reflection coefficient of a face at an angle, given the product of the angle and its admittance."""
    return (steep - 1.0) / (steep + 1.0)


def _parts(value: complex) -> tuple[float, float]:
    return float(value.real), float(value.imag)


def _applied(matrix: Matrix, parts: list[Lanes], factor: Lanes) -> list[Lanes]:
    return [(line[0] * parts[0] + line[1] * parts[1]) * factor for line in matrix]


def _plus(*parts: list[Lanes]) -> list[Lanes]:
    return [sum_of(same) for same in zip(*parts, strict=True)]
