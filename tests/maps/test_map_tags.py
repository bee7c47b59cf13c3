import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelfm.maps.tags import material_of


@pytest.mark.parametrize(
    ("tags", "material"),
    [
        ({"building": "yes"}, "concrete"),
        ({"building": "yes", "building:material": "Brick"}, "brick"),
        ({"building": "yes", "building:material": "straw;glass"}, "glass"),
        ({"building": "yes", "building:facade:material": "sandstone"}, "marble"),
        ({"building": "greenhouse"}, "glass"),
        ({"building": "warehouse"}, "metal"),
        ({"building": "garage"}, "metal"),
        ({"building": "detached"}, "brick"),
        ({"building": "shed"}, "wood"),
        ({"building": "cathedral"}, "marble"),
        ({"building": "apartments"}, "concrete"),
        ({"building": "house", "building:material": "wood"}, "wood"),
        ({"building": "house", "building:material": "straw"}, "brick"),
        ({"building": "house", "building:part": "yes"}, "brick"),
        ({"building:part": "greenhouse"}, "glass"),
    ],
)
def test_materials_as_tagged_else_by_type(tags, material):
    assert material_of(tags) == material


@given(st.text(max_size=10), st.text(max_size=10))
def test_every_material_is_one_of_the_recommendation(kind, material):
    known = {"concrete", "brick", "glass", "metal", "wood", "marble"}
    assert material_of({"building": kind, "building:material": material}) in known
