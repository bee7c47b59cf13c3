"""Tables of recorded tracks (CSV): which column holds what, and the numbers in it."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from channelfm.errors import InputError

Float = NDArray[np.float64]
HeightUnit = Literal["m", "ft"]
HeightReference = Literal["ground", "sea"]

FOOT_M = 0.3048  # international foot, exact

_UNITS = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet"), FOOT_M),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("deg", "degree", "degrees"), 1.0),
}
_NAMES: dict[str, tuple[str, ...]] = {
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "height": ("height", "altitude", "alt", "elevation", "ele", "z"),
    "time": ("time", "timestamp", "t", "datetime", "datetime_utc", "time_utc", "utc"),
    "track": ("track", "track_id", "id", "uav", "uav_id", "drone", "drone_id", "flight", "flight_id", "vehicle_id"),
}
_GROUND = ("agl", "above_ground", "above_ground_level", "rel", "relative", "above_takeoff")
_SEA = ("amsl", "msl", "above_sealevel", "above_sea_level", "above_mean_sea_level")
_MISSING = frozenset({"", "nan", "none", "null", "na", "n/a", "-"})


@dataclass(frozen=True)
class TrackTable:
    """Columns of a table, one entry per row [N]; NaN where a cell is empty.

    ``times_s`` is None without a time column, and ``tracks`` names the track of each row. ``unit_m`` and ``reference``
    are what the header says about heights, else None. ``lines`` are line numbers in the file.
    """

    latitude_deg: Float
    longitude_deg: Float
    height: Float
    times_s: Float | None
    tracks: tuple[str, ...]
    lines: NDArray[np.int64]
    unit_m: float | None
    reference: HeightReference | None


@dataclass(frozen=True)
class _Column:
    """A column and what its header says: position, header, unit as a factor, height reference."""

    index: int
    header: str
    factor: float | None
    reference: HeightReference | None


def read_table(path: str | Path, columns: Mapping[str, str] | None = None) -> TrackTable:
    """Read a CSV file with a header; the separator (comma, semicolon or tab) is the one that its header holds.

    Columns are known by their headers, whatever their case and punctuation: ``lat``/``latitude``;
    ``lon``/``lng``/``long``/``longitude``; ``height``/``altitude``/``alt``/``elevation``/``ele``/``z``, with an
    optional reference (``agl``, ``above_ground``, ``rel``, ``above_takeoff``; ``msl``, ``amsl``, ``above_sealevel``)
    and unit (``m``, ``ft``, ``feet`` ...), as in ``altitude_agl_ft`` or ``height_above_takeoff(feet)``; optionally
    ``time``/``timestamp``/``t``/``datetime`` (seconds, ``_ms``, or ISO 8601, UTC unless it says otherwise) and
    ``track``/``track_id``/``id``/``uav``/``drone``/``flight``. ``columns`` names them directly, e.g.
    ``{"height": "altitude_above_seaLevel(feet)"}``.

    Raises InputError on a missing file, column or number, naming file, line and column.
    """
    path = Path(path)
    rows = _rows(path)
    header, lines = rows[0][1], np.array([number for number, _ in rows[1:]], dtype=np.int64)
    if not len(lines):
        raise InputError(f"{path}: no row below the header; give a table with at least two positions")
    found = _find_columns(header, dict(columns or {}), path)
    cells = {key: [row[column.index] for _, row in rows[1:]] for key, column in found.items()}
    times = _times(cells["time"], lines, found["time"], path) if "time" in found else None
    height = found["height"]
    return TrackTable(
        latitude_deg=_numbers(cells["lat"], lines, found["lat"], path),
        longitude_deg=_numbers(cells["lon"], lines, found["lon"], path),
        height=_numbers(cells["height"], lines, height, path),
        times_s=times,
        tracks=tuple(cell.strip() for cell in cells["track"]) if "track" in found else ("",) * len(lines),
        lines=lines,
        unit_m=height.factor,
        reference=height.reference,
    )


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of the header and of every row that is not blank."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a CSV file with latitude, longitude and height")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count), skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a text table ({error}); save it as CSV in UTF-8") from error
    if not rows:
        raise InputError(f"{path}: the file is empty; give a CSV file with latitude, longitude and height")
    for number, row in rows:
        if len(row) != len(rows[0][1]):
            raise InputError(f"{path}, line {number}: {len(row)} columns, but the header has {len(rows[0][1])}")
    return rows


def _find_columns(header: Sequence[str], named: dict[str, str], path: Path) -> dict[str, _Column]:
    for key, name in named.items():
        if key not in _NAMES or name not in header:
            raise InputError(f"{path}: columns = {{'{key}': '{name}'}}: use keys {', '.join(_NAMES)} and headers of it")
    found: dict[str, _Column] = {}
    for key in _NAMES:
        known = [column for index, text in enumerate(header) if (column := _column(key, index, text))]
        if key in named:
            index = header.index(named[key])
            known = [_column(key, index, named[key]) or _Column(index, named[key], _unit(named[key]), None)]
        if len(known) > 1:
            names = "', '".join(column.header for column in known)
            raise InputError(f"{path}, line 1: columns '{names}' could all be {key}; say which with columns")
        if known:
            found[key] = known[0]
        elif key in ("lat", "lon", "height"):
            names = ", ".join(_NAMES[key])
            raise InputError(f"{path}, line 1: no {key} column ({names}); rename one, or say which with columns")
    return found


def _column(key: str, index: int, header: str) -> _Column | None:
    """The column if its header is one of a kind."""
    plain = _plain(header)
    factor = _unit(header)
    name = plain.rpartition("_")[0] if factor is not None and "_" in plain else plain
    if key != "height":
        return _Column(index, header, factor, None) if name in _NAMES[key] or plain in _NAMES[key] else None
    base, _, rest = name.partition("_")
    if base not in _NAMES[key] or (rest and rest not in (*_GROUND, *_SEA)):
        return None
    reference: HeightReference | None = ("sea" if rest in _SEA else "ground") if rest else None
    return _Column(index, header, factor, reference)


def _unit(header: str) -> float | None:
    """The factor of the unit that ends a header, else None."""
    _, separator, last = _plain(header).rpartition("_")
    return _UNITS.get(last) if separator else None


def _plain(header: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", header.strip().lower()).strip("_")


def _numbers(cells: Sequence[str], lines: NDArray[np.int64], column: _Column, path: Path) -> Float:
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell.strip().lower() in _MISSING:
            continue
        try:
            values[row] = float(cell)
        except ValueError as error:
            raise InputError(
                f"{path}, line {lines[row]}, column '{column.header}': '{cell}' is no number; mend or delete the line"
            ) from error
    return values


def _times(cells: Sequence[str], lines: NDArray[np.int64], column: _Column, path: Path) -> Float:
    """Seconds; the zero of dates is 1970-01-01 UTC."""
    if not any(re.search(r"\d[-/]\d|\d:\d", cell) for cell in cells):
        return _numbers(cells, lines, column, path) * (column.factor or 1.0)
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell.strip().lower() in _MISSING:
            continue
        try:
            moment = datetime.fromisoformat(cell.strip())
        except ValueError as error:
            raise InputError(
                f"{path}, line {lines[row]}, column '{column.header}': '{cell}' is no ISO 8601 time "
                "such as 2024-05-01T12:00:00Z"
            ) from error
        values[row] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return values
