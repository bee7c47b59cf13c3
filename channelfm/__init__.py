"""channelfm: from a street map to a wireless channel data set, to a pretrained model, to one honest table.

    import channelfm as cfm

    scene = cfm.scenes.from_osm("monaco.osm.pbf")
    flight = cfm.mobility.cruise(scene, num_uavs=4, num_steps=25)
    bs = cfm.UPA(rows=64, cols=64, carrier_hz=7e9, position=(0, 0, 65))
    paths = cfm.trace(scene, flight, bs, max_depth=3)
    h = cfm.synthesize(paths, bs)  # complex64 [snapshot, antenna, frequency]

Names load on first use, so that importing the package costs nothing and needs no ray tracer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from channelfm import mobility as mobility
    from channelfm import scenes as scenes
    from channelfm.arrays import ULA as ULA
    from channelfm.arrays import UPA as UPA
    from channelfm.benchmarking.suite import benchmark as benchmark
    from channelfm.channels.synthesis import synthesize as synthesize
    from channelfm.checkpoints import load_model as load_model
    from channelfm.datasets.dataset import open_dataset as open_dataset
    from channelfm.datasets.generate import generate as generate
    from channelfm.tracing import Tracer as Tracer
    from channelfm.tracing import trace as trace

__version__ = "0.1.0"

# public name -> (module, attribute); no attribute means the module itself
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "Tracer": ("channelfm.tracing", "Tracer"),
    "ULA": ("channelfm.arrays", "ULA"),
    "UPA": ("channelfm.arrays", "UPA"),
    "benchmark": ("channelfm.benchmarking.suite", "benchmark"),
    "generate": ("channelfm.datasets.generate", "generate"),
    "load_model": ("channelfm.checkpoints", "load_model"),
    "mobility": ("channelfm.mobility", None),
    "open_dataset": ("channelfm.datasets.dataset", "open_dataset"),
    "scenes": ("channelfm.scenes", None),
    "synthesize": ("channelfm.channels.synthesis", "synthesize"),
    "trace": ("channelfm.tracing", "trace"),
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'channelfm' has no attribute '{name}'")
    module_name, attribute = _PUBLIC[name]
    module = importlib.import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
