"""Where learning wins, over several benchmarks at once: python docs/figures/leads.py RUN/results.json [...]"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from style import IMAGES

from channelfm.benchmarking.figures import lead_figure

if __name__ == "__main__":
    figure = lead_figure([json.loads(Path(file).read_text(encoding="utf-8")) for file in sys.argv[1:]])
    if figure is None:
        sys.exit("no network beside a classical row in any of these files")
    (IMAGES / "leads.svg").write_text(figure, encoding="utf-8")
    print(IMAGES / "leads.svg")
