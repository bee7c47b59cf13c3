"""What makes a run the run that it is, so that a folder never holds parts of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from channelfm.errors import InputError
from channelfm.pretraining.origins import origin_hashes
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import TrainingSource

_RECIPE, _DATA = "recipe_sha256", "data_sha256"
_NAMED = 3  # settings that a message names


@dataclass(frozen=True)
class Identity:
    """``hashes`` of recipe, data and the checkpoints that a run builds on; ``settings``: the recipe in plain words."""

    hashes: dict[str, str]
    settings: dict[str, Any]

    @classmethod
    def of(cls, recipe: PretrainRecipe, source: TrainingSource) -> Self:
        """The identity of a recipe's run on some data; raises what :func:`origin_hashes` does."""
        own = {_RECIPE: recipe.identity(), _DATA: source.fingerprint()}
        return cls(own | origin_hashes(recipe), recipe.what())

    def is_of(self, hashes: Mapping[str, Any]) -> bool:
        """Whether these hashes, of a stored run, are this one's."""
        return all(hashes.get(name) == value for name, value in self.hashes.items())

    def refuse_another(self, where: str, hashes: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """InputError that says what differs, unless the hashes of the run that ``where`` speaks of are this one's."""
        if self.is_of(hashes):
            return
        there, here = _flat(settings), _flat(self.settings)
        found = [
            f"{key} {there.get(key, 'unset')} there, {here.get(key, 'unset')} here"
            for key in {**there, **here}
            if there.get(key) != here.get(key)
        ]
        named = [*found[:_NAMED], *([f"{len(found) - _NAMED} more settings"] if len(found) > _NAMED else [])]
        origins = sorted(self.hashes.keys() - {_RECIPE, _DATA})
        for name, what in ((_DATA, "the training data"), *((name, f"the {name[:-7]} checkpoint") for name in origins)):
            if hashes.get(name) != self.hashes[name]:
                named.append(what)
        raise InputError(
            f"{where} differs: {'; '.join(named) or 'it is of another version'}; take the same settings and data to go "
            "on with it, or give another --out"
        )


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat
