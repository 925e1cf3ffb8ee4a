"""Draws what table.tsv of a folder says, as SVG, into the same folder:

bars.svg        a panel for each operation, a bar for each system
workers.svg     the operations over the number of Ps
goroutines.svg  some operations over the number of goroutines
"""

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes

from operations import CURVES, HIGHER_IS_BETTER, OPERATIONS

COLUMNS = 4
WIDTH, HEIGHT, BAR = 3.6, 2.6, 0.13  # inches: of panels, of a bar
LIMITS = {"raw"}


@dataclass(frozen=True)
class Point:
    operation: str
    workers: int
    goroutines: int
    metric: str
    peer: str
    median: float
    spread: float


@dataclass(frozen=True)
class Panel:
    title: str
    points: list[Point]


def read(path: Path) -> list[Point]:
    with path.open() as file:
        return [
            Point(
                row["operation"],
                int(row["workers"]),
                int(row["goroutines"]),
                row["metric"],
                row["peer"],
                float(row["median"]),
                float(row["spread"]),
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]


def colours(points: list[Point]) -> dict[str, str]:
    """The same one for a system in every plot; limits are grey."""
    peers = [
        p for p in dict.fromkeys(p.peer for p in points) if p not in LIMITS
    ]
    return {p: f"C{i}" for i, p in enumerate(peers)} | dict.fromkeys(
        LIMITS, "0.6"
    )


def main_metric(operation: str, points: list[Point]) -> list[Point]:
    """Of an operation's points, those of its first metric."""
    own = [p for p in points if p.operation == operation]
    return [p for p in own if p.metric == own[0].metric]


def unit(points: list[Point]) -> str:
    metric = points[0].metric
    return (
        f"{metric}, more is better" if metric in HIGHER_IS_BETTER else metric
    )


def draw_bars(axes: Axes, panel: Panel, colour: dict[str, str]) -> None:
    """From above: all systems with one P, then with two, and so on."""
    points = sorted(panel.points, key=lambda p: p.workers)
    names = [f"{p.peer}, {p.workers}" for p in points]
    medians = [p.median for p in points]
    bars = axes.barh(
        range(len(points)),
        medians,
        color=[colour[p.peer] for p in points],
        xerr=[p.spread * p.median for p in points],
        ecolor="0.3",
    )
    axes.bar_label(
        bars,
        [f"{m:.3g}" if m < 1000 else f"{m:,.0f}" for m in medians],
        padding=3,
        fontsize=6,
    )
    axes.set_yticks(range(len(points)), names, fontsize=6)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    axes.set_xlabel(unit(points), fontsize=7)


def draw_lines(
    axes: Axes,
    panel: Panel,
    colour: dict[str, str],
    x: Callable[[Point], int],
    label: str,
) -> None:
    for peer in dict.fromkeys(p.peer for p in panel.points):
        line = sorted((p for p in panel.points if p.peer == peer), key=x)
        axes.errorbar(
            [x(p) for p in line],
            [p.median for p in line],
            yerr=[p.spread * p.median for p in line],
            label=peer,
            color=colour[peer],
            marker="o",
            markersize=3,
            linewidth=1,
        )
    axes.set_xlabel(label, fontsize=7)
    axes.set_ylabel(unit(panel.points), fontsize=7)
    axes.legend(fontsize=6)


def figure(
    path: Path,
    panels: list[Panel],
    draw: Callable[[Axes, Panel], None],
    height: float = HEIGHT,
) -> None:
    """The panels in rows of a few."""
    if not panels:
        return
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    drawing, grid = pyplot.subplots(
        rows,
        columns,
        squeeze=False,
        layout="constrained",
        figsize=(WIDTH * columns, height * rows),
    )
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, panel in zip(grid.flat, panels, strict=False):
        draw(axes, panel)
        axes.set_title(panel.title, fontsize=9)
        axes.tick_params(labelsize=6)
        axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path)
    pyplot.close(drawing)


def plot_bars(points: list[Point], folder: Path) -> None:
    colour = colours(points)
    names = {p.operation for p in points}
    panels = [
        Panel(o.what, main_metric(o.name, points))
        for o in OPERATIONS
        if o.name in names
    ]
    most = max(len(panel.points) for panel in panels)
    figure(
        folder / "bars.svg",
        panels,
        lambda axes, panel: draw_bars(axes, panel, colour),
        max(HEIGHT, 1 + most * BAR),
    )


def plot_workers(points: list[Point], folder: Path) -> None:
    """Of the operations with several numbers of Ps, and the systems too."""
    colour = colours(points)
    several = {(p.operation, p.peer) for p in points if p.workers > 1}
    points = [p for p in points if (p.operation, p.peer) in several]
    names = {p.operation for p in points}
    panels = [
        Panel(o.what, main_metric(o.name, points))
        for o in OPERATIONS
        if o.name in names
    ]

    def draw(axes: Axes, panel: Panel) -> None:
        draw_lines(axes, panel, colour, lambda p: p.workers, "Ps")
        axes.set_xscale("log", base=2)
        ticks = sorted({p.workers for p in panel.points})
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)

    figure(folder / "workers.svg", panels, draw)


def plot_goroutines(points: list[Point], folder: Path) -> None:
    colour = colours(points)
    curves = [p for p in points if p.goroutines > 0]
    names = {p.operation for p in curves}
    panels = [
        Panel(c.what, main_metric(c.operation, curves))
        for c in CURVES
        if c.operation in names
    ]

    def draw(axes: Axes, panel: Panel) -> None:
        draw_lines(axes, panel, colour, lambda p: p.goroutines, "goroutines")
        axes.set_xscale("log")
        axes.set_yscale("log")

    figure(folder / "goroutines.svg", panels, draw)


def main() -> None:
    folder = Path(sys.argv[1])
    for old in folder.glob("*.svg"):
        old.unlink()
    points = read(folder / "table.tsv")
    usual = [p for p in points if p.goroutines == 0]
    plot_bars(usual, folder)
    plot_workers(usual, folder)
    plot_goroutines(points, folder)


if __name__ == "__main__":
    main()
