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
from pathlib import Path
from typing import Any

import torch

from channelfm.checkpoints import load_checkpoint, save_checkpoint, write_card

WEIGHTS = Path(__file__).resolve().parent.parent / "channelfm" / "weights"
SHOWN = 2  # measures in the card


def table(results: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The first measures of a model over all links of each set in each case."""
    bases = list(dict.fromkeys(one["key"].partition("@")[0] for one in results["measures"]))[:SHOWN]
    keys = [one["key"] for one in results["measures"] if one["key"].partition("@")[0] in bases]
    rows = [row for row in results["rows"] if row["estimator"] == name and row["group"] == "all"]
    return [
        {"set": row["set"], "case": row["label"]}
        | {key: round(row[key], 2) for key in (*keys, "latency_ms")}
        | {"samples": row["samples"]}
        for row in rows
    ]


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
    results = json.loads(options.results.read_text(encoding="utf-8"))
    card = write_card(
        folder,
        data=options.data,
        budget=options.budget,
        hardware=options.hardware,
        results=table(results, options.name),
        limits=options.limits,
    )
    print(f"{card}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.2f} MB in {folder}")


if __name__ == "__main__":
    main()
