"""Train the network of the row "blind-calibrated" (channelfm/learned/blind.py) on channels and hardware at random.

    python scripts/train_recogniser.py --out channelfm/weights/recogniser

Channels are three paths between 2.7 and 100 m before a linear array of 256 elements at 28 GHz, through 4 RF chains in
32 slots, at -5 to 25 dB; each kind of impairment is there in a quarter of the examples, at a strength drawn at random.
Half of the draws come from one seed, half from another, both on the same channels. A tenth of the examples is held out:
how often each kind is recognised in them, and how often falsely, is printed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from channelfm.arrays import UPA
from channelfm.channels.near_field import NEAR_FIELD_MODELS, draw_near_field
from channelfm.hardware import KINDS
from channelfm.learned.blind import Lesson, kinds_there, lessons_of, train_recogniser, write_recogniser
from channelfm.observation import Grid

ARRAY = UPA(1, 256, 28e9)
GRID = Grid(ARRAY, np.zeros(1), 28e9 + 1.5625e6 * (np.arange(64) - 31.5))
MODEL = replace(NEAR_FIELD_MODELS["paths"], range_m=(2.732, 100.0), squint=False)
CHAINS, SLOTS = 4, 32


def main() -> None:
    """Draw, train, tell, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=1200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lessons = drawn(options.draws)
    count = len(lessons.summary)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    train, held = (Lesson(*(part[some] for part in lessons)) for some in (order[count // 10 :], order[: count // 10]))
    network = train_recogniser(train, options.steps)
    with torch.inference_mode():
        there = kinds_there(network(held.tokens, held.summary).numpy())
    for number, kind in enumerate(KINDS):
        true = held.present[:, number].numpy() > 0
        found, falsely = (there[some, number].mean() for some in (true, ~true))
        print(f"{kind.model_fields['kind'].default:14s} found {found:.1%}, falsely {falsely:.1%}")
    write_recogniser(network, options.out)


def drawn(count: int) -> Lesson:
    """Lessons of two seeds."""
    response = draw_near_field(MODEL, ARRAY, GRID.frequencies_hz, max(count // 2, 1), 7).response
    channel = response.reshape(-1, *GRID.shape)
    parts = [lessons_of(channel, GRID, CHAINS, SLOTS, count // 2, seed) for seed in (1, 2)]
    return Lesson(*(torch.cat(column) for column in zip(*parts, strict=True)))


if __name__ == "__main__":
    main()
