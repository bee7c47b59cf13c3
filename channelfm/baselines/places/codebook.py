"""Orthogonal matching pursuit on a polar codebook, uniform in azimuth, elevation and distance (seed 000, VI-A3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from channelfm.baselines.places.base import Float, PlaceEstimator, Samples
from channelfm.waves.gathered import Gathered
from channelfm.waves.geometry import waves_at
from channelfm.waves.places import places_of, places_seen, sources_of
from channelfm.waves.spherical import search_grid

# The paper's text lost the sizes of its codebook. Chosen: a degree, about half the width of a beam of 64 antennas, and
# twelve distances up to the Rayleigh distance.
_DEGREES, _RINGS = 1.0, 12
_ATOMS = 3  # that the pursuit takes
_AROUND = (
    4  # degrees about the strongest beam among which the best codeword is looked for: those further off catch less
)


class PolarCodebook(PlaceEstimator):
    """The place of the strongest codeword that orthogonal matching pursuit takes, of a codebook whose azimuths,
    elevations and distances are each evenly spaced. It finds no place between its codewords."""

    name = "polar-codebook-omp"
    samples_at_once = 8

    @torch.inference_mode()
    def places(self, samples: Samples) -> Float:
        """See :class:`PlaceEstimator`."""
        antennas = Gathered.entries(samples.field, samples.seen, samples.spacing, dtype=torch.float32)
        rest, chosen = antennas.field, torch.zeros(len(antennas), 0, 3)
        gains = torch.zeros(len(antennas), 0, dtype=torch.complex64)
        for _ in range(_ATOMS):
            words = _codewords(antennas.on_grid(rest), samples)
            caught = waves_at(words, antennas.y, antennas.z).conj() @ (rest * antennas.weight)[..., None]
            best = words[torch.arange(len(words)), caught[..., 0].abs().argmax(1)]
            chosen = torch.cat([chosen, best[:, None]], dim=1)
            columns = waves_at(chosen, antennas.y, antennas.z) * antennas.weight[:, None]
            gram = columns.conj() @ columns.mT
            ridge = 1e-4 * antennas.number[:, None].expand(-1, chosen.shape[1])  # codewords may be taken again
            gains = torch.linalg.solve(gram + torch.diag_embed(ridge + 0j), columns.conj() @ antennas.field[..., None])[
                ..., 0
            ]
            rest = antennas.field - (gains[:, None] @ columns)[:, 0]
        strongest = chosen[torch.arange(len(chosen)), gains.abs().argmax(1)]
        return places_of(strongest.double().numpy(), samples.array)


def _codewords(field: Tensor, samples: Samples) -> Tensor:
    """Sources float32 [n, word, 3] of the codewords about the strongest beam of ``field`` [n, rows, cols]."""
    sines, _ = search_grid(field, samples.spacing, 4, 1.0, 1)
    u_y, u_z = sines[:, 0].double().numpy().T
    azimuth = np.degrees(np.arctan2(u_y, np.sqrt(np.maximum(1 - u_y**2 - u_z**2, 0.0))))
    elevation = np.degrees(np.arcsin(u_z))
    steps = np.arange(-_AROUND, _AROUND + _DEGREES, _DEGREES)
    farthest = max(samples.array.rayleigh_distance_m, samples.array.wavelength_m)
    rings = farthest * np.arange(1, _RINGS + 1) / _RINGS
    shape = (len(field), len(steps), len(steps), _RINGS)

    def degrees(centre: Float) -> Float:
        return np.clip(np.round(centre / _DEGREES)[:, None] * _DEGREES + steps, -90.0, 90.0)

    views = np.empty((*shape, 3))
    views[..., 0] = rings
    views[..., 1] = np.radians(degrees(azimuth))[:, :, None, None]
    views[..., 2] = np.radians(degrees(elevation))[:, None, :, None]
    words = sources_of(places_seen(views.reshape(len(field), -1, 3)), samples.array)
    return torch.from_numpy(words).float()
