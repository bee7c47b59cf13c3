import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from channelfm import mobility, scenes
from channelfm.errors import InputError
from channelfm.maps import Footprint
from channelfm.maps.projection import local_origin, to_geographic
from channelfm.mobility.track_file import FOOT_M, read_table
from channelfm.scenes.assembly import assemble

ORIGIN = local_origin((13.39, 52.51, 13.41, 52.53))
HOUSE = Footprint("way/1", shapely.box(100, 100, 140, 140), 40.0, 0.0, "height", "brick")
SCENE = assemble("berlin", [HOUSE], [], (-500.0, -500.0, 500.0, 500.0), origin=ORIGIN)
LINE = np.column_stack([np.arange(10) * 10.0, np.arange(10) * -5.0, 50.0 + np.arange(10)])  # 11.2 m/s and 1 m/s up


def rows_of(points, times=None):
    lonlat = to_geographic(np.asarray(points)[:, :2], ORIGIN)
    times = np.arange(len(points)) if times is None else times
    return [f"{t},{lat:.9f},{lon:.9f},{z}" for t, (lon, lat), (_, _, z) in zip(times, lonlat, points, strict=True)]


def write(folder: Path, rows, header="time,lat,lon,height") -> Path:
    path = folder / "track.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_straight_track_keeps_its_places_and_speeds(tmp_path):
    track = mobility.recorded(write(tmp_path, rows_of(LINE)), SCENE)
    assert_allclose(track.positions_m, LINE, atol=1e-3)
    assert_allclose(track.velocities_mps, np.tile([10.0, -5.0, 1.0], (10, 1)), atol=1e-3)
    assert track.times_s.tolist() == list(range(10))
    assert track.kind == "recorded"
    assert track.seed is None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(-400, 90), st.floats(-400, 90), st.floats(1, 500)), min_size=2, max_size=12),
    st.floats(0.001, 1e4),
    st.sampled_from(["m", "ft"]),
)
def test_any_track_survives_the_way_there_and_back(tmp_path, points, interval_s, unit):
    points = np.array(points)
    values = points / [1.0, 1.0, FOOT_M if unit == "ft" else 1.0]
    path = write(tmp_path, [row.split(",", 1)[1] for row in rows_of(values)], header="lat,lon,height")
    track = mobility.recorded(path, SCENE, interval_s=interval_s, height_unit=unit, max_speed_mps=1e9)
    assert_allclose(track.positions_m, points, atol=1e-3)
    assert_allclose(track.times_s, np.arange(len(points)) * interval_s)


@pytest.mark.parametrize(
    ("header", "factor", "shift"),
    [
        ("Time,Latitude,Longitude,Altitude", 1.0, 0.0),
        ("timestamp,LAT,LNG,alt_m", 1.0, 0.0),
        ("t,lat_deg,lon_deg,altitude_agl_ft", FOOT_M, 0.0),
        ("time_s,latitude (deg),longitude (deg),height_above_takeoff(feet)", FOOT_M, 0.0),
        ("time,lat,long,altitude_above_seaLevel(feet)", FOOT_M, -34.0),
        ("time,lat,lon,ele_msl", 1.0, -34.0),
    ],
)
def test_headers_say_units_and_references(tmp_path, header, factor, shift):
    points = LINE.copy()
    points[:, 2] = (LINE[:, 2] - shift) / factor
    track = mobility.recorded(write(tmp_path, rows_of(points), header), SCENE, datum_m=34.0)
    assert_allclose(track.positions_m, LINE, atol=1e-3)


def test_arguments_override_the_header(tmp_path):
    points = LINE.copy()
    points[:, 2] = (LINE[:, 2] + 34.0) / FOOT_M
    path = write(tmp_path, rows_of(points), "time,lat,lon,height_agl_m")
    track = mobility.recorded(path, SCENE, height_unit="ft", height_reference="sea", datum_m=34.0)
    assert_allclose(track.positions_m, LINE, atol=1e-3)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_dates_and_a_byte_order_mark(tmp_path, separator):
    dates = [
        f"2024-05-01T12:00:0{second}.500{zone}" for second, zone in zip(range(8), ["Z", "+00:00"] * 4, strict=True)
    ]
    rows = [row.replace(",", separator) for row in rows_of(LINE[:8], dates)]
    path = tmp_path / "track.csv"
    header = separator.join(["datetime(utc)", "lat", "lon", "height"])
    path.write_text("\ufeff" + "\r\n".join([header, *rows]), encoding="utf-8")
    track = mobility.recorded(path, SCENE)
    assert_allclose(track.times_s, np.arange(8.0), atol=1e-6)
    assert_allclose(track.positions_m, LINE[:8], atol=1e-3)


def test_milliseconds(tmp_path):
    rows = rows_of(LINE, np.arange(10) * 1000)
    track = mobility.recorded(write(tmp_path, rows, "time(millisecond),lat,lon,height"), SCENE)
    assert_allclose(track.velocities_mps[0], [10.0, -5.0, 1.0], atol=1e-3)


