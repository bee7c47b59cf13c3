"""What an edge makes of a wave: the four terms of the uniform theory of diffraction, with faces of real materials.

R. G. Kouyoumjian and P. H. Pathak, Proc. IEEE 62(11), 1974, for perfect conductors; P. Holm, IEEE Trans. Antennas
Propag. 48(8), 2000, for others: the incident wave's term is left as it is, those of waves reflected by one face are
multiplied by its reflection coefficient, and the fourth by both. Coefficients are the slabs' of ITU-R P.2040, at the
angle of whichever ray runs closer to the face, which makes them reciprocal and right at each reflection's end. Behind
an edge the incident wave's shadow is as deep as the walls make it: what they let through is no part of it (W. D.
Burnside and K. W. Burgener, IEEE Trans. Antennas Propag. 31(1), 1983).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelfm.tracing.edge_paths import EdgeLanes, EdgePaths, Lanes, frame, spread
from channelfm.tracing.edges import Edges
from channelfm.tracing.fresnel import slab_reflection, slab_thickness_wavelengths
from channelfm.tracing.rays import Backend
from channelfm.units import SPEED_OF_LIGHT

Matrix = list[list[Lanes]]  # complex, of the parts of a field along an edge (soft) and across edge and path (hard)

_GRAZING = 1e-3  # cosine of incidence at which a face's admittance is taken


@dataclass(frozen=True)
class Surfaces:
    """The materials of a scene: complex relative ``permittivity`` [S], ``thickness_m`` [S], the share ``specular`` [S]
    of a reflected amplitude that is not scattered, and the material ``of_triangle`` int64 [F] of each triangle."""

    permittivity: NDArray[np.complex128]
    thickness_m: NDArray[np.float64]
    specular: NDArray[np.float64]
    of_triangle: NDArray[np.int64]

    def grazing_admittance(self, wavelength_m: float) -> NDArray[np.complex128]:
        """y [S, 2] of (TE, TM) reflection near grazing, R = (y psi - 1) / (y psi + 1) at an angle psi from the face."""
        coefficients = [
            slab_reflection(
                np.array(_GRAZING), medium, slab_thickness_wavelengths(thick, SPEED_OF_LIGHT / wavelength_m)
            )
            for medium, thick in zip(self.permittivity, self.thickness_m, strict=True)
        ]
        reflected = np.array(coefficients, dtype=np.complex128).reshape(-1, 2)
        return np.asarray((1.0 + reflected) / (1.0 - reflected) / _GRAZING)


@dataclass(frozen=True)
class Faces:
    """What is known of the faces of one edge of each chain, spread over pairs of chain and element.

    ``near``, ``far``: materials; ``sheet``: whether they are two sides of one sheet; ``ahead`` and ``behind``: whether
    the path runs along the (near, far) face towards the next edge, or has come along it from the one before.
    """

    near: Lanes
    far: Lanes
    sheet: Lanes
    ahead: tuple[Lanes, Lanes]
    behind: tuple[Lanes, Lanes]


@dataclass(frozen=True)
class Term:
    """One of the four terms at an edge: ``matrix`` exp(-(1 + j) ``rate`` w), where w >= 0 lifts the path off the edge.

    ``from_image``, ``to_image``: whether liftings at the edge before, or behind, count the other way round: because the
    source, or the next stop, is seen as an image, or because what the edge hides is taken away from what is lit.
    ``mirrored``: where the image is that of the edge before, in the face that both share, whose reflection coefficient
    is then no part of the matrix but depends on both liftings.
    """

    matrix: Matrix
    rate: Lanes
    from_image: Lanes
    to_image: Lanes
    mirrored: Lanes


class Wedges:
    """Terms of edges whose faces are made of the surfaces of a scene."""

    def __init__(self, backend: Backend, surfaces: Surfaces, wavelength_m: float, penetrable: bool) -> None:
        mi = backend.mitsuba
        self._rt, self._mi, self._dr = backend.rt, mi, backend.drjit
        self._wavelength, self._penetrable = wavelength_m, penetrable
        self.of_triangle = surfaces.of_triangle
        self._medium = tuple(mi.Float(part) for part in (surfaces.permittivity.real, surfaces.permittivity.imag))
        self._thickness, self._specular = mi.Float(surfaces.thickness_m), mi.Float(surfaces.specular)
        grazing = surfaces.grazing_admittance(wavelength_m)
        self._grazing = [tuple(mi.Float(part) for part in (column.real, column.imag)) for column in grazing.T]

    def faces(self, edges: Edges, order: int, row: Lanes) -> Faces:
        """The faces of the ``order``-th edge of chains over edges [R, K], for the given rows."""
        mi, dr = self._mi, self._dr
        shared = edges.shared_faces()
        none = np.zeros((len(shared), 2), np.bool_)
        ahead = shared[:, order].any(axis=2) if order < shared.shape[1] else none
        behind = shared[:, order - 1].any(axis=1) if order > 0 else none

        def both(sides: Any) -> tuple[Lanes, Lanes]:
            one, other = (spread(dr, mi.Bool, side, row) for side in sides.T)
            return one, other

        def material(triangle: NDArray[np.int64]) -> Lanes:
            return spread(dr, mi.UInt32, self.of_triangle[triangle].astype(np.uint32), row)

        one_sheet = edges.near_triangle[:, order] == edges.far_triangle[:, order]
        return Faces(
            near=material(edges.near_triangle[:, order]),
            far=material(edges.far_triangle[:, order]),
            sheet=spread(dr, mi.Bool, one_sheet, row),
            ahead=both(ahead),
            behind=both(behind),
        )

    def terms(self, edge: EdgeLanes, faces: Faces, paths: EdgePaths, order: int) -> list[Term]:
        """The four terms at the ``order``-th edge of paths."""
        dr, mi = self._dr, self._mi
        here, there = paths.directions[order : order + 2]
        along, n, before, after = edge.ahead, edge.opening, paths.before[order], paths.after[order]
        onwards = after >= before  # the 0-face looks at the stop before, the n-face at the one after
        sine = dr.norm(frame(dr, along, here)[0])
        reach = paths.tightness[order]
        near, through_near = self._face(edge.near, faces.near, ~onwards, along, dr.select(onwards, here, there))
        far, through_far = self._face(edge.far, faces.far, onwards, along, dr.select(onwards, there, here))
        both = _selected(dr, onwards, _product(far, near), _product(near, far))
        one, none = self._identity(), mi.Bool(False)
        incident = one
        if self._penetrable:
            passed = _selected(dr, onwards, _product(through_far, through_near), _product(through_near, through_far))
            passed = _selected(dr, faces.sheet, through_near, passed)
            incident = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(one, passed, strict=True)]
        gap, total = dr.abs(after - before), after + before
        behind = faces.behind[0] | faces.behind[1]
        # of the doubly reflected term, the reflection by a face shared with the edge before is left to the lifting
        outer = _selected(dr, faces.behind[0], far, _selected(dr, faces.behind[1], near, both))
        hidden = faces.ahead[0] | faces.ahead[1]
        parts = [
            (incident, dr.pi - gap, ~onwards, ~onwards, none, none),
            (outer, dr.pi + gap, onwards, onwards, hidden, behind),
            (_selected(dr, faces.behind[0], one, near), dr.pi - total, ~none, none, faces.ahead[0], faces.behind[0]),
            (_selected(dr, faces.behind[1], one, far), dr.pi + total, none, ~none, faces.ahead[1], faces.behind[1]),
        ]
        scale = sine * dr.rsqrt(dr.pi * reach) / n
        zones = 2.0 * dr.sqrt(2.0 * dr.pi / self._wavelength / reach) * sine
        found: list[Term] = []
        for matrix, angle, from_image, to_image, left_out, mirrored in parts:
            strength, turn, lit = self._strength(angle / (2.0 * n), n, paths.lit[order] if not found else None)
            strength = dr.select(left_out, 0.0, strength * scale)
            weighted = [[entry * strength for entry in line] for line in matrix]
            found.append(Term(weighted, zones * turn, from_image ^ lit, to_image ^ lit, mirrored))
        return found

    def _strength(self, angle: Lanes, n: Lanes, lit: Lanes | None) -> tuple[Lanes, Lanes, Lanes]:
        """-sign(x) cos(x) sin(n |x|) / sin(|x|), sin(n |x|) and whether x > 0, on the lit side of the shadow boundary,
        of the angle x taken modulo pi. ``lit`` tells that where given: rounding must not."""
        dr = self._dr
        angle = angle - dr.pi * dr.round(angle / dr.pi)
        size = dr.abs(angle)
        turn, sine = dr.abs(dr.sin(n * size)), dr.sin(size)
        ratio = dr.select(size < 1e-6, n, turn / dr.maximum(sine, 1e-7))
        lit = angle >= 0.0 if lit is None else lit
        return dr.select(lit, -1.0, 1.0) * dr.cos(size) * ratio, turn, lit

    def _face(self, normal: Lanes, surface: Lanes, leaving: Lanes, along: Lanes, way: Lanes) -> tuple[Matrix, Matrix]:
        """Reflection and transmission matrices of a face for the ray that runs closer to it."""
        dr = self._dr
        cosine = dr.abs(dr.dot(way, normal))
        te, tm, through_te, through_tm = self.slab(cosine, surface)
        # a rough face scatters nothing of a wave that grazes it
        kept = 1.0 - (1.0 - dr.gather(self._mi.Float, self._specular, surface)) * cosine
        te, tm = te * kept, tm * kept
        part, off = frame(dr, along, way)
        transverse = self._rt.utils.transverse_basis_from_normal(way, normal)
        c, s = dr.dot(transverse, dr.normalize(part)), dr.dot(transverse, off)
        turned = (te + tm) * (c * s * dr.select(leaving, -1.0, 1.0))
        crossed = (through_te - through_tm) * (c * s)
        reflection = [[te * c * c - tm * s * s, turned], [-turned, tm * c * c - te * s * s]]
        return reflection, [
            [through_te * c * c + through_tm * s * s, crossed],
            [crossed, through_tm * c * c + through_te * s * s],
        ]

    def slab(self, cosine: Lanes, surface: Lanes) -> tuple[Lanes, Lanes, Lanes, Lanes]:
        """Reflection (TE, TM) and transmission (TE, TM) of surfaces at cosines of incidence."""
        dr, mi = self._dr, self._mi
        medium = mi.Complex2f(*(dr.gather(mi.Float, part, surface) for part in self._medium))
        thickness = dr.gather(mi.Float, self._thickness, surface)
        found: tuple[Lanes, Lanes, Lanes, Lanes] = self._rt.utils.itu_coefficients_single_layer_slab(
            cosine, medium, thickness, self._wavelength
        )
        return found

    def grazing_admittances(self, faces: Faces) -> list[Lanes]:
        """(TE, TM) admittance of the face along which the path has come to an edge; see Surfaces."""
        dr, mi = self._dr, self._mi
        surface = dr.select(faces.behind[0], faces.near, faces.far)
        return [mi.Complex2f(*(dr.gather(mi.Float, part, surface) for part in parts)) for parts in self._grazing]

    def _identity(self) -> Matrix:
        one, zero = self._mi.Complex2f(1.0, 0.0), self._mi.Complex2f(0.0, 0.0)
        return [[one, zero], [zero, one]]


def _product(left: Matrix, right: Matrix) -> Matrix:
    return [[sum_of(left[i][k] * right[k][j] for k in range(2)) for j in range(2)] for i in range(2)]


def _selected(dr: Any, mask: Lanes, one: Matrix, other: Matrix) -> Matrix:
    return [[dr.select(mask, a, b) for a, b in zip(*lines, strict=True)] for lines in zip(one, other, strict=True)]


def sum_of(values: Any) -> Lanes:
    """The sum of Dr.Jit values."""
    first, *rest = values
    for value in rest:
        first = first + value
    return first
