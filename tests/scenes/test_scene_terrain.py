import numpy as np
import pytest
import shapely

from channelfm import scenes
from channelfm.errors import DependencyError, InputError
from channelfm.maps import Footprint
from channelfm.maps.projection import local_origin
from channelfm.records import Scene
from channelfm.scenes.assembly import assemble
from channelfm.scenes.inspection import coincident_faces
from channelfm.scenes.surface import ground_height, height_raster, inside_buildings, require_free
from channelfm.scenes.terrain import Terrain, base_heights, read_terrain

BOUNDS = (-100.0, -100.0, 100.0, 100.0)


@pytest.fixture
def hill():
    """A slope of 10 % to the east and a ridge line along x = y."""
    x, y = np.meshgrid(np.arange(21), np.arange(21))
    return Terrain(np.abs(x - y) + 1.0 * x, -100.0, -100.0, 10.0, 250.0)


@pytest.fixture
def write_raster(tmp_path):
    """A GeoTIFF about 11 E 48 N of heights 500 + (x east + 2 y north) / 100 m, in a metric grid or in degrees."""
    rasterio = pytest.importorskip("rasterio", reason="the extra maps is not installed")
    origin = local_origin((10.999, 47.999, 11.001, 48.001))

    def write(name="ground.tif", crs=None, half=400.0, cell=10.0, hole=False, driver="GTiff"):
        side = int(2 * half / cell)
        middle = -half + cell * (np.arange(side) + 0.5)
        heights = 500.0 + (middle[None, :] + 2.0 * middle[::-1, None]) / 100.0
        if hole:
            heights[side // 2 - 2 : side // 2 + 2, side // 2] = -9999.0
        grid = rasterio.Affine(cell, 0.0, -half, 0.0, -cell, half)
        options = {"width": side, "height": side, "count": 1, "dtype": "float32", "nodata": -9999.0}
        with rasterio.open(
            tmp_path / name, "w", driver=driver, crs=origin.crs if crs is None else crs, transform=grid, **options
        ) as raster:
            raster.write(heights.astype(np.float32), 1)
        return tmp_path / name

    return write, origin


def test_the_surface_is_linear_on_its_triangles(hill):
    vertices, faces = hill.mesh()
    assert (len(vertices), len(faces)) == (441, 800)
    corners = vertices[faces]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()
    assert hill.at(vertices[:, :2]) == pytest.approx(vertices[:, 2])
    assert hill.at(corners.mean(axis=1)[:, :2]) == pytest.approx(corners.mean(axis=1)[:, 2])


def test_the_lowest_ground_under_an_area_is_exact(hill):
    rng = np.random.default_rng(0)
    for _ in range(40):
        centre, size = rng.uniform(-70, 70, 2), rng.uniform(2, 25)
        area = shapely.Polygon(centre + size * rng.normal(size=(3, 2)).clip(-1.2, 1.2)).convex_hull
        dense = shapely.get_coordinates(shapely.segmentize(area.exterior, 0.02))
        inside = rng.uniform(*np.reshape(area.bounds, (2, 2)), (4000, 2))
        samples = np.concatenate([dense, inside[shapely.intersects_xy(area, inside)]])
        lowest = hill.at(samples).min()
        assert lowest - 0.01 < hill.lowest_under(area) <= lowest + 1e-9


def test_buildings_stand_on_their_lowest_ground_without_a_gap(hill):
    footprints = [
        Footprint("a", shapely.box(10, -40, 34, -20), 12.0, 0.0, "height", "brick"),
        Footprint("b", shapely.box(34, -40, 50, -20), 12.0, 0.0, "height", "brick"),
        Footprint("podium", shapely.box(-60, 20, -30, 50), 6.0, 0.0, "height", "brick"),
        Footprint("tower", shapely.box(-50, 30, -40, 40), 30.0, 6.0, "height", "brick"),
    ]
    scene = assemble("hill", footprints, [], BOUNDS, terrain=hill)
    assert [item.mesh for item in scene.buildings] == ["a", "a", "podium", "podium"]
    assert [item.height_m for item in scene.buildings] == [12.0, 12.0, 6.0, 30.0]
    assert all(item.watertight for item in scene.buildings)
    assert len(coincident_faces(scene)) == 0
    bases = base_heights(footprints, hill)
    assert bases[2] == bases[3]
    vertices, _ = scene.object_mesh(0)
    assert vertices[:, 2].min() == pytest.approx(hill.lowest_under(footprints[0].area), abs=1e-3)
    corners = vertices[vertices[:, 2] == vertices[:, 2].min()]
    assert (ground_height(scene, corners[:, :2]) >= corners[:, 2] - 1e-3).all()
    assert vertices[:, 2].max() == pytest.approx(bases[1] + 12.0)


def test_ground_height_of_flat_and_uneven_scenes(hill, tiny_scene):
    points = np.random.default_rng(1).uniform(-99, 99, (500, 2))
    footprints = [Footprint("a", shapely.box(0, 0, 10, 10), 12.0, 0.0, "height", "brick")]
    uneven = assemble("hill", footprints, [], BOUNDS, terrain=hill)
    assert ground_height(uneven, points) == pytest.approx(hill.at(points))
    assert (height_raster(uneven, 2.0).at(points) >= ground_height(uneven, points) - 1e-9).all()
    with pytest.raises(InputError, match=r"ends before \(500, 0\)"):
        ground_height(uneven, [(0.0, 0.0), (500.0, 0.0)])
    assert ground_height(tiny_scene, [(0.0, 0.0), (5000.0, 0.0)]).tolist() == [0.0, 0.0]
    low = hill.at([(50.0, -50.0)])[0]
    require_free(uneven, (50.0, -50.0, low + 1.0))
    with pytest.raises(InputError, match="below the ground at z = "):
        require_free(uneven, (50.0, -50.0, low - 1.0))


@pytest.mark.parametrize("kind", ["metric", "utm", "ascii"])
def test_a_raster_is_resampled_into_the_frame_of_the_scene(write_raster, kind, tmp_path):
    import rasterio
    from rasterio.warp import calculate_default_transform, reproject

    write, origin = write_raster
    path = write()
    if kind == "utm":
        with rasterio.open(path) as source:
            transform, width, height = calculate_default_transform(
                source.crs, "EPSG:32632", source.width, source.height, *source.bounds
            )
            options = {"width": width, "height": height, "count": 1, "dtype": "float32", "nodata": -9999.0}
            with rasterio.open(
                tmp_path / "utm.tif", "w", driver="GTiff", crs="EPSG:32632", transform=transform, **options
            ) as turned:
                reproject(rasterio.band(source, 1), rasterio.band(turned, 1), resampling=1)
        path = tmp_path / "utm.tif"
    if kind == "ascii":
        from rasterio.shutil import copy

        copy(path, tmp_path / "ground.asc", driver="AAIGrid")
        path = tmp_path / "ground.asc"
    terrain = read_terrain(path, origin, BOUNDS)
    points = np.random.default_rng(0).uniform(-100, 100, (200, 2))
    expected = 500.0 + (points[:, 0] + 2.0 * points[:, 1]) / 100.0
    assert terrain.at(points) + terrain.datum_m == pytest.approx(expected, abs=0.01)
    assert terrain.cell_m == pytest.approx(10.0, abs=0.1)
    assert terrain.heights_m.min() == 0.0


def test_fine_rasters_are_read_at_five_metres(write_raster):
    write, origin = write_raster
    assert read_terrain(write(cell=1.0, half=120.0), origin, BOUNDS).cell_m == 5.0


def test_a_map_on_uneven_ground(write_raster, tmp_path):
    write, _ = write_raster
    nodes = [(10.9998, 47.9999), (11.0002, 47.9999), (11.0002, 48.0001), (10.9998, 48.0001)]
    body = "".join(f'<node id="{k}" version="1" lat="{lat}" lon="{lon}"/>' for k, (lon, lat) in enumerate(nodes, 1))
    way = "".join(f'<nd ref="{k}"/>' for k in (1, 2, 3, 4, 1))
    tags = '<tag k="building" v="yes"/><tag k="height" v="10"/>'
    (tmp_path / "one.osm").write_text(f'<osm version="0.6">{body}<way id="7" version="1">{way}{tags}</way></osm>')
    scene = scenes.from_osm(tmp_path / "one.osm", terrain=write())
    ground = ground_height(scene, [scene.bounds[:2], (0.0, 0.0)])
    assert ground[1] + scene.origin.height_m == pytest.approx(500.0, abs=0.02)
    roof = scene.object_mesh(0)[0][:, 2].max()
    assert roof == pytest.approx(ground[0] + 10.0, abs=1e-3)
    assert inside_buildings(scene, [(0.0, 0.0, ground[1] + 1.0)])[0]
    scene.save(tmp_path / "scene.safetensors")
    assert Scene.load(tmp_path / "scene.safetensors").origin == scene.origin


def test_rasters_that_will_not_do(write_raster, tmp_path, monkeypatch):
    write, origin = write_raster
    with pytest.raises(InputError, match="no such file"):
        read_terrain(tmp_path / "none.tif", origin, BOUNDS)
    with pytest.raises(InputError, match=r"has no heights for .* of the ground"):
        read_terrain(write(half=60.0), origin, BOUNDS)
    with pytest.raises(InputError, match="has no heights for 0"):
        read_terrain(write(hole=True), origin, BOUNDS)
    with pytest.raises(InputError, match="no coordinate system"):
        read_terrain(write(name="bare.tif", crs=""), origin, BOUNDS)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(InputError, match="cannot read the height raster"):
        read_terrain(tmp_path / "text.tif", origin, BOUNDS)
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(DependencyError, match=r"channelfm\[maps\]"):
        read_terrain(tmp_path / "text.tif", origin, BOUNDS)
