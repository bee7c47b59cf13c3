import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelfm.errors import InputError
from channelfm.maps.projection import box_of, checked_box, local_bounds, local_origin, to_geographic, to_local


@given(st.floats(-179.9, 179.9), st.floats(-80, 80), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05))
def test_projection_round_trip(lon, lat, east, north):
    origin = local_origin((lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01))
    points = np.array([(lon + east, lat + north)])
    local = to_local(points, origin)
    back = to_geographic(local, origin)
    assert np.allclose((back - points + 180) % 360 - 180, 0.0, atol=1e-8)
    assert np.allclose(to_local(back, origin), local, atol=1e-4)


def test_the_frame_is_metric_east_and_north():
    origin = local_origin((10.99, 47.99, 11.01, 48.01))
    x, y = to_local(np.array([[11.0, 48.0], [11.001, 48.0], [11.0, 48.001]]), origin).T
    assert np.hypot(x[0], y[0]) < 1e-6
    assert x[1] == pytest.approx(74.6, abs=0.2)  # cos(48 deg) * 111.3 m
    assert y[2] == pytest.approx(111.2, abs=0.1)


def test_a_box_across_the_antimeridian_is_small():
    box = checked_box((179.99, 52.0, -179.99, 52.01))
    origin = local_origin(box)
    x_min, _, x_max, _ = local_bounds(box, origin)
    assert abs(abs(origin.longitude_deg) - 180.0) < 1e-6
    assert x_max - x_min == pytest.approx(0.02 * 111_320 * np.cos(np.deg2rad(52)), rel=0.01)
    assert box_of(np.array([[179.999, 0.0], [-179.999, 0.1]])) == pytest.approx((179.999, 0.0, 180.001, 0.1))


@pytest.mark.parametrize("bbox", [(0, 10, 1, 5), (0, 0, 0, 1), (0, -91, 1, 0), (0, 0, 200, 1), (0, 0, float("nan"), 1)])
def test_bad_boxes(bbox):
    with pytest.raises(InputError, match="west, south, east, north"):
        checked_box(bbox)


def test_a_region_too_large_for_one_frame():
    with pytest.raises(InputError, match="bbox"):
        local_origin((0.0, 0.0, 2.0, 2.0))
