"""What channels that were drawn from a model consist of: drawn once more, since the recipe tells all that they follow
from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channelfm.channels.near_field import Clusters, NearFieldDraw, SphericalRays, draw_near_field
from channelfm.datasets.dataset import Dataset
from channelfm.datasets.plan import plan_units, stochastic_seed
from channelfm.datasets.recipe import DatasetRecipe


def near_field_truth(dataset: Dataset, split: str, numbers: NDArray[np.int64]) -> tuple[Clusters, SphericalRays] | None:
    """Clusters and rays of the snapshots ``numbers`` of a split; None where it has scenes of other kinds."""
    recipe = dataset.manifest.recipe
    if not isinstance(recipe, DatasetRecipe):
        return None
    scenes = {scene.name: scene for scene in recipe.scenes}
    shards = [shard for shard in dataset.manifest.shards if shard.split == split]
    if any(scenes[shard.scene].kind != "near-field" for shard in shards):
        return None
    units = {unit.name: unit for unit in plan_units(recipe)}
    first = np.concatenate([[0], np.cumsum([shard.snapshots for shard in shards])])
    holders = np.searchsorted(first, numbers, side="right") - 1
    parts: list[tuple[Clusters, SphericalRays]] = []
    for holder in np.unique(holders):
        shard = shards[holder]
        array = dataset.array(shard.scene, shard.station)
        model = recipe.near_field.model(scenes[shard.scene].where)
        seed = stochastic_seed(recipe, units[shard.unit])
        draw: NearFieldDraw = draw_near_field(
            model, array, recipe.channel.frequencies_hz(array.carrier_hz), shard.snapshots, seed
        )
        wanted = numbers[holders == holder] - first[holder]
        parts.append((draw.clusters.select(wanted), draw.rays.select(wanted)))
    order = np.argsort(np.concatenate([np.flatnonzero(holders == holder) for holder in np.unique(holders)]))
    rays = SphericalRays(*(np.concatenate(column)[order] for column in zip(*(part for _, part in parts), strict=True)))
    return Clusters.joined([part for part, _ in parts]).select(order), rays
