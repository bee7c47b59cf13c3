"""The card of a data set: ``README.md`` with tables and pictures, for people who meet the folder without us."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from channelfm.arrays import UPA
from channelfm.datasets.dataset import Dataset
from channelfm.datasets.manifest import COUNTED, SceneEntry
from channelfm.files import write_atomically
from channelfm.plain import from_json
from channelfm.records import Channels, Scene, Trajectory

CARD = "README.md"
PICTURES = "card"
MOST_SCENES_DRAWN = 4
POORLY_STORED_DB = -40.0

# Draws a scene with the positions of its users and one of its arrays into a file.
DrawScene = Callable[[Scene, Path, Trajectory, UPA], None]


def write_card(dataset: Dataset, draw_scene: DrawScene | None = None) -> Path:
    """Write the card of a finished data set and its pictures; neither belongs to the hashed contents.

    Without ``draw_scene`` no scene is drawn; labels that are not known (NaN, in imported sets) are left out.
    """
    labels = {split: dataset.labels(split) for split in dataset.splits}
    pictures = [_draw_histograms(dataset, labels)]
    if draw_scene is not None:
        pictures += _draw_scenes(dataset, labels, draw_scene)
    sections = (
        _heading(dataset),
        _counts(dataset),
        _shares(labels),
        _storage(dataset),
        _lives(dataset),
        "\n".join(f"![{path.stem}]({PICTURES}/{path.name})" for path in pictures),
        _origin(dataset),
        _settings(dataset),
        _effort(dataset.folder),
        _reading(dataset),
    )
    write_atomically(dataset.folder / CARD, "\n\n".join(filter(None, sections)).encode() + b"\n")
    return dataset.folder / CARD


def _heading(dataset: Dataset) -> str:
    array = dataset.array()
    size = sum(shard.size for shard in dataset.manifest.shards) / 1e6
    return (
        f"# {dataset.name}\n\n{len(dataset)} channels of a {array.rows} x {array.cols} array ({array.polarization}) at "
        f"{array.carrier_hz / 1e9:g} GHz in {len(dataset.manifest.shards)} shards, {size:.1f} MB; Rayleigh distance "
        f"{array.rayleigh_distance_m:.1f} m. Made with channelfm {dataset.manifest.versions.get('channelfm', '?')}."
    )


def _counts(dataset: Dataset) -> str:
    rows = [
        "| split | scene | " + " | ".join(key.replace("_", " ") for key in COUNTED) + " |",
        "|---|---|" + "---|" * 4,
    ]
    for split, by_scene in dataset.manifest.counts().items():
        rows += [f"| {split} | {name} | " + " | ".join(map(str, row.values())) + " |" for name, row in by_scene.items()]
    return "## What is in it\n\n" + "\n".join([*_left_out(dataset), *rows])


def _left_out(dataset: Dataset) -> list[str]:
    """A sentence for an excerpt: how much of each split is here; nothing where all is."""
    planned, held = dataset.manifest.planned(), dataset.manifest.counts()
    fewer = {split: sum(row["snapshots"] for row in held.get(split, {}).values()) for split in planned}
    parts = [f"{fewer[split]} of {count} in {split}" for split, count in planned.items() if fewer[split] < count]
    if not parts:
        return []
    return [f"An excerpt of what the recipe makes, the first users of each flight: {', '.join(parts)}.", ""]


def _shares(labels: dict[str, Channels]) -> str:
    headings = ("split", "near field", "line of sight", "distance [m]: 5 %, median, 95 %", "height [m]: from, to")
    rows = [_row(*headings), _row(*["---"] * len(headings))]
    for split, some in labels.items():
        distance, height = _known(some.distance_m), _known(some.positions_m[:, 2])
        spread = ", ".join(f"{value:.0f}" for value in np.percentile(distance, [5, 50, 95])) if len(distance) else "?"
        heights = f"{height.min():.1f}, {height.max():.1f}" if len(height) else "?"
        near, seen = (f"{100 * flags.mean():.1f} %" for flags in (some.near_field, some.line_of_sight))
        rows.append(_row(split, near, seen, spread, heights))
    return "\n".join(rows)


def _storage(dataset: Dataset) -> str:
    """What storing paths instead of channels has cost; nothing where channels are stored, or where it is not known."""
    if not all(shard.form == "PathChannels" for shard in dataset.manifest.shards):
        return ""
    rows = []
    for split in dataset.splits:
        known = _known(np.concatenate([paths.error_db.astype(np.float64) for _, paths in dataset.paths(split)]))
        if len(known):
            spread = ", ".join(f"{value:.1f}" for value in np.percentile(known, [50, 99, 100]))
            rows.append(_row(split, spread, int(np.sum(known > POORLY_STORED_DB))))
    if not rows:
        return ""
    titles = ("split", "error [dB]: median, 99 %, worst", f"links above {POORLY_STORED_DB:.0f} dB")
    heading = "Links are stored as compact paths; their channels at the carrier, against those of the traced paths:"
    return "\n".join([heading, "", _row(*titles), _row(*["---"] * len(titles)), *rows])


def _lives(dataset: Dataset) -> str:
    """How paths come and go, where they were followed along tracks; nothing elsewhere."""
    rows = []
    for split in dataset.splits:
        found = [shard.lives for shard in dataset.manifest.shards if shard.split == split and shard.lives is not None]
        way, births, deaths = (sum(one[key] for one in found) for key in ("length_m", "births", "deaths"))
        if way:
            lived = sum(one["length_m"] * one["mean_paths"] for one in found)
            number = f"{lived / way:.1f}"
            life = f"{lived / deaths:.1f}" if deaths else "no path died"
            rows.append(_row(split, f"{way:.0f}", number, f"{births / way:.2f}", f"{deaths / way:.2f}", life))
    if not rows:
        return ""
    titles = ("split", "way [m]", "paths at a time", "births per m", "deaths per m", "mean life [m]")
    heading = "Paths followed along each track, number by number; what a track begins and ends with is not counted."
    return "\n".join(["## How paths come and go", "", heading, "", _row(*titles), _row(*["---"] * len(titles)), *rows])


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _origin(dataset: Dataset) -> str:
    methods = Counter(shard.method for shard in dataset.manifest.shards)
    lines = [f"- traced by: {', '.join(f'{name} ({count} shards)' for name, count in methods.items())}"]
    lines += [f"- {scene.name}: {_credit(scene)}" for scene in dataset.manifest.scenes if scene.attribution]
    if any("OpenStreetMap" in scene.attribution for scene in dataset.manifest.scenes):
        lines.append(
            "- The maps are under the Open Database License 1.0 (https://www.openstreetmap.org/copyright): "
            "keep this attribution in whatever is made from the data."
        )
    return "## Where it comes from\n\n" + "\n".join(lines)


def _credit(scene: SceneEntry) -> str:
    """Whom to credit for a scene, and which map it was."""
    if scene.map is None:
        return scene.attribution
    return f"{scene.attribution}; data of {scene.map.date or 'unknown date'}, SHA-256 {scene.map.sha256}"


def _settings(dataset: Dataset) -> str:
    plain = dataset.manifest.recipe.model_dump(mode="json", exclude_defaults=True)
    versions = ", ".join(f"{name} {number}" for name, number in dataset.manifest.versions.items())
    text = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=110)
    return f"## How it was made\n\nBytes follow from this recipe and from {versions}.\n\n```yaml\n{text}```"


def _effort(folder: Path) -> str:
    """Time and machines, from the files that the runs left; nothing where there is none."""
    lines = []
    for path in sorted(folder.glob("generation*.json")):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged file tells nothing
            lines += [
                f"- {len(run['seconds'])} units in {run['wall_s']:.0f} s on {run['machine']['processor']}, "
                f"{run['machine']['cores']} cores, Python {run['machine']['python']}"
                for run in from_json(path.read_text(encoding="utf-8"))
            ]
    if not lines:
        return ""
    return "## What it took\n\n" + "\n".join(lines)


def _reading(dataset: Dataset) -> str:
    return (
        "## How to read it\n\n```python\nimport channelfm as cfm\n\n"
        f'dataset = cfm.open_dataset("{dataset.folder.name}")\n'
        f'channels = dataset.load("{dataset.splits[0]}")  # response complex64 [snapshot, antenna, frequency]\n```\n\n'
        "`channelfm info FOLDER` compares every file with its SHA-256 in `manifest.json`."
    )


def _draw_histograms(dataset: Dataset, labels: dict[str, Channels]) -> Path:
    """Distance, with the Rayleigh distance, and height of all snapshots by split."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 2.8), layout="constrained")
    by_distance, by_height = figure.subplots(1, 2)
    _stacked(by_distance, {split: some.distance_m for split, some in labels.items()})
    by_distance.axvline(dataset.array().rayleigh_distance_m, color="black", linestyle="--", label="Rayleigh distance")
    by_distance.set(xlabel="distance to the array [m]", ylabel="snapshots")
    by_distance.legend()
    _stacked(by_height, {split: some.positions_m[:, 2] for split, some in labels.items()})
    by_height.set(xlabel="height of the user [m]")
    return _saved(figure, dataset.folder / PICTURES / "distances.png")


