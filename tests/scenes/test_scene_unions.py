"""Touching buildings: one watertight solid without inner walls, or a gap."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import shapely
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from channelfm import scenes
from channelfm.maps import Footprint, Roof
from channelfm.scenes.assembly import assemble
from channelfm.scenes.extrusion import extrude
from channelfm.scenes.inspection import coincident_faces
from channelfm.scenes.unions import join_touching


def block(name, area, top, bottom=0.0, material="concrete", roof=None):
    return Footprint(name, area, top, bottom, "height", material, roof=roof)


def build(*items):
    return assemble("test", items, [], (-5.0, -5.0, 5.0, 5.0))


def coplanar_opposite_pairs(scene):
    """Independent of the package's own search: exact planes, then the overlap of polygons within each plane."""
    planes = {}
    for number, face in enumerate(scene.faces):
        if scene.objects[scene.face_object[number]].kind == "ground":
            continue
        corners = scene.vertices[face]
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        normal /= np.linalg.norm(normal)
        sign = 1.0 if normal @ (0.61, 0.53, 0.59) > 0 else -1.0
        key = (*np.round(sign * normal, 4) + 0.0, round(sign * float(normal @ corners[0]), 3) + 0.0)
        planes.setdefault(key, {1.0: [], -1.0: []})[sign].append((number, corners))
    found = []
    for key, sides in planes.items():
        normal = np.array(key[:3])
        drop = int(np.argmax(np.abs(normal)))
        flat = {
            sign: [(n, shapely.Polygon(np.delete(c, drop, axis=1))) for n, c in side] for sign, side in sides.items()
        }
        for one, first in flat[1.0]:
            found += [(one, other) for other, second in flat[-1.0] if first.intersection(second).area > 1e-4]
    return found


def check(scene, objects):
    """Watertight by trimesh too, volumes and roof areas as the buildings say, nothing back to back."""
    solids = [number for number, item in enumerate(scene.objects) if item.kind == "building"]
    assert len(solids) == objects
    for number in solids:
        mesh = trimesh.Trimesh(*scene.object_mesh(number))
        members = [item for item in scene.buildings if item.mesh == scene.objects[number].name]
        assert members
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert all(item.watertight for item in members)
        assert mesh.volume == pytest.approx(sum(item.volume_m3 for item in members), rel=1e-6)
    for item in scene.buildings:
        if item.roof_shape == "flat":
            area = item.footprint_area_m2 - item.hole_area_m2
            assert item.volume_m3 == pytest.approx(area * (item.height_m - item.min_height_m), rel=1e-6)
    assert len(coincident_faces(scene)) == 0
    assert coplanar_opposite_pairs(scene) == []


def roof_area(scene, number):
    vertices, faces = scene.object_mesh(number)
    corners = vertices[faces]
    up = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] / 2
    return up[up > 0].sum()


def test_two_equal_boxes_are_one_box_without_a_wall_between():
    scene = build(block("a", shapely.box(0, 0, 10, 10), 8.0), block("b", shapely.box(10, 0, 25, 10), 8.0))
    check(scene, 1)
    assert [item.name for item in scene.objects] == ["b", "ground"]  # after the larger
    assert [(item.osm_id, item.mesh) for item in scene.buildings] == [("a", "b"), ("b", "b")]
    mesh = trimesh.Trimesh(*scene.object_mesh(0))
    assert mesh.volume == pytest.approx(25 * 10 * 8)
    assert mesh.area == pytest.approx(2 * 250 + 8 * 70)  # no inner wall
    assert roof_area(scene, 0) == pytest.approx(250)


def test_different_heights_leave_the_wall_above_the_lower_roof():
    scene = build(block("a", shapely.box(0, 0, 10, 10), 8.0), block("b", shapely.box(10, 0, 20, 10), 20.0))
    check(scene, 1)
    area = trimesh.Trimesh(*scene.object_mesh(0)).area
    assert area == pytest.approx(2 * 200 + 8 * 30 + 20 * 30 + 12 * 10)


