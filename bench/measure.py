"""Runs programs of peers, in turn, and keeps what they report."""

import os
import subprocess
import time
from dataclasses import dataclass, field

from operations import Operation
from peers import Peer

MISSING = 77  # the exit status for an operation that a program has not
TIMEOUT = 30  # seconds, of a run
BUDGET = 15  # seconds, of all runs of a peer in a cell: no more are begun then

Results = dict[str, float]  # metric to value, the main metric first


class Missing(Exception):
    """The peer does not have the operation."""


class Failed(Exception):
    """The operation went wrong; says how."""


@dataclass(frozen=True)
class Cell:
    """What is measured again and again."""

    operation: str
    workers: int
    goroutines: int = 0  # 0 for the operation's own


@dataclass
class Series:
    """All that one peer reported for one cell: for each metric a value of
    each run; or why there is none."""

    peer: str
    values: dict[str, list[float]] = field(default_factory=dict)
    failure: str = ""

    def add(self, results: Results) -> None:
        for metric, value in results.items():
            self.values.setdefault(metric, []).append(value)


def parse(text: str) -> Results:
    lines = (line.split("\t") for line in text.splitlines() if "\t" in line)
    return {metric: float(value) for metric, value in lines}


def execute(command: list[str], timeout: float = TIMEOUT) -> Results:
    """Runs a program to its end."""
    try:
        done = subprocess.run(
            command,
            text=True,
            check=False,
            capture_output=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"not over after {timeout:.0f} s") from late
    if done.returncode == MISSING:
        raise Missing
    results = parse(done.stdout)
    if done.returncode != 0 or not results:
        words = done.stderr.strip().splitlines()
        raise Failed(words[-1] if words else f"status {done.returncode}")
    return results


class Meter:
    """Measures an operation of a peer, once."""

    def __init__(self, client: str, quick: bool) -> None:
        self.client = client
        self.seconds = "1" if quick else "2"
        self.program: dict[tuple[str, str], list[str]] = {}

    def run(self, peer: Peer, operation: Operation, cell: Cell) -> Results:
        """Tries all programs of the peer; remembers which one it was."""
        key = peer.name, operation.name
        known = self.program.get(key)
        for program in [known] if known else peer.programs:
            try:
                results = self.run_program(program, peer, operation, cell)
            except Missing:
                continue
            self.program[key] = program
            return results
        raise Missing

    def run_program(
        self, program: list[str], peer: Peer, operation: Operation, cell: Cell
    ) -> Results:
        options = list(peer.options)
        if cell.goroutines:
            options.append(f"g={cell.goroutines}")
        workers = str(cell.workers)
        if operation.connections == 0:
            command = [*program, operation.name, workers, *options]
            return execute(command, TIMEOUT * operation.patience)
        command = [*program, "echo_server", workers, "port=0", *options]
        return self.echo(command, operation.connections)

    def echo(self, server_command: list[str], connections: int) -> Results:
        """A server on the first CPU, its client on the second."""
        with subprocess.Popen(
            on_cpu(0, server_command),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                if not line:
                    if server.wait() == MISSING:
                        raise Missing
                    raise Failed("the server did not start")
                port = str(int(parse(line)["port"]))
                return execute(
                    on_cpu(
                        1,
                        [
                            self.client,
                            port,
                            str(connections),
                            self.seconds,
                            str(server.pid),
                        ],
                    )
                )
            finally:
                server.kill()


def on_cpu(index: int, command: list[str]) -> list[str]:
    """The command, held to one CPU where there are two."""
    cpus = sorted(os.sched_getaffinity(0))
    if index >= len(cpus):
        return command
    return ["taskset", "-c", str(cpus[index]), *command]


def interleaved(
    meter: Meter,
    peers: list[Peer],
    operation: Operation,
    cell: Cell,
    runs: int,
) -> list[Series]:
    """A B C A B C …; a peer is left out once it has failed, or has had its
    time."""
    series = {peer.name: Series(peer.name) for peer in peers}
    spent = dict.fromkeys(series, 0.0)
    budget = BUDGET * operation.patience
    for _ in range(runs):
        for peer in [p for p in peers if spent[p.name] < budget]:
            start = time.monotonic()
            try:
                series[peer.name].add(meter.run(peer, operation, cell))
                spent[peer.name] += time.monotonic() - start
            except Missing:
                spent[peer.name] = budget
            except Failed as failure:
                series[peer.name].failure = str(failure)
                spent[peer.name] = budget
    return list(series.values())
