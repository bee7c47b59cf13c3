"""Diffusion as a prior on the spatial channel model, beside what was published of it and the genie (SPEC 8).

    python -m benchmarks.diffusion_prior --runs runs/mimo

Both networks, a prior and the average velocity, are trained in that folder first, some 12 minutes of one core, unless
they are there already.

Channels are 64 x 16 and Gaussian given their clusters, pilots y = h + n. Mean squared errors are over --links channels
of each of --seeds draws, none of them trained on; slow rows, which start from noise alone, have the first 16 of each
draw. These also take a quarter of the entries, for which no genie is worked out. Guidance by the gradient (DPS) is left
out: the gradient of this network is no covariance, and its answers diverge. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from channelfm.arrays import UPA
from channelfm.channels.spatial import SpatialDraw, draw_spatial, genie_lmmse
from channelfm.checkpoints import checkpoint_folder, load_checkpoint
from channelfm.config import load_recipe
from channelfm.estimator import NOMINAL_HZ
from channelfm.learned.prior import PriorEstimator
from channelfm.learned.recipe import Langevin, MeanFlow, PriorModel, Projected, Truncated
from channelfm.observation import Entries, Grid, Observation
from channelfm.pretraining.loop import pretrain_from
from channelfm.pretraining.recipe import PretrainRecipe
from channelfm.pretraining.source import WholeSource

STATION, USER = 64, 16
SNR_DB = (-10.0, 0.0, 10.0, 20.0, 30.0)
PUBLISHED = {
    "published diffusion (Fesl et al.)": (0.7299, 0.1584, 0.02663, 0.00380, 0.00082),
    "published genie LMMSE": (0.438, 0.124, 0.0225, 0.0032, 0.0004),
}
SAMPLERS: dict[str, Any] = {
    "truncated, 1 step": ("mimo-prior", Truncated()),
    "truncated, 20 steps": ("mimo-prior", Truncated(steps=20)),
    "mean flow, 1 step": ("mimo-flow", MeanFlow()),
    "Langevin, 10 x 10": ("mimo-prior", Langevin()),
    "DDRM-type, 20 steps": ("mimo-prior", Projected()),
}
FROM_NOISE = ("Langevin, 10 x 10", "DDRM-type, 20 steps")
SLOW_LINKS = 16  # of each draw, for rows that start from noise
TRAINING_LINKS, TRAINING_SEED, TEST_SEED = 4000, 1, 1000


def main() -> None:
    """Train what is not there yet, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/mimo"))
    parser.add_argument("--links", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    folders = trained(options.runs)
    print(f"{'':36}" + "".join(f"{f'{snr:g} dB':>10}" for snr in SNR_DB) + f"{'ms/link':>10}")
    table: dict[str, list[float]] = {name: list(row) for name, row in PUBLISHED.items()}
    for name, row in PUBLISHED.items():
        print_row(name, row)
    draws = [draw_spatial(STATION, USER, options.links, TEST_SEED + seed) for seed in range(options.seeds)]
    table["genie LMMSE"] = [float(np.mean([genie_error(draw, snr) for draw in draws])) for snr in SNR_DB]
    print_row("genie LMMSE", table["genie LMMSE"])
    for name, (model, sampler) in SAMPLERS.items():
        few = [some(draw, SLOW_LINKS if name in FROM_NOISE else options.links) for draw in draws]
        for label, hidden in ((name, 0.0), (f"{name}, 25 % seen", 0.75)):
            if hidden and name not in FROM_NOISE:
                continue
            begin = time.perf_counter()
            estimator = asked(folders[model], sampler)
            errors = [[prior_error(estimator, draw, snr, hidden) for draw in few] for snr in SNR_DB]
            table[label] = np.mean(errors, axis=1).tolist()
            spent = time.perf_counter() - begin
            print_row(label, table[label], 1e3 * spent / (len(SNR_DB) * sum(len(draw.channels) for draw in few)))
    print(json.dumps({name: [round(value, 6) for value in row] for name, row in table.items()}))


def trained(out: Path) -> dict[str, str]:
    """Folders of both networks, trained on channels of their own: the prior, and from it the average velocity."""
    channels = draw_spatial(STATION, USER, TRAINING_LINKS, TRAINING_SEED).channels
    source = WholeSource(channels[..., None], np.zeros(1), 0.5)
    nothing, folders = np.zeros((0, 1, 1, 1), np.complex64), dict[str, str]()
    for name in ("mimo-prior", "mimo-flow"):
        recipe = load_recipe(PretrainRecipe, f"pretrain-{name}")
        if folders:
            recipe = recipe.model_copy(update={"start_from": folders["mimo-prior"]})
        folders[name] = str(pretrain_from(recipe, source, nothing, out / name))
    return folders


def asked(folder: str, sampler: Any) -> PriorEstimator:
    """The network of a checkpoint with another sampler."""
    network, config = load_checkpoint(checkpoint_folder(folder))
    assert isinstance(config.predictor, PriorModel)
    return PriorEstimator(network, config.predictor.model_copy(update={"sampler": sampler}))


def some(draw: SpatialDraw, links: int) -> SpatialDraw:
    """The first links of a draw."""
    return SpatialDraw(*(part[:links] for part in draw))


def received(draw: SpatialDraw, snr_db: float) -> tuple[np.ndarray[Any, Any], float]:
    """Noisy pilots of the whole channel, and the power of their noise."""
    noise = float(10 ** (-snr_db / 10))
    parts = np.random.default_rng((TEST_SEED, len(draw.channels))).standard_normal((*draw.channels.shape, 2))
    return (draw.channels + np.sqrt(noise / 2) * (parts @ np.array([1, 1j]))).astype(np.complex64), noise


def genie_error(draw: SpatialDraw, snr_db: float) -> float:
    """Normalised mean squared error of the estimator that knows the covariances."""
    pilots, noise = received(draw, snr_db)
    return error(genie_lmmse(draw, pilots, noise), draw)


def prior_error(estimator: PriorEstimator, draw: SpatialDraw, snr_db: float, hidden: float) -> float:
    """That of a learned prior, of which a share of the entries is hidden."""
    pilots, noise = received(draw, snr_db)
    mask = np.random.default_rng((TEST_SEED, 1)).random((len(pilots), 1, USER, STATION, 1)) >= hidden
    grid = Grid(UPA(USER, STATION, NOMINAL_HZ), np.zeros(1), np.full(1, NOMINAL_HZ))
    values = np.where(mask, pilots[:, None, :, :, None], np.complex64(0))
    told = np.full(len(pilots), noise)
    return error(estimator.estimate(Observation(values, Entries(mask), grid, told))[:, 0, :, :, 0], draw)


def error(answer: np.ndarray[Any, Any], draw: SpatialDraw) -> float:
    """Of all channels together, as published."""
    return float(np.sum(np.abs(answer - draw.channels) ** 2) / np.sum(np.abs(draw.channels) ** 2))


def print_row(name: str, row: Any, milliseconds: float | None = None) -> None:
    """One line of the table."""
    spent = "" if milliseconds is None else f"{milliseconds:>10.1f}"
    print(f"{name:36}" + "".join(f"{value:>10.5f}" for value in row) + spent, flush=True)


if __name__ == "__main__":
    main()