def test_a_neighbour_along_part_of_a_wall_and_an_l_shape():
    l_shape = shapely.Polygon([(0, 0), (20, 0), (20, 8), (8, 8), (8, 20), (0, 20)])
    scene = build(
        block("l", l_shape, 12.0),
        block("inner", shapely.box(8, 8, 20, 20), 9.0),
        block("part", shapely.box(20, 2.5, 26, 6.25), 15.0),
    )
    check(scene, 1)
    assert roof_area(scene, 0) == pytest.approx(400 + 6 * 3.75)


def test_houses_around_a_courtyard_keep_the_courtyard():
    houses = [(0, 0, 30, 10), (0, 20, 30, 30), (0, 10, 10, 20), (20, 10, 30, 20)]
    scene = build(*(block(f"h{k}", shapely.box(*box), 10.0 + k) for k, box in enumerate(houses)))
    check(scene, 1)
    assert roof_area(scene, 0) == pytest.approx(800)
    assert trimesh.Trimesh(*scene.object_mesh(0)).euler_number == 0  # a ring


def test_a_tower_on_a_podium_loses_the_face_between_them():
    podium, tower = shapely.box(0, 0, 30, 30), shapely.box(10, 10, 20, 20)
    scene = build(block("podium", podium, 10.0), block("tower", tower, 40.0, 10.0))
    check(scene, 1)
    assert trimesh.Trimesh(*scene.object_mesh(0)).area == pytest.approx(2 * 900 + 120 * 10 + 40 * 30)
    flush = build(block("podium", podium, 10.0), block("tower", shapely.box(0, 0, 10, 10), 40.0, 10.0))
    check(flush, 1)


def test_a_tower_of_another_material_stands_a_centimetre_above():
    podium, tower = shapely.box(0, 0, 30, 30), shapely.box(10, 10, 20, 20)
    scene = build(block("podium", podium, 10.0), block("tower", tower, 40.0, 10.0, "glass"))
    check(scene, 2)
    assert [item.min_height_m for item in scene.buildings] == [0.0, 10.01]


def test_walls_of_different_materials_are_set_apart_by_a_centimetre():
    scene = build(
        block("a", shapely.box(0, 0, 10, 10), 8.0), block("b", shapely.box(10, 0, 16, 10), 8.0, material="brick")
    )
    check(scene, 2)
    a, b = scene.buildings
    assert a.footprint_area_m2 == 100.0
    assert b.footprint_area_m2 == pytest.approx(60.0 - 0.01 * 10.0)


def test_a_pitched_roof_next_to_a_flat_one_stays_whole():
    roof = Roof("gabled", 3.0)
    scene = build(
        block("house", shapely.box(0, 0, 10, 8), 8.0, roof=roof), block("flat", shapely.box(10, 0, 40, 8), 8.0)
    )
    check(scene, 2)
    assert scene.buildings[0].footprint_area_m2 == 80.0


@pytest.mark.parametrize("heights", [(10.0, 10.0, 5.0), (10.0, 4.0, 5.0), (10.0, 12.0, 10.0)])
def test_towers_that_meet_in_a_vertical_line_are_set_apart(heights):
    a, c, between = heights
    scene = build(
        block("a", shapely.box(0, 0, 10, 10), a),
        block("c", shapely.box(10, 10, 20, 20), c),
        block("between", shapely.box(10, 0, 20, 10), between),
    )
    check(scene, 1)


def test_boxes_that_touch_in_a_corner_stay_two_objects():
    check(build(block("a", shapely.box(0, 0, 10, 10), 9.0), block("b", shapely.box(10, 10, 20, 20), 9.0)), 2)


def test_a_part_that_hangs_beside_a_lower_roof_meets_it_in_an_edge():
    hanging = shapely.box(10, 0, 15, 10).union(shapely.box(8, 4, 10, 6))
    scene = build(block("low", shapely.box(0, 0, 10, 10), 10.0), block("hanging", hanging, 20.0, 10.0))
    check(scene, 2)
    assert scene.buildings[1].min_height_m == 10.01
    assert scene.buildings[1].footprint_area_m2 == pytest.approx(54.0)


def test_what_vanishes_in_the_setback_is_counted():
    slip = shapely.box(10.0, 0.0, 10.012, 10.0)
    counts = Counter()
    bodies = join_touching(
        [block("a", shapely.box(0, 0, 10, 10), 8.0), block("slip", slip, 8.0, material="glass")], counts
    )
    assert [item.osm_id for body in bodies for item in body.items] == ["a"]
    assert counts == {"too thin to stand apart from its neighbour": 1}


