#!/usr/bin/env python3
"""Measures gmprt and every other system that is here, in turn, and prints a
table. README.md says how each number is made.

    bench/run.py                    all of it, in about half an hour
    bench/run.py --quick            a first impression, in three minutes
    bench/run.py --ops yield2,pingpong --peers gmprt,go --workers 1 --runs 9

What it writes lands in build/bench/results: table.txt, table.tsv, runs.tsv
and the plots. With --bless the table goes into README.md as well.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import operations
import report
from measure import Cell, Meter, Series, interleaved
from operations import CURVES, OPERATIONS
from peers import BENCH, BIN, BUILD, FINDERS, VENV, Peer, Skip, client, find

RESULTS = BUILD / "results"
RUNS, QUICK_RUNS, CURVE_RUNS = 5, 1, 3

Measured = list[tuple[Cell, list[Series]]]


def say(text: str) -> None:
    print(text, flush=True)


def note(text: str) -> None:
    """What only who waits wants to read."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    def listed(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[int]:
        return [int(n) for n in text.split(",")]

    parser = argparse.ArgumentParser(description="measure gmprt and others")
    parser.add_argument(
        "--ops",
        type=listed,
        metavar="A,B",
        default=[o.name for o in OPERATIONS],
    )
    parser.add_argument(
        "--peers", type=listed, metavar="X,Y", default=list(FINDERS)
    )
    parser.add_argument(
        "--workers",
        type=numbers,
        metavar="1,2",
        default=operations.all_worker_counts(),
    )
    parser.add_argument("--runs", type=int, metavar="N")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one run each, without what is slow",
    )
    parser.add_argument(
        "--no-curves",
        action="store_true",
        help="nothing over the number of goroutines",
    )
    parser.add_argument(
        "--bless", action="store_true", help="put the table into README.md"
    )
    arguments = parser.parse_args()
    known = {o.name for o in OPERATIONS}
    for name in set(arguments.ops) - known:
        parser.error(f"no such operation: {name}")
    for name in set(arguments.peers) - set(FINDERS):
        parser.error(f"no such peer: {name}")
    return arguments


def pip_install(requirement: str) -> bool:
    """Into our own environment; one line says where that fails."""
    pip = [
        str(VENV / "bin" / "pip"),
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--retries",
        "1",
        "--timeout",
        "15",
        requirement,
    ]
    done = subprocess.run(pip, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["pip failed"]
        say(f"skipped: {requirement} ({words[-1]})")
    return done.returncode == 0


def install_requirements() -> None:
    """What requirements.txt lists, unless it is there already."""
    wanted = (BENCH / "requirements.txt").read_text()
    installed = VENV / "installed.txt"
    if installed.exists() and installed.read_text() == wanted:
        return
    note("installing bench/requirements.txt in build/bench/venv")
    made = subprocess.run(
        [sys.executable, "-m", "venv", VENV],
        text=True,
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        say("skipped: bench/requirements.txt (python3 has no venv)")
        return
    lines = [s for s in wanted.splitlines() if s and not s.startswith("#")]
    if all([pip_install(line) for line in lines]):
        installed.write_text(wanted)


def find_peers(names: list[str]) -> list[Peer]:
    note(f"building {', '.join(names)}")
    peers = []
    for name in names:
        try:
            peers.append(find(name))
        except Skip as skip:
            say(f"skipped: {name} ({skip})")
    return peers


def plan(arguments: argparse.Namespace) -> Iterator[tuple[Cell, int]]:
    """What is measured, and how often."""
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else RUNS)
    for name in arguments.ops:
        operation = operations.by_name(name)
        if operation.slow and arguments.quick:
            continue
        for workers in arguments.workers:
            if workers <= operation.max_workers:
                yield Cell(name, workers), runs * operation.times
    if arguments.quick or arguments.no_curves:
        return
    for curve in CURVES:
        for g in curve.goroutines if curve.operation in arguments.ops else ():
            yield Cell(curve.operation, 1, g), min(runs, CURVE_RUNS)


def run_cell(
    meter: Meter, peers: list[Peer], cell: Cell, runs: int
) -> tuple[Cell, list[Series]]:
    operation = operations.by_name(cell.operation)
    start = time.monotonic()
    series = interleaved(meter, peers, operation, cell, runs)
    took = time.monotonic() - start
    of = f", {cell.goroutines:,} goroutines" if cell.goroutines else ""
    note(f"{operation.what}, {cell.workers} P{of}: {took:.1f} s")
    for failed in (s for s in series if s.failure):
        note(f"  failed: {failed.peer} ({failed.failure})")
    return cell, series


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def machine() -> str:
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    load = os.getloadavg()[0]
    return (
        f"{cpu_model()}, {cpus} CPUs, {memory / 2**30:.0f} GiB, "
        f"Linux {platform.release()}; load at the start {load:.1f}"
    )


def versions(peers: list[Peer]) -> str:
    return ", ".join(f"{p.name} {p.version}".strip() for p in peers)


def plot() -> None:
    """By the Python that has matplotlib, if there is one."""
    python = VENV / "bin" / "python"
    if not python.exists():
        return
    done = subprocess.run(
        [python, BENCH / "plots.py", RESULTS],
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        say(f"skipped: plots ({words[-1] if words else 'they failed'})")


def tables(rows: list[report.Row], peers: list[Peer]) -> dict[str, str]:
    """That of the schedulers and that of the heaps, where there are rows, by
    the names of their places in README.md."""
    heaps = [r for r in rows if operations.by_name(r.cell.operation).heap]
    others = [r for r in rows if r not in heaps]
    named = {"table": others, "table of heaps": heaps}
    return {n: report.table(r, peers) for n, r in named.items() if r}


def bless(name: str, text: str) -> None:
    """Puts a table into README.md, in the place of the last one."""
    readme = BENCH / "README.md"
    before, mark, rest = readme.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    assert mark and end, "README.md has no place for a table"
    table = f"{mark}```\n{text}```\n{end}"
    readme.write_text(before + table + after)


def raise_limit_of_files() -> None:
    """A server with a thousand connections needs more than the usual."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    arguments = parse_arguments()
    BIN.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    raise_limit_of_files()
    install_requirements()
    peers = find_peers(arguments.peers)
    if not peers:
        sys.exit("nothing to measure")
    meter = Meter(client(), arguments.quick)
    about = f"{machine()}\n{versions(peers)}\n"
    measured: Measured = []
    for cell, runs in plan(arguments):
        measured.append(run_cell(meter, peers, cell, runs))
        report.write_runs(measured, RESULTS / "runs.tsv")
    rows = [row for cell in measured for row in report.rows_of(*cell)]
    report.write_table(rows, RESULTS / "table.tsv")
    texts = {
        name: f"{about}\n{table}\n{report.LEGEND}\n"
        for name, table in tables(rows, peers).items()
    }
    (RESULTS / "table.txt").write_text("\n".join(texts.values()))
    for name, text in texts.items():
        say(text)
        if arguments.bless:
            bless(name, text)
    plot()
    say(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
