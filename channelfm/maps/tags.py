"""What tags say besides heights: which objects stand above ground, their material, which roads exist."""

from __future__ import annotations

DEFAULT_MATERIAL = "concrete"

# OSM values -> names of ITU-R P.2040 materials; stone is nearest to marble, plaster and earth cover or equal brick.
_MATERIALS: dict[str, str] = {
    **dict.fromkeys(("concrete", "reinforced_concrete", "cement", "cement_block", "panel", "eternit"), "concrete"),
    **dict.fromkeys(("brick", "bricks", "masonry", "plaster", "stucco", "clay", "adobe", "mud", "tiles"), "brick"),
    **dict.fromkeys(("glass", "mirror", "glass_facade"), "glass"),
    **dict.fromkeys(("metal", "metal_plates", "metal_sheet", "steel", "aluminium", "aluminum"), "metal"),
    **dict.fromkeys(("copper", "tin", "iron", "zinc"), "metal"),
    **dict.fromkeys(("wood", "timber", "timber_framing", "bamboo", "log"), "wood"),
    **dict.fromkeys(("stone", "marble", "limestone", "sandstone", "granite", "slate"), "marble"),
}
# What buildings of a type are mostly made of, for maps that name no material; all others are concrete.
_TYPE_MATERIALS: dict[str, str] = {
    **dict.fromkeys(("greenhouse", "glasshouse", "conservatory"), "glass"),
    **dict.fromkeys(("industrial", "warehouse", "hangar", "garage", "garages", "carport"), "metal"),
    **dict.fromkeys(("storage_tank", "silo", "container"), "metal"),
    **dict.fromkeys(("shed", "hut", "cabin", "barn", "stable", "boathouse"), "wood"),
    **dict.fromkeys(("house", "detached", "semidetached_house", "terrace", "bungalow", "villa", "farm"), "brick"),
    **dict.fromkeys(("church", "cathedral", "chapel", "mosque", "temple", "monastery", "castle"), "marble"),
}
_MATERIAL_KEYS = ("building:material", "building:facade:material", "building:cladding", "material")
_NOT_BUILT = frozenset({"no", "proposed", "demolished", "razed", "abandoned"})
_NOT_ROADS = frozenset(
    {"proposed", "construction", "abandoned", "razed", "platform", "elevator", "corridor", "rest_area", "services"}
)


def material_of(tags: dict[str, str]) -> str:
    """ITU-R P.2040 name of a building's facade: as tagged, else what its type suggests, else concrete."""
    for key in _MATERIAL_KEYS:
        for value in tags.get(key, "").lower().split(";"):
            if value.strip() in _MATERIALS:
                return _MATERIALS[value.strip()]
    types = (tags.get(key, "") for key in ("building", "building:part"))
    return next((_TYPE_MATERIALS[name] for name in types if name in _TYPE_MATERIALS), DEFAULT_MATERIAL)


def building_exclusion(tags: dict[str, str]) -> str | None:
    """Why a building is no obstacle above ground, or None."""
    if tags.get("building", tags.get("building:part")) in _NOT_BUILT:
        return "not built or demolished"
    if is_underground(tags):
        return "underground"
    return None


def road_exclusion(tags: dict[str, str]) -> str | None:
    """Why a ``highway`` line is no road above ground, or None."""
    if tags["highway"] in _NOT_ROADS or tags.get("area") == "yes":
        return "highway that is no road line"
    if is_underground(tags):
        return "underground"
    return None


def is_oneway(tags: dict[str, str]) -> bool:
    """Whether traffic runs along the points of a road only (roundabouts and motorways without a tag included)."""
    if "oneway" in tags:
        return tags["oneway"] in ("yes", "true", "1", "-1")
    return tags.get("junction") == "roundabout" or tags["highway"] in ("motorway", "motorway_link")


def is_underground(tags: dict[str, str]) -> bool:
    """Negative layer, tunnel, or a location below ground."""
    if tags.get("location") in ("underground", "underwater") or tags.get("tunnel", "no") != "no":
        return True
    try:
        return float(tags.get("layer", "0").split(";")[0].replace(",", ".")) < 0.0
    except ValueError:
        return False
