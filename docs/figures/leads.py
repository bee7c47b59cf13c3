"""Where learning wins over the best classical row, over several benchmarks at once.

Drawn from what ``leads.json`` holds of their results; ``python docs/figures/leads.py --collect RUN/results.json [...]``
writes it anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from style import IMAGES

from channelfm.benchmarking.figures import lead_figure
from channelfm.benchmarking.tables import whole

HELD = Path(__file__).with_suffix(".json")
_KEPT = ("estimator", "set", "group", "label", "case", "params", "reference")


def collect(files: list[str]) -> None:
    """Keep what the figure needs of some results."""
    kept = []
    for file in files:
        results = json.loads(Path(file).read_text(encoding="utf-8"))
        key = results["measures"][0]["key"]
        rows = [
            {name: row[name] for name in _KEPT}
            | {key: row[key], "against": {"classical": row["against"].get("classical", {})}}
            for row in whole(results["rows"])
        ]
        kept.append({"name": results["name"], "measures": results["measures"][:1], "rows": rows})
    HELD.write_text(json.dumps(kept, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--collect"]:
        collect(sys.argv[2:])
    else:
        figure = lead_figure(json.loads(HELD.read_text(encoding="utf-8")))
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
        if figure is not None:
            (folder / "leads.svg").write_text(figure, encoding="utf-8")
