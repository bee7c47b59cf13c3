"""Data sets that ship with the package, by name: what the shipped recipes make, or excerpts of it, for the benchmarks.

Each lies in a folder of ``channelfm/sets`` that is named after its recipe: the measured splits whole, of the others as
many users as learners need. ``scripts/package_sets.py`` puts them there; nothing else writes into these folders.
"""

from __future__ import annotations

from pathlib import Path

from channelfm.datasets.manifest import MANIFEST

_PACKAGED = Path(__file__).resolve().parent.parent / "sets"


def packaged_sets() -> list[str]:
    """Names of the data sets that ship with the package."""
    return sorted(folder.parent.name for folder in _PACKAGED.glob(f"*/{MANIFEST}"))


def packaged_folder(name: str) -> Path:
    """Where a packaged data set lies; there is one for each name in :func:`packaged_sets`."""
    return _PACKAGED / name


def dataset_folder(name_or_path: str | Path) -> Path:
    """The folder of a path; where nothing lies there, that of the packaged data set of this name, if it is one."""
    path = Path(name_or_path)
    return packaged_folder(path.name) if not path.exists() and str(path) in packaged_sets() else path
