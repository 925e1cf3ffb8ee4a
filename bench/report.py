"""What the numbers say: medians and ratios, as a table and as TSV."""

import statistics
from dataclasses import dataclass
from pathlib import Path

from measure import Cell, Series
from operations import HIGHER_IS_BETTER
from peers import Peer

OURS = "gmprt"
REFERENCE = "go"
LEGEND = """
Medians, ± half the distance between the quartiles. The ratios are ours to
theirs: below 1 where we are faster or smaller; above 1 where more is better
(↑). Failed is what was wrong, or took too long."""


@dataclass(frozen=True)
class Value:
    """The median of some runs, and their spread: half the distance between
    their quartiles, as a part of it; None for a single run."""

    median: float
    spread: float | None

    @staticmethod
    def of(values: list[float]) -> "Value":
        median = statistics.median(values)
        if len(values) < 2:
            return Value(median, None)
        low, _, high = statistics.quantiles(values, method="inclusive")
        return Value(median, (high - low) / 2 / (abs(median) or 1))

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ±{self.spread:.0%}"
        return number(self.median) + spread


def number(value: float) -> str:
    """About three digits."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass
class Row:
    """A line of the table: one metric of one cell."""

    cell: Cell
    metric: str
    values: dict[str, Value]  # by peer
    failures: dict[str, str]  # by peer

    def ratio_to(self, peer: str) -> float | None:
        """Ours to that peer's."""
        if OURS not in self.values or peer not in self.values:
            return None
        theirs = self.values[peer].median
        return self.values[OURS].median / theirs if theirs else None

    def best(self, limits: set[str]) -> str | None:
        """The best one that is not ours."""
        others = [p for p in self.values if p not in limits | {OURS}]
        others.sort(key=lambda peer: self.values[peer].median)
        if self.metric in HIGHER_IS_BETTER:
            others.reverse()
        return others[0] if others else None


def rows_of(cell: Cell, all_series: list[Series]) -> list[Row]:
    """One for each metric that somebody reported."""
    failures = {s.peer: s.failure for s in all_series if s.failure}
    metrics = dict.fromkeys(m for s in all_series for m in s.values)
    rows = []
    for metric in metrics:
        values = {
            s.peer: Value.of(s.values[metric])
            for s in all_series
            if metric in s.values and not s.failure
        }
        rows.append(Row(cell, metric, values, failures))
    return rows or ([Row(cell, "-", {}, failures)] if failures else [])


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def cells_of(row: Row, peers: list[Peer]) -> list[str]:
    """The line of a table, as text."""
    limits = {p.name for p in peers if p.limit}
    best = row.best(limits)
    to_best = ratio(row.ratio_to(best)) if best else ""
    arrow = " ↑" if row.metric in HIGHER_IS_BETTER else ""
    shown = {p: str(v) for p, v in row.values.items()}
    shown |= {p: "failed" for p in row.failures}
    return [
        row.cell.operation,
        str(row.cell.workers),
        row.metric + arrow,
        *(shown.get(p.name, "") for p in peers),
        ratio(row.ratio_to(REFERENCE)),
        f"{to_best} {best}" if to_best else "",
    ]


def table(rows: list[Row], peers: list[Peer]) -> str:
    """In columns, without the points of curves, and without peers that have
    nothing to say."""
    peers = [
        p
        for p in peers
        if any(p.name in row.values or p.name in row.failures for row in rows)
    ]
    head = [
        "operation",
        "P",
        "metric",
        *(p.name for p in peers),
        f"to {REFERENCE}",
        "to the best",
    ]
    rows = [row for row in rows if row.cell.goroutines == 0]
    lines = [head, *(cells_of(row, peers) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if 2 < i < len(head) - 1 else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def write_table(rows: list[Row], path: Path) -> None:
    """As TSV, a line for each value of the table."""
    with path.open("w") as file:
        print(
            "operation",
            "workers",
            "goroutines",
            "metric",
            "peer",
            "median",
            "spread",
            sep="\t",
            file=file,
        )
        for row in rows:
            cell = row.cell
            for peer, value in row.values.items():
                print(
                    cell.operation,
                    cell.workers,
                    cell.goroutines,
                    row.metric,
                    peer,
                    f"{value.median:.10g}",
                    f"{value.spread or 0:.4f}",
                    sep="\t",
                    file=file,
                )


def write_runs(cells: list[tuple[Cell, list[Series]]], path: Path) -> None:
    """As TSV, a line for each value that a program printed."""
    with path.open("w") as file:
        print(
            "operation",
            "workers",
            "goroutines",
            "peer",
            "metric",
            "run",
            "value",
            sep="\t",
            file=file,
        )
        for cell, all_series in cells:
            for series in all_series:
                for metric, values in series.values.items():
                    for run, value in enumerate(values, 1):
                        print(
                            cell.operation,
                            cell.workers,
                            cell.goroutines,
                            series.peer,
                            metric,
                            run,
                            f"{value:.10g}",
                            sep="\t",
                            file=file,
                        )
