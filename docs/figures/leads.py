"""Where learning wins over the best classical row, over several benchmarks at once.

Drawn from ``leads.json``, which ``python docs/figures/leads.py --collect RUN/results.json[#SET] [...]`` writes anew,
from all sets of a run or from one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from style import IMAGES

from channelfm.benchmarking.figures.leads import Lead, Leads, lead_figure, leads_of

HELD = Path(__file__).with_suffix(".json")


def collect(files: list[str]) -> None:
    """Keep the leads of some results."""
    found = []
    for file in files:
        path, _, name = file.partition("#")
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        results["rows"] = [row for row in results["rows"] if not name or row["set"] == name]
        found.append(leads_of(results))
    HELD.write_text(json.dumps(found, indent=0), encoding="utf-8")


def held() -> list[Leads]:
    """The leads that are kept."""
    plain = json.loads(HELD.read_text(encoding="utf-8"))
    return [Leads(title, [Lead(*case) for case in cases]) for title, cases in plain]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--collect"]:
        collect(sys.argv[2:])
    else:
        figure = lead_figure(held())
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
        if figure is not None:
            (folder / "leads.svg").write_text(figure, encoding="utf-8")
