import numpy as np
import pytest

from channelfm.errors import InputError
from channelfm.scenes.materials import TABLE, electromagnetic_properties


@pytest.mark.parametrize(
    ("material", "frequency_hz", "permittivity", "conductivity"),
    [
        ("concrete", 1e9, 5.24, 0.0462),
        ("concrete", 7e9, 5.24, 0.0462 * 7**0.7822),
        ("glass", 28e9, 6.31, 0.0036 * 28**1.3394),
        ("metal", 3.5e9, 1.0, 1e7),
        ("medium_dry_ground", 7e9, 15 * 7**-0.1, 0.035 * 7**1.63),
        ("wood", 150e9, 1.82, 0.004 * 150**1.0761),
    ],
)
def test_known_values_of_the_recommendation(material, frequency_hz, permittivity, conductivity):
    found = electromagnetic_properties(material, frequency_hz)
    assert found.relative_permittivity == pytest.approx(permittivity)
    assert found.conductivity_s_per_m == pytest.approx(conductivity)
    assert found.note is None


def test_outside_its_range_a_material_keeps_the_values_of_the_nearest_end_and_says_so():
    found = electromagnetic_properties("medium_dry_ground", 28e9)
    end = electromagnetic_properties("medium_dry_ground", 10e9)
    assert end.note is None
    assert (found.relative_permittivity, found.conductivity_s_per_m) == (
        end.relative_permittivity,
        end.conductivity_s_per_m,
    )
    assert "28 GHz" in found.note
    assert "10 GHz" in found.note
    below = electromagnetic_properties("brick", 0.5e9)
    assert below.conductivity_s_per_m == pytest.approx(0.0238)
    assert "outside" in below.note


def test_bad_arguments():
    with pytest.raises(InputError, match="concrete"):
        electromagnetic_properties("cheese", 1e9)
    for frequency_hz in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="frequency"):
            electromagnetic_properties("concrete", frequency_hz)


@pytest.mark.rt
def test_agreement_with_the_table_of_sionna(sionna_rt):
    import mitsuba as mi
    from sionna.rt.radio_materials import itu

    assert set(itu.ITU_MATERIALS_PROPERTIES) == set(TABLE)
    for material, ranges in itu.ITU_MATERIALS_PROPERTIES.items():
        for low, high in ranges:
            for frequency_ghz in (low * 1.001, (low + high) / 2, high * 0.999):
                # In single precision, as Dr.Jit evaluates it.
                theirs = [
                    float(np.asarray(v).reshape(-1)[0])
                    for v in itu.itu_material(material, mi.Float(frequency_ghz * 1e9))
                ]
                ours = electromagnetic_properties(material, frequency_ghz * 1e9)
                assert ours.note is None
                assert ours.relative_permittivity == pytest.approx(theirs[0], rel=1e-4)
                assert ours.conductivity_s_per_m == pytest.approx(theirs[1], rel=1e-3, abs=1e-12)
