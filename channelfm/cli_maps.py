"""``channelfm maps``: fetch street maps by name and see which are kept; and the option ``--maps`` of other verbs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from channelfm.errors import InputError

app = typer.Typer(
    name="maps",
    help="Street maps by name: fetch them from OpenStreetMap, see which are kept.",
    no_args_is_help=True,
    epilog="Example: channelfm maps fetch berlin nanjing",
)


def _search_in(context: typer.Context, folder: Path | None) -> Path | None:
    """For the time of a command, let maps be found in a folder; the verbs themselves need not hear of it."""
    if folder is not None:
        context.with_resource(_environment("CHANNELFM_MAPS", str(folder)))
    return folder


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


MapFolder = Annotated[
    Path | None,
    typer.Option(
        "--maps",
        metavar="DIR",
        callback=_search_in,
        help="Find maps by name here first, e.g. berlin.osm.gz (else CHANNELFM_MAPS, and what 'maps fetch' keeps).",
    ),
]


# a box may begin with a minus, which is no option then
@app.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: channelfm maps fetch berlin; channelfm maps fetch 11.57,48.13,11.58,48.14 --name my-town",
)
def fetch(
    places: Annotated[list[str], typer.Argument(metavar="CITY...|W,S,E,N", help="Cities, or one box in degrees.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What the box is called in recipes.")] = None,
) -> None:
    """Download maps from OpenStreetMap and keep them, with hash, date and licence; recipes name them map:CITY."""
    from channelfm.maps.data import OSM_ATTRIBUTION
    from channelfm.maps.presets import map_box, map_name
    from channelfm.maps.source import fetch_map

    if "," in places[0]:
        if len(places) > 1 or name is None:
            raise InputError("give one box at a time, and its name with --name, such as --name my-town")
        boxes = {name: parse_box(places[0])}
    elif name is not None:
        raise InputError("--name is for boxes; cities have names")
    else:
        boxes = {map_name(place): map_box(place) for place in places}
    for city, box in boxes.items():
        kept = fetch_map(city, box)
        print(f"{city}: {kept.path}, data of {kept.date}, SHA-256 {kept.sha256[:12]}")
    print(OSM_ATTRIBUTION)


@app.command("list", epilog="Example: channelfm maps list --maps ~/extracts")
def list_(maps: MapFolder = None) -> None:
    """Maps that are found by name: where they lie, of what date, with which hash; and those that can be fetched."""
    from channelfm.maps.data import OSM_ATTRIBUTION
    from channelfm.maps.presets import known_maps
    from channelfm.maps.source import cache_folder, kept_maps

    kept = kept_maps()
    for item in kept:
        print(f"{item.name}: {item.path}, data of {item.date or 'unknown date'}, SHA-256 {item.sha256[:12]}")
    print(OSM_ATTRIBUTION if kept else f"none yet; 'channelfm maps fetch CITY' keeps them in {cache_folder()}")
    names = {item.name for item in kept}
    print("to fetch: " + ", ".join(name for name in known_maps() if name not in names))


def parse_box(text: str) -> tuple[float, float, float, float]:
    """A box written W,S,E,N."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"bbox {text}: give four numbers west,south,east,north in degrees") from error
    return west, south, east, north


def download_place(place: str, folder: Path) -> Path:
    """The map of a place by its name, or of a box written W,S,E,N, downloaded into a folder."""
    from channelfm.maps.download import download_map

    is_box = place.count(",") == 3 and not any(letter.isalpha() for letter in place)
    return download_map(parse_box(place) if is_box else place, folder / "map.osm")
