"""Channel data sets on disk: one sample contract, safetensors shards, a hashed manifest, resumable generation.

**The sample contract.** A sample is one snapshot of :class:`channelfm.records.Channels`: the complex response of one
array to one user position, with the labels that tasks need (position, velocity, time, line of sight, near field,
distance, azimuth, elevation; ``has_path`` is False where nothing arrives, and the response is then zero, never NaN).
``track`` is unique in a data set: it is the number of the work unit, that is of one user in one flight of one scene.

**The folder.** ``manifest.json`` names every shard with its SHA-256, split, scene and counts; ``shards/`` holds one
safetensors file per work unit, beside the small journal entry that lets a killed run resume; ``scenes/`` holds the
scene records; ``recipe.json`` says what the folder is meant to hold; ``generation.json`` alone has wall times. Equal
recipes give equal bytes in all files but the last.

Reading (:func:`open_dataset`) needs NumPy only. Writing is ``channelfm.datasets.generate``, which alone imports maps,
scenes, mobility and tracing.
"""

from channelfm.datasets.dataset import Dataset, open_dataset
from channelfm.datasets.recipe import DatasetRecipe

__all__ = ["Dataset", "DatasetRecipe", "open_dataset"]
