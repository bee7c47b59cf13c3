"""DeepMIMO's side of ``benchmarks.synthesis``, run by the interpreter of DeepMIMO's own environment.

    python synthesis_rival.py IN.npz OUT.npz

IN holds paths in DeepMIMO's terms (power dBW, phase, angles in degrees, delay in s), the array and the subcarriers;
OUT gets its channels [user, antenna, subcarrier], the seconds of each run and its version.
"""

import sys
import time
from types import SimpleNamespace

import deepmimo
import numpy as np


def main(source: str, target: str) -> None:
    """Generate the channels of IN, from a fresh data set each time: DeepMIMO keeps steering vectors."""
    given = np.load(source)
    seconds = []
    for _ in range(int(given["runs"])):
        dataset = deepmimo.Dataset({name: given[name] for name in deepmimo_arrays(given)})
        dataset.scene = SimpleNamespace(objects=[])  # nothing moves
        parameters = deepmimo.ChannelParameters(
            num_paths=given["power"].shape[1],
            bs_antenna={"shape": given["shape"], "spacing": 0.5, "rotation": np.zeros(3)},
            ue_antenna={"shape": np.array([1, 1])},
            ofdm={
                "subcarriers": int(given["subcarriers"]),
                "selected_subcarriers": np.arange(int(given["subcarriers"])),
                "bandwidth": float(given["bandwidth_hz"]),
            },
        )
        start = time.perf_counter()
        channel = dataset.compute_channels(parameters)
        seconds.append(time.perf_counter() - start)
    np.savez(target, channel=np.asarray(channel)[:, 0], seconds=seconds, version=deepmimo.__version__)


def deepmimo_arrays(given: np.lib.npyio.NpzFile) -> list[str]:
    """Names of the arrays that make up a data set."""
    return [name for name in given.files if name not in ("runs", "shape", "subcarriers", "bandwidth_hz")]


if __name__ == "__main__":
    main(*sys.argv[1:])
