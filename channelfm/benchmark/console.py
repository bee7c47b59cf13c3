"""Rows of a benchmark as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from channelfm.benchmark.run import Row

RATIOS_PER_TABLE = 4  # mask ratios that fit into a terminal of 100 columns


def print_rows(rows: Sequence[Row]) -> None:
    """NMSE in dB (mean and median) and time of every predictor by mask ratio: a table for each set, SNR and mask."""
    whole = [row for row in rows if row["group"] == "all"]
    several = len({row["set"] for row in whole}) > 1
    for part, snr, kind in dict.fromkeys((row["set"], row["snr_db"], row["mask_kind"]) for row in whole):
        here = [row for row in whole if (row["set"], row["snr_db"], row["mask_kind"]) == (part, snr, kind)]
        ratios = sorted({row["mask_ratio"] for row in here})
        about = [part] if several else []
        about += [f"{kind} mask"] + ([] if snr is None else [f"{snr:g} dB SNR"])
        for start in range(0, len(ratios), RATIOS_PER_TABLE):
            shown = ratios[start : start + RATIOS_PER_TABLE]
            table = Table(title=f"{', '.join(about)}: NMSE in dB, mean / median over links")
            table.add_column("mask ratio", no_wrap=True)
            for heading in (*(f"{ratio:g}" for ratio in shown), "ms / link"):
                table.add_column(heading, justify="right")
            for name in dict.fromkeys(row["predictor"] for row in here):
                own = {row["mask_ratio"]: row for row in here if row["predictor"] == name}
                cells = [f"{own[ratio]['nmse_db']:.1f} / {own[ratio]['nmse_median_db']:.1f}" for ratio in shown]
                table.add_row(name, *cells, f"{max(row['latency_ms'] for row in own.values()):.3g}")
            Console().print(table)