def _stacked(axes, values: dict[str, NDArray[np.float64]]) -> None:  # type: ignore[no-untyped-def]  # Axes is untyped
    axes.hist([_known(some) for some in values.values()], bins=30, stacked=True, label=list(values))


def _draw_scenes(dataset: Dataset, labels: dict[str, Channels], draw_scene: DrawScene) -> list[Path]:
    drawn = []
    for entry in [entry for entry in dataset.manifest.scenes if entry.record is not None][:MOST_SCENES_DRAWN]:
        tracks = [shard.track for shard in dataset.manifest.shards if shard.scene == entry.name]
        parts = [some.select(np.isin(some.track, tracks)) for some in labels.values()]
        times, positions, velocities, track = (
            np.concatenate([getattr(part, name) for part in parts]) for name in _MOVEMENT
        )
        movement = Trajectory(times, positions, velocities, track, kind="recorded")
        path = dataset.folder / PICTURES / f"{entry.name}.png"
        draw_scene(dataset.scene(entry.name), path, movement, next(iter(entry.arrays.values())))
        drawn.append(path)
    return drawn


_MOVEMENT = ("times_s", "positions_m", "velocities_mps", "track")


def _saved(figure, path: Path) -> Path:  # type: ignore[no-untyped-def]  # Figure is untyped
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
