"""Electromagnetic properties of building materials: ITU-R P.2040-3 (2023), section 2.1.4 and table 3.

Relative permittivity a f^b and conductivity c f^d [S/m], f in GHz.
"""

from __future__ import annotations

from dataclasses import dataclass

from channelfm.errors import InputError


@dataclass(frozen=True)
class MaterialProperties:
    """``relative_permittivity`` (real part), ``conductivity_s_per_m``, and a ``note`` if the frequency lies outside
    the recommendation's range, else None."""

    relative_permittivity: float
    conductivity_s_per_m: float
    note: str | None


@dataclass(frozen=True)
class _Row:
    """One row of table 3: frequency range [GHz] and the coefficients a, b, c, d."""

    low_ghz: float
    high_ghz: float
    a: float
    b: float
    c: float
    d: float


# Where ranges of one material overlap, the first one that holds the frequency counts.
TABLE: dict[str, tuple[_Row, ...]] = {
    "vacuum": (_Row(0.001, 100.0, 1.0, 0.0, 0.0, 0.0),),
    "concrete": (_Row(1.0, 100.0, 5.24, 0.0, 0.0462, 0.7822), _Row(110.0, 330.0, 5.17, 0.0, 0.0145, 1.09)),
    "brick": (_Row(1.0, 40.0, 3.91, 0.0, 0.0238, 0.16), _Row(110.0, 330.0, 4.15, 0.0, 0.0006, 1.5712)),
    "plasterboard": (
        _Row(1.0, 100.0, 2.73, 0.0, 0.0085, 0.9395),
        _Row(110.0, 330.0, 2.56, 0.0, 0.0001, 1.7799),
        _Row(100.0, 400.0, 2.65, 0.0, 0.0002, 1.598),
    ),
    "wood": (
        _Row(0.001, 100.0, 1.99, 0.0, 0.0047, 1.0718),
        _Row(110.0, 330.0, 1.82, 0.0, 0.004, 1.0761),
        _Row(100.0, 400.0, 2.1183, 0.0, 0.0055, 1.1113),
    ),
    "glass": (
        _Row(0.1, 100.0, 6.31, 0.0, 0.0036, 1.3394),
        _Row(220.0, 450.0, 5.79, 0.0, 0.0004, 1.658),
        _Row(100.0, 400.0, 6.5767, 0.0, 0.0012, 1.4697),
    ),
    "clear_acrylic": (_Row(110.0, 330.0, 2.58, 0.0, 0.0001, 1.6524),),
    "ceiling_board": (
        _Row(1.0, 100.0, 1.48, 0.0, 0.0011, 1.075),
        _Row(220.0, 450.0, 1.52, 0.0, 0.0029, 1.029),
        _Row(100.0, 400.0, 1.2567, 0.0, 0.00013, 1.454),
    ),
    "chipboard": (_Row(1.0, 100.0, 2.58, 0.0, 0.0217, 0.78), _Row(100.0, 200.0, 2.16, 0.0, 0.0023, 1.359)),
    "plywood": (
        _Row(1.0, 40.0, 2.71, 0.0, 0.33, 0.0),
        _Row(110.0, 330.0, 1.94, 0.0, 0.0067, 0.9982),
        _Row(100.0, 400.0, 2.17, 0.0, 0.0063, 1.045),
    ),
    "marble": (
        _Row(1.0, 60.0, 7.074, 0.0, 0.0055, 0.9262),
        _Row(110.0, 330.0, 7.94, 0.0, 0.0001, 1.733),
        _Row(100.0, 400.0, 8.62, 0.0, 0.0027, 1.15),
    ),
    "floorboard": (
        _Row(50.0, 100.0, 3.66, 0.0, 0.0044, 1.3515),
        _Row(220.0, 300.0, 5.27, 0.0, 2.22e-17, 7.3413),
        _Row(300.0, 400.0, 5.27, 0.0, 0.0003, 2.0298),
        _Row(400.0, 450.0, 5.27, 0.0, 49.8726, 0.0),
        _Row(100.0, 400.0, 3.1575, 0.0, 0.001675, 1.32775),
    ),
    "vinyl_tile": (_Row(1.0, 40.0, 3.62, 0.0, 0.0051, 0.8422),),
    "carpet_tile": (_Row(1.0, 40.0, 2.08, 0.0, 0.0009, 0.82),),
    "asphalt_concrete": (_Row(1.0, 40.0, 4.83, 0.0, 0.0108, 1.3969),),
    "metal": (_Row(1.0, 100.0, 1.0, 0.0, 1e7, 0.0),),
    "very_dry_ground": (_Row(1.0, 10.0, 3.0, 0.0, 0.00015, 2.52),),
    "medium_dry_ground": (_Row(1.0, 10.0, 15.0, -0.1, 0.035, 1.63),),
    "wet_ground": (_Row(1.0, 10.0, 30.0, -0.4, 0.15, 1.3),),
}


def electromagnetic_properties(material: str, frequency_hz: float) -> MaterialProperties:
    """Permittivity and conductivity of an ITU-R P.2040 material at a frequency.

    Outside the ranges of the recommendation the nearest end of a range is used, and ``note`` says so.
    Raises InputError on an unknown material or a frequency that is not positive.
    """
    check_material(material)
    if not 0.0 < frequency_hz < float("inf"):
        raise InputError(f"frequency_hz = {frequency_hz}: give a positive frequency in Hz, e.g. 7e9")
    frequency_ghz = frequency_hz / 1e9
    row = min(TABLE[material], key=lambda row: _distance(row, frequency_ghz))  # the first of several at distance 0
    used_ghz = min(max(frequency_ghz, row.low_ghz), row.high_ghz)
    note = None
    if used_ghz != frequency_ghz:
        note = (
            f"{frequency_ghz:g} GHz is outside ITU-R P.2040-3's {row.low_ghz:g}-{row.high_ghz:g} GHz; "
            f"values of {used_ghz:g} GHz used"
        )
    return MaterialProperties(row.a * used_ghz**row.b, row.c * used_ghz**row.d, note)


def check_material(material: str) -> None:
    """Raise InputError unless a name is in the table."""
    if material not in TABLE:
        raise InputError(f"unknown material '{material}'; use one of ITU-R P.2040's: {', '.join(sorted(TABLE))}")


def _distance(row: _Row, frequency_ghz: float) -> float:
    """How far a frequency lies outside a row's range [GHz]; 0 inside."""
    return max(row.low_ghz - frequency_ghz, frequency_ghz - row.high_ghz, 0.0)
