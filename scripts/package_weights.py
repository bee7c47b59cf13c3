"""Put a trained checkpoint into the package: weights in bfloat16, configuration, card.

    python scripts/package_weights.py runs/wavefield-small/checkpoint wavefield-small \
        --results runs/bench/rows.json --data "laetwin-dev and laetwin-hard, split train" \
        --budget "3,000 steps of 32, 40 minutes" --hardware "two cores of an Intel Xeon, no GPU" --limits "..."

``--results`` is what ``channelfm benchmark ... --json FILE`` wrote; the rows of the model over all links go into the
card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from channelfm.checkpoints import load_checkpoint, save_checkpoint, write_card

WEIGHTS = Path(__file__).resolve().parent.parent / "channelfm" / "weights"
COLUMNS = ("set", "mask_kind", "mask_ratio", "nmse_db", "nmse_median_db", "p90_db", "latency_ms", "samples")
PREDICTION_COLUMNS = (
    "set",
    "past",
    "m/s",
    "horizon",
    "nmse_db",
    "nmse_median_db",
    "rate_share",
    "latency_ms",
    "samples",
)


def shown(row: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Some columns of a row, numbers rounded."""
    return {column: row[column] if isinstance(row[column], str) else round(row[column], 2) for column in columns}


def prediction(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a prediction benchmark, for people."""
    low, high = row["speed_mps"]
    past = "clean" if row["snr_db"] is None else f"{row['snr_db']:g} dB SNR"
    return shown(row | {"past": past, "m/s": f"{low:g} to {high:g}"}, PREDICTION_COLUMNS)


def main() -> None:
    """Read the arguments and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("name")
    parser.add_argument("--results", type=Path, required=True)
    for text in ("data", "budget", "hardware", "limits"):
        parser.add_argument(f"--{text}", required=True)
    options = parser.parse_args()
    network, config = load_checkpoint(options.checkpoint)
    predictor = config.predictor.model_copy(update={"name": options.name})
    folder = save_checkpoint(WEIGHTS / options.name, network, predictor, config.provenance, dtype=torch.bfloat16)
    every = json.loads(options.results.read_text(encoding="utf-8"))["rows"]
    own = [row for row in every if row["predictor"] == options.name]
    rows = [prediction(row) for row in own if "horizon" in row and row["tuned_on"] is None and row["comb"] == 1]
    rows += [shown(row, COLUMNS) for row in own if row.get("group") == "all"]
    card = write_card(
        folder,
        data=options.data,
        budget=options.budget,
        hardware=options.hardware,
        results=rows,
        limits=options.limits,
    )
    print(f"{card}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.2f} MB in {folder}")


if __name__ == "__main__":
    main()
