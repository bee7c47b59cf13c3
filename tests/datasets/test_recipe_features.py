"""What recipes can ask for beyond the plain case: storage forms, stations, two bands, ground users, no scene."""

import importlib.util

import numpy as np
import pytest
from safetensors import safe_open

from channelfm.datasets.card import CARD
from channelfm.datasets.generate import Workforce, generate, units
from channelfm.datasets.recipe import ChannelRecipe, DatasetRecipe, SceneRecipe, StationRecipe
from channelfm.errors import InputError
from channelfm.metrics import nmse


@pytest.fixture
def make(recipe, tmp_path):
    def made_with(*changes, name="set"):
        return generate(recipe, tmp_path / name, changes, progress=False, workforce=Workforce(processes=1))

    return made_with


@pytest.mark.parametrize(("storage", "worst_db"), [("float16", -60.0), ("paths", -45.0)])
def test_smaller_forms_give_the_same_channels(make, made, storage, worst_db):
    from channelfm.datasets.dataset import open_dataset

    exact, small = open_dataset(made).load("train"), make(f"channel.storage={storage}").load("train")
    error = nmse(small.response[exact.has_path], exact.response[exact.has_path])
    assert 10 * np.log10(error.max()) < worst_db
    for label in ("positions_m", "has_path", "line_of_sight", "near_field", "distance_m", "track", "path_count"):
        np.testing.assert_array_equal(getattr(small, label), getattr(exact, label))
    assert small.response.dtype == np.complex64


def test_single_samples_of_smaller_forms_are_those_of_the_split(make):
    for storage in ("float16", "paths"):
        dataset = make(f"channel.storage={storage}", name=storage)
        whole, samples = dataset.load("train").response, dataset.samples("train")
        np.testing.assert_allclose(samples[5], whole[5], rtol=0, atol=1e-6 * np.abs(whole).max())


def test_stored_paths_are_at_hand_with_their_array(make, made):
    from channelfm.datasets.dataset import open_dataset

    dataset = make("channel.storage=paths")
    paths = dataset.paths("train")
    assert sum(len(compact) for _, compact in paths) == len(dataset.load("train"))
    assert all(array == dataset.array() for array, _ in paths)
    with pytest.raises(InputError, match=r"channel\.storage=paths"):
        open_dataset(made).paths("train")


def test_labels_come_without_responses(make):
    dataset = make("channel.storage=float16")
    labels = dataset.labels("train")
    assert labels.response.shape == (12, 0, 2)
    np.testing.assert_array_equal(labels.positions_m, dataset.load("train").positions_m)
    np.testing.assert_array_equal(labels.path_count > 0, labels.has_path)


def test_files_of_paths_hold_their_number_once(make):
    dataset = make("channel.storage=paths")
    paths = np.concatenate([compact.path_count for _, compact in dataset.paths("train")])
    np.testing.assert_array_equal(dataset.labels("train").path_count, paths)
    with safe_open(dataset.folder / dataset.manifest.shards[0].file, framework="numpy") as file:
        assert "paths.path_count" in file.keys()  # noqa: SIM118 (no mapping)
        assert "path_count" not in file.keys()  # noqa: SIM118


def test_several_stations_see_the_same_flights(make):
    stations = "[{name: west, position: [-20.0, 50.0, 60.0]}, {name: east, position: [110.0, 50.0, 70.0]}]"
    dataset = make(f"stations={stations}", "flights.0.num_uavs=1")
    assert [shard.station for shard in dataset.manifest.shards] == ["west", "west", "east", "east"]
    assert dataset.array(station="east").position == (110.0, 50.0, 70.0)
    train = dataset.load("train")
    np.testing.assert_array_equal(train.positions_m[:4], train.positions_m[4:])
    np.testing.assert_allclose(train.distance_m[4:], np.linalg.norm(train.positions_m[4:] - [110, 50, 70], axis=1))
    with pytest.raises(InputError, match="no station 'north'"):
        dataset.array(station="north")


def test_a_scene_that_nobody_moves_in_is_left_out(make):
    scenes = "[{name: corner, source: 'procedural:1'}, {name: empty, source: 'procedural:2'}]"
    assert make(f"scenes={scenes}", "flights.0.scenes=[corner]", "flights.1.scenes=[corner]").scenes == ("corner",)


def test_a_second_band_is_the_same_paths_at_other_frequencies(make, made):
    from channelfm.datasets.dataset import open_dataset

    both, one = make("channel.duplex_hz=190e6").load("train"), open_dataset(made).load("train")
    np.testing.assert_allclose(both.frequencies_hz[2:] - both.frequencies_hz[:2], 190e6)
    reached = one.has_path
    assert nmse(both.response[reached][..., :2], one.response[reached]).max() < 1e-10
    assert not np.allclose(both.response[..., 2:], one.response)
    uplink = ChannelRecipe(num_subcarriers=2, duplex_hz=1e8).frequencies_hz(3.5e9)
    np.testing.assert_allclose(uplink, [3.5e9 - 15e3, 3.5e9 + 15e3, 3.6e9 - 15e3, 3.6e9 + 15e3])


@pytest.mark.parametrize("kind", ["vehicles", "pedestrians"])
def test_ground_users_stay_on_the_ground(make, kind):
    train = make(f"flights.0.kind={kind}", "flights.0.speed_mps=[1, 3]", "flights.0.num_uavs=1").load("train")
    np.testing.assert_allclose(train.positions_m[:, 2], 1.5)