def test_walls_drawn_a_few_millimetres_apart_are_one_wall():
    scene = build(
        block("a", shapely.box(0, 0, 10, 10), 8.0),
        block("b", shapely.Polygon([(10.002, 3), (20, 3), (20, 7), (9.998, 7)]), 8.0),
    )
    check(scene, 1)
    assert roof_area(scene, 0) == pytest.approx(140.0, abs=0.02)


def test_the_union_needs_fewer_triangles():
    for steps, share in ((1, 0.75), (3, 1.0)):  # equal heights, and heights that leave walls above every roof
        row = [block(f"h{k}", shapely.box(10 * k, 0, 10 * k + 10, 12), 9.0 + k % steps) for k in range(8)]
        alone = sum(len(extrude(item.area, 0.0, item.height_m)[1]) for item in row)
        assert len(build(*row).faces) - 2 <= share * alone


@st.composite
def row_houses(draw):
    """Houses in two rows back to back, with random widths, heights, undersides and materials, and towers on them."""
    items, angle = [], draw(st.floats(0.0, 1.5))
    for row in range(draw(st.integers(1, 2))):
        x = 0.0
        for number in range(draw(st.integers(2, 5))):
            width = draw(st.sampled_from([4.0, 5.5, 7.25]))
            bottom = draw(st.sampled_from([0.0, 0.0, 0.0, 3.0]))
            top = draw(st.sampled_from([6.0, 9.0, 12.3]))
            material = draw(st.sampled_from(["concrete", "concrete", "brick"]))
            roof = draw(st.sampled_from([None, None, None, Roof("gabled", 2.0)]))
            outline = shapely.box(x, 10 * row, x + width, 10 * row + 10)
            items.append((f"r{row}_{number}", outline, top, bottom, material, roof))
            if draw(st.booleans()):
                inner = shapely.box(x + draw(st.sampled_from([0.0, 1.0])), 10 * row + 2, x + width, 10 * row + 6)
                items.append(
                    (f"t{row}_{number}", inner, top + 5.0, top, draw(st.sampled_from(["concrete", "brick"])), None)
                )
            x += width
    turned = [shapely.affinity.rotate(item[1], angle, origin=(0, 0), use_radians=True) for item in items]
    return [
        block(item[0], shapely.set_precision(area, 0.001), *item[2:]) for item, area in zip(items, turned, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(row_houses())
def test_any_row_of_houses_becomes_sound_solids(items):
    scene = build(*items)
    check(scene, len(scene.objects) - 1)
    assert not scene.skipped.get("too thin to stand apart from its neighbour")
    wanted = sum(item.area.area * (item.height_m - item.min_height_m) for item in items if item.roof is None)
    built = sum(item.volume_m3 for item in scene.buildings if item.roof_shape == "flat")
    assert built == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("style", ["mixed", "courtyards", "towers", "suburb"])
def test_no_faces_back_to_back_in_an_invented_city(style):
    scene = scenes.procedural(1, style=style)
    assert coplanar_opposite_pairs(scene) == []
    assert len(coincident_faces(scene)) == 0


def test_no_faces_back_to_back_in_a_real_city(extract):
    assert coplanar_opposite_pairs(scenes.from_osm(extract("sydney_cbd_500m.osm.pbf"))) == []


def test_the_search_finds_walls_back_to_back():
    meshes = [extrude(shapely.box(0, 0, 10, 10), 0.0, 8.0), extrude(shapely.box(10, 2, 20, 6), 0.0, 5.0)]
    scene = build(block("a", shapely.box(0, 0, 10, 10), 8.0), block("b", shapely.box(30, 2, 40, 6), 5.0))
    doubled = scene.vertices.copy()
    doubled[len(meshes[0][0]) : len(meshes[0][0]) + len(meshes[1][0]), 0] -= 20.0
    broken = dataclasses.replace(scene, vertices=doubled)
    assert len(coincident_faces(broken)) > 0
    assert len(coplanar_opposite_pairs(broken)) == len(coincident_faces(broken))
