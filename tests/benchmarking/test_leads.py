"""The map of where learning wins: which row leads, by how much, and whether that is certain."""

from typing import Any

from channelfm.benchmarking.figures.leads import Lead, lead_figure, leads_of


def row(name: str, value: float, params: int, snr_db: float, difference: list[float] | None) -> dict[str, Any]:
    """What the figure reads of a row."""
    against = (
        {} if difference is None else {"classical": {"estimator": "off-grid", "samples": 9, "nmse_db": difference}}
    )
    return {
        "estimator": name,
        "set": "near",
        "group": "all",
        "label": f"32 slots, {snr_db:g} dB",
        "case": {"slots": 32, "snr_db": snr_db},
        "params": params,
        "reference": False,
        "samples": 9,
        "nmse_db": value,
        "against": against,
    }


def results(*rows: dict[str, Any]) -> Any:
    """A benchmark's results with these rows."""
    measure = {"key": "nmse_db", "title": "mean NMSE", "unit": "dB", "more": False, "at": None}
    return {"name": "Some", "measures": [measure], "rows": list(rows)}


def test_the_best_network_is_told_against_the_best_classical_row() -> None:
    told = leads_of(
        results(
            row("off-grid", -20, 0, 10.0, None),
            row("prior", -22, 5, 10.0, [-2.0, -2.5, -1.5, 0.9]),
            row("other", -15, 5, 10.0, [5.0, 4.0, 6.0, 0.1]),
            row("prior", -10, 5, 0.0, [0.5, -0.5, 1.0, 0.4]),
        )
    )
    assert told.title == "Some: mean NMSE [dB]"
    assert told.cases == [Lead("near", 10.0, 2.0, True, "prior"), Lead("near", 0.0, -0.5, False, "prior")]


def test_a_network_that_a_time_budget_cut_short_leads_no_other() -> None:
    short, whole = (row(name, value, 5, 0.0, [value, -3.0, -1.0, 0.9]) for name, value in (("cut", -25), ("whole", -2)))
    short["samples"] = 3
    assert [case.name for case in leads_of(results(short, whole)).cases] == ["whole"]
    assert [case.name for case in leads_of(results(short)).cases] == ["cut"]


def test_the_figure_holds_what_is_told_and_needs_both_kinds_of_rows() -> None:
    both = results(row("off-grid", -20, 0, 10.0, None), row("prior", -22, 5, 10.0, [-2.0, -2.5, -1.5, 0.9]))
    figure = lead_figure([leads_of(both), leads_of(both)])
    assert figure is not None
    assert figure.count("<path") > 4
    assert lead_figure([leads_of(results(row("off-grid", -20, 0, 10.0, None)))]) is None
