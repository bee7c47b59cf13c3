"""Other people's formats: DeepMIMO's scenarios, plain channel arrays, Sionna's paths. Files only, no foreign package.

================  ================================================  ===================================================
format            in                                                out
================  ================================================  ===================================================
DeepMIMO v4       :func:`import_deepmimo` -> paths, users, scene    :func:`export_deepmimo` of paths, users, scene
.npz, .npy, .mat  :func:`import_arrays` -> channels                 :func:`export_arrays` of channels
Sionna RT         :func:`from_sionna` -> paths                      :func:`save_sionna` of a Sionna object, to a file
================  ================================================  ===================================================

:func:`import_dataset` and :func:`export_dataset` are the verbs over whole data sets.
"""

from channelfm.datasets.exchange.arrays import export_arrays, import_arrays
from channelfm.datasets.exchange.commands import READERS, WRITERS, export_dataset, import_dataset
from channelfm.datasets.exchange.deepmimo_export import Exported, export_deepmimo
from channelfm.datasets.exchange.deepmimo_import import Scenario, import_deepmimo
from channelfm.datasets.exchange.sionna_paths import from_sionna, save_sionna

__all__ = [
    "READERS",
    "WRITERS",
    "Exported",
    "Scenario",
    "export_arrays",
    "export_dataset",
    "export_deepmimo",
    "from_sionna",
    "import_arrays",
    "import_dataset",
    "import_deepmimo",
    "save_sionna",
]
