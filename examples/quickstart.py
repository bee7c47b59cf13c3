import numpy as np

import channelfm as cfm
from channelfm.baselines import BASELINES
from channelfm.metrics import nmse
from channelfm.tokens.masks import random_mask

scene = cfm.scenes.builtin("munich")  # or scenes.from_osm("monaco.osm.pbf"), scenes.procedural(seed=1)
flight = cfm.mobility.cruise(scene, num_uavs=4, num_steps=5, bounds=(10, -80, 150, 80), seed=0)
bs = cfm.UPA(rows=32, cols=32, carrier_hz=7e9, position=(0, 0, 65))
paths = cfm.trace(scene, flight, bs, max_depth=3)  # near field exact per element by default
h = bs.to_grid(cfm.synthesize(paths, bs))[paths.has_path]  # complex64 [snapshot, row, column, frequency]

mask = random_mask(np.random.default_rng(0), len(h), bs.rows, bs.cols, ratio=0.9)  # True = observed
h_hat = BASELINES["off-grid"]().predict(h * mask, mask, bs.spacing_wavelengths)  # any estimator, network or classical
print(f"median NMSE with 10 % of the antennas: {10 * np.log10(np.median(nmse(h_hat, h))):.1f} dB")