def test_what_cannot_be_true_is_left_out_and_counted(tmp_path, caplog):
    rows = rows_of(LINE)
    far, below, built, jump = (
        rows_of([point], [time])[0]
        for point, time in (((900, 0, 50), 2.5), ((25, -12, -3), 2.6), ((120, 120, 20), 2.7), ((400, 400, 50), 4.5))
    )
    rows[3:3] = ["2.1,0,0,50", "2.2,,13.4,50", "2.3,52.52,nan,50", "2.4,99.9,13.4,50", far, below, built]
    rows.insert(12, jump)
    rows.append(rows[-1])
    path = write(tmp_path, rows)
    track = mobility.recorded_with_report(path, SCENE)
    assert track.dropped == {
        "missing value": 2,
        "at (0, 0)": 1,
        "latitude or longitude out of range": 1,
        "outside the region": 1,
        "below ground": 1,
        "inside a building": 1,
        "repeated time": 1,
        "jump": 1,
    }
    assert_allclose(track.trajectory.positions_m, LINE, atol=1e-3)
    assert len(track.trajectory) + sum(track.dropped.values()) == len(rows)
    with caplog.at_level(logging.WARNING):
        mobility.recorded(path, SCENE)
    assert "left out 2 missing value, 1 at (0, 0)" in caplog.text


def test_a_wrong_first_position_does_not_cost_the_track(tmp_path):
    points = LINE.copy()
    points[0, :2] = (-400.0, 400.0)
    track = mobility.recorded_with_report(write(tmp_path, rows_of(points)), SCENE)
    assert track.dropped == {"jump": 1}
    assert_allclose(track.trajectory.positions_m, LINE[1:], atol=1e-3)
    assert track.trajectory.times_s[0] == 0.0


def test_several_tracks_stay_simultaneous(tmp_path):
    first, second = rows_of(LINE), rows_of(LINE + np.array([0.0, 50.0, 0.0]), np.arange(10) + 100.0)
    mixed = [f"{row},{name}" for pair in zip(first, second, strict=True) for name, row in zip("ab", pair, strict=True)]
    lonely = rows_of([(0, 0, 9.0)], [5.0])[0] + ",c"
    track = mobility.recorded_with_report(write(tmp_path, [*mixed, lonely], "time,lat,lon,height,uav"), SCENE)
    assert track.trajectory.track.tolist() == [0] * 10 + [1] * 10
    assert track.trajectory.times_s[[0, 9, 10, 19]].tolist() == [0.0, 9.0, 100.0, 109.0]
    assert track.dropped == {"alone in its track": 1}
    assert_allclose(track.trajectory.velocities_mps, np.tile([10.0, -5.0, 1.0], (20, 1)), atol=1e-3)


def test_a_column_can_be_named(tmp_path):
    header = "time,lat,lon,height_agl_m,height_msl_m"
    rows = [f"{row},999" for row in rows_of(LINE)]
    path = write(tmp_path, rows, header)
    with pytest.raises(InputError, match=r"line 1: columns 'height_agl_m', 'height_msl_m' could all be height"):
        mobility.recorded(path, SCENE)
    track = mobility.recorded(path, SCENE, columns={"height": "height_agl_m"})
    assert_allclose(track.positions_m, LINE, atol=1e-3)
    with pytest.raises(InputError, match="columns"):
        mobility.recorded(path, SCENE, columns={"height": "depth"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("time,lat,lon,height\n", "no row"),
        ("time,lat,lon\n0,52.52,13.4\n", r"track\.csv, line 1: no height column"),
        (
            "time,lat,lon,height\n0,52.52,13.4,50\n1,52.52,x13,50\n",
            r"track\.csv, line 3, column 'lon': 'x13' is no number",
        ),
        ("time,lat,lon,height\n0,52.52,13.4,50\n\n1,52.52,13.4\n", r"line 4: 3 columns, but the header has 4"),
        ("time,lat,lon,height\n1,52.52,13.4,50\n0,52.52,13.4,50\n", r"line 3: time runs backwards"),
        ("time,lat,lon,height\n12:00,52.52,13.4,50\n", r"line 2, column 'time': '12:00' is no ISO 8601"),
        ("time,lat,lon,height\n0,10.0,13.4,50\n1,10.0,13.4,50\n", r"no track is left .*2 outside the region"),
        ("time,lat,lon,height_msl\n0,52.52,13.4,50\n1,52.52,13.4,50\n", "datum_m"),
        (b"time,lat,lon,height\n\xff\xfe\x00,1,1,1\n", "not a text table"),
    ],
)
def test_unusable_files_name_line_and_column(tmp_path, content, message):
    path = tmp_path / "track.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        mobility.recorded(path, SCENE)


@pytest.mark.parametrize(
    "bad", [{"interval_s": 0.0}, {"max_speed_mps": -1.0}, {"height_unit": "yard"}, {"height_reference": "roof"}]
)
def test_bad_arguments_of_recorded_tracks_name_themselves(tmp_path, bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        mobility.recorded(write(tmp_path, rows_of(LINE)), SCENE, **bad)


def test_a_missing_file_and_a_scene_that_lies_nowhere(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        mobility.recorded(tmp_path / "no.csv", SCENE)
    with pytest.raises(InputError, match="nowhere on Earth"):
        mobility.recorded(write(tmp_path, rows_of(LINE)), dataclasses.replace(scenes.procedural(0)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_a_table_or_an_input_error(tmp_path, content):
    path = tmp_path / "track.csv"
    path.write_bytes(b"time,lat,lon,height\n" + content)
    try:
        table = read_table(path)
    except InputError:
        return
    assert len(table.latitude_deg) == len(table.lines) == len(table.tracks)