def test_sumo_flies_over_the_map_of_the_scene(make, tmp_path):
    if importlib.util.find_spec("libsumo") is None:
        pytest.skip("needs the extra sumo")
    streets = write_streets(tmp_path / "streets.osm")
    source = f"scenes.0.source=osm:{streets}"
    train = make(source, "flights.0.kind=sumo_guided", "flights.0.altitude_m=[30, 40]").load("train")
    assert ((train.positions_m[:, 2] >= 30) & (train.positions_m[:, 2] <= 40)).all()
    beside = np.abs(train.positions_m[:, :2, None] - np.array([-150.0, 0.0, 150.0])).min(axis=(1, 2))
    assert beside.max() < 10.0  # every position lies over a street of the grid
    with pytest.raises(InputError, match="made from a map"):
        make("flights.0.kind=sumo_guided", "scenes.0.source=procedural:1", name="no-map")


def write_streets(file):
    """Three by three streets, 150 m apart, about 0 N 0 E, and one building."""
    places = [(x, y) for y in (-150, 0, 150) for x in (-150, 0, 150)] + [(40, 40), (70, 40), (70, 70), (40, 70)]
    nodes = "".join(
        f"<node id='{k + 1}' version='1' lat='{y / 110_574:.9f}' lon='{x / 111_320:.9f}'/>"
        for k, (x, y) in enumerate(places)
    )
    lines = [(1, 2, 3), (4, 5, 6), (7, 8, 9), (1, 4, 7), (2, 5, 8), (3, 6, 9)]
    ways = "".join(_way(100 + k, line, "highway", "residential") for k, line in enumerate(lines))
    house = _way(200, (10, 11, 12, 13, 10), "building", "yes")
    bounds = "<bounds minlat='-0.0016' minlon='-0.0016' maxlat='0.0016' maxlon='0.0016'/>"
    file.write_text(f"<osm version='0.6'>{bounds}{nodes}{ways}{house}</osm>", encoding="utf-8")
    return file


def _way(number, refs, key, value):
    inner = "".join(f"<nd ref='{ref}'/>" for ref in refs)
    return f"<way id='{number}' version='1'>{inner}<tag k='{key}' v='{value}'/></way>"


def test_recorded_tracks_fly_where_they_were(make, tmp_path):
    file = tmp_path / "tracks.csv"
    rows = [
        f"{track},{second},{(20 + 5 * second) / 111_320:.7f},{(10 + 20 * track) / 111_320:.7f},50"
        for track in (1, 2)
        for second in range(4)
    ]
    file.write_text("track,time,lat,lon,height_m\n" + "\n".join(rows) + "\n")
    changes = ("flights.0.kind=recorded", f"flights.0.file={file}", "flights.0.num_uavs=2")
    train = make(*changes).load("train")
    np.testing.assert_allclose(np.diff(train.positions_m[:4, 1]), 5.0, atol=0.1)
    with pytest.raises(InputError, match="2 tracks have 4 usable points"):
        make(*changes[:2], "flights.0.num_uavs=3", name="more")
    with pytest.raises(InputError, match="belong together"):
        make("flights.0.kind=recorded", name="none")


def test_a_stochastic_model_takes_the_place_of_a_scene(make):
    pytest.importorskip("sionna.phy", reason="needs the extra threegpp")
    dataset = make("scenes.0.source=threegpp:cdl-d", "flights.0.interval_s=0.001")
    assert dataset.load("train").line_of_sight.all()
    assert dataset.manifest.shards[0].method == "cdl-d"
    with pytest.raises(InputError, match="without a 3-D scene"):
        dataset.scene()


def test_the_card_tells_what_is_in_the_folder(made):
    card = (made / CARD).read_text(encoding="utf-8")
    for said in (
        "16 channels of a 3 x 4 array",
        "OpenStreetMap contributors",
        "Open Database License",
        "| train |",
        "card/distances.png",
        "card/corner.png",
        "4 units in",
        "name: small",
    ):
        assert said in card
    assert (made / "card" / "corner.png").stat().st_size > 5_000


def test_the_card_of_stored_paths_tells_what_storing_cost(made, make):
    dataset = make("channel.storage=paths")
    error_db = np.concatenate([paths.error_db for _, paths in dataset.paths("train")]).astype(float)
    card = (dataset.folder / CARD).read_text(encoding="utf-8")
    assert f"{np.nanmax(error_db):.1f} | 0 |" in card
    assert "compact paths" not in (made / CARD).read_text(encoding="utf-8")


def test_names_in_recipes_may_be_patterns():
    recipe = DatasetRecipe.model_validate(
        {
            "name": "r",
            "scenes": [{"name": f"{city}-{k}", "source": "procedural:1"} for city in ("a", "b") for k in range(2)],
            "flights": [{"name": "f", "split": "train", "scenes": ["a-*"]}],
            "stations": [{"name": "s", "scenes": ["*-1"]}],
        }
    )
    assert [bool(recipe.flights_in(name)) for name in ("a-0", "a-1", "b-0")] == [True, True, False]
    assert [bool(recipe.stations_in(name)) for name in ("a-0", "a-1", "b-1")] == [False, True, True]
    assert StationRecipe(name="s").orientation_rad is None
    assert SceneRecipe(name="s", source="city:sydney-suburban").where == "sydney-suburban"


def test_what_a_worker_keeps_is_only_to_save_time(made, recipe, tmp_path, contents):
    units._scene.cache_clear()
    units._tracer.cache_clear()
    generate(recipe, tmp_path, progress=False, workforce=Workforce(processes=1))
    assert contents(tmp_path) == contents(made)
