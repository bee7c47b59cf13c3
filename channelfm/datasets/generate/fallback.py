"""What becomes of a recipe where no ray tracer runs: invented cities in place of packaged ones, said aloud."""

from __future__ import annotations

import logging

from channelfm.datasets.recipe import DatasetRecipe
from channelfm.errors import DependencyError
from channelfm.scenes.packaged import scenes_folder
from channelfm.tracing.sionna import import_sionna

_log = logging.getLogger(__name__)


def runnable(recipe: DatasetRecipe) -> DatasetRecipe:
    """The recipe itself, or, where its scenes have fallbacks and no ray tracer runs, the one with these.

    The image method needs minutes for the procedural city of a demo, and hours for the 39,000 triangles of Munich.
    """
    replaced = [scene for scene in recipe.scenes if scene.fallback is not None]
    if not replaced or recipe.tracing.method == "near-field":
        return recipe
    try:
        if recipe.tracing.method == "auto":
            import_sionna()
        scenes_folder()
    except DependencyError as error:
        cities = ", ".join(f"{scene.fallback} in place of {scene.source}" for scene in replaced)
        _log.warning(
            "%s. Going on with an invented city, %s, and the NumPy image method: specular paths up to depth 2, "
            "no refraction.",
            error,
            cities,
        )
        return recipe.with_fallbacks()
    return recipe
