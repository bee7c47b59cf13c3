"""Results of a benchmark as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from channelfm.benchmarking.rows import Results, number
from channelfm.benchmarking.tables import View, columns_of, distinct, of_set, views, whole

CASES_PER_TABLE = 4  # that fit into a terminal of 100 columns


def print_results(results: Results) -> None:
    """The first two measures and the time of every estimator over all units, a table for each set and few cases."""
    columns = columns_of(results["measures"])
    bases = distinct(column.base for column in columns)[:2]
    for name in distinct(row["set"] for row in results["rows"]):
        own = of_set(whole(results["rows"]), name)
        told = list(views(own, [column for column in columns if column.base in bases]))
        pairs = zip(told[: len(told) // len(bases)], told[len(told) // len(bases) :] or told, strict=False)
        for first, second in pairs:
            for start in range(0, len(first.columns), CASES_PER_TABLE):
                part = slice(start, start + CASES_PER_TABLE)
                Console().print(_table(results, name, first, second, part))


def _table(results: Results, name: str, first: View, second: View, part: slice) -> Table:
    """A table of two measures of a set side by side."""
    rows = of_set(whole(results["rows"]), name)
    shown = {row["label"] for row in rows} & {label for _, label, _ in first.columns[part]}
    cells = {(row["estimator"], row["label"]): row for row in rows if row["label"] in shown}
    count = max(row["samples"] for row in cells.values())
    about, colon, _ = first.title.rpartition(": ")  # the case, where a table has but one
    titles = f"{first.title} / {second.title.removeprefix(about + colon)}"
    table = Table(title=f"{name}, {count} measured: {escape(titles)}")
    table.add_column("estimator", no_wrap=True)
    for heading in (*(heading for heading, _, _ in first.columns[part]), "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for estimator in distinct(estimator for estimator, _ in cells):
        own = [row for (known, _), row in cells.items() if known == estimator]
        texts = []
        for (_, label, one), (_, _, two) in zip(first.columns[part], second.columns[part], strict=True):
            row = cells.get((estimator, label))
            texts.append("" if row is None else "/".join(one_.form(number(row, one_.key)) for one_ in (one, two)))
        if own[0]["reference"]:
            table.add_row(f"[italic]{escape(estimator)}[/italic]", *texts, "")
        else:
            table.add_row(estimator, *texts, f"{max(row['latency_ms'] for row in own):.3g}")
    return table
