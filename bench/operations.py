"""What is measured. README.md says how; here is what the runner must know."""

import os
from dataclasses import dataclass

# Metrics of which more is better; of all others, less is.
HIGHER_IS_BETTER = {"req_per_cpu_s"}


@dataclass(frozen=True)
class Operation:
    """One that every program knows by its name, but for what is it not for."""

    name: str
    what: str
    max_workers: int = 1024
    slow: bool = False  # not in a quick run
    times: int = 1  # that often as many runs as usual
    connections: int = 0  # of a client, if the programs are servers
    heap: bool = False  # of the second table
    patience: int = 1  # that often as much time as usual


OPERATIONS = [
    Operation("yield2", "yield, 2 goroutines"),
    Operation("yield1000", "yield, 1,000 goroutines"),
    Operation("spawn_waves", "spawn, waves of 1,000"),
    Operation("spawn_million", "spawn, a million at once", slow=True),
    Operation("spawn_join", "spawn and join, one by one"),
    Operation("host_spawn_join", "spawn and join from a host thread"),
    Operation("pingpong", "round trip, unbuffered channels"),
    Operation("buffered_1_1", "buffered channel, 1 to 1"),
    Operation("buffered_4_4", "buffered channel, 4 to 4"),
    Operation("select2_ready", "select of 2, ready, and a send"),
    Operation("select4_ready", "select of 4, ready, and a send"),
    Operation("select2_park", "select of 2, parking"),
    Operation("select4_park", "select of 4, parking"),
    Operation("mutex8", "mutex of 8"),
    Operation("mutex8_yield", "mutex of 8, with a yield inside"),
    Operation("defer", "call with a deferred function", max_workers=1),
    Operation("defer10", "call with 10 deferred", max_workers=1),
    Operation("panic_recover", "panic and recover", max_workers=1),
    Operation("skynet", "skynet, a million leaves"),
    Operation("parked_million", "a million parked, each", slow=True),
    Operation("sleepers", "100,000 sleepers, ten times", slow=True),
    Operation("stall_sleep", "ticker beside a sleep in C", max_workers=1),
    Operation("stall_burn", "ticker beside a loop in C", max_workers=1),
    Operation("dlopen", "dlopen to first result", times=4),
    Operation("idle", "idle for two seconds", slow=True),
    Operation("fork", "fork, beside 1,000 that wait"),
    Operation("echo64", "echo, 64 connections", 1, connections=64),
    Operation("echo1000", "echo, 1,000 connections", 1, connections=1000),
    *(
        Operation(name, what, most, heap=True, slow=slow, patience=4)
        for name, what, most, slow in [
            ("alloc16", "16 bytes that may hold pointers", 1, False),
            ("alloc64", "64 bytes that may hold pointers", 1, False),
            ("alloc1024", "1,024 bytes that may hold pointers", 1, False),
            ("noscan16", "16 bytes without pointers", 1, False),
            ("noscan64", "64 bytes without pointers", 1, False),
            ("noscan1024", "1,024 bytes without pointers", 1, False),
            ("released1024", "1,024 bytes, freed by hand", 1, False),
            ("message_ring", "messages over a ring", 2, False),
            ("message_chan", "messages over a channel", 2, False),
            ("trees18", "binary-trees 18", 2, True),
            ("gcbench", "GCBench 20/18", 1, True),
            ("mark_nodes", "mark 8.4 M nodes of 16 bytes", 1, True),
            ("mark_random", "mark 3.7 M of 64 bytes, 5 random edges", 1, True),
            ("mark_records", "mark a million of 256 bytes", 1, True),
            ("gc_parked", "collect beside 100,000 parked", 1, True),
            ("rounds", "a hundred rounds of the same work", 1, True),
            ("burst", "400 MiB for a moment", 1, True),
        ]
    ),
]


@dataclass(frozen=True)
class Curve:
    """An operation over the number of its goroutines, with one worker."""

    operation: str
    what: str
    goroutines: tuple[int, ...]


CURVES = [
    Curve("yield1000", "yield", (2, 10, 100, 1000, 10_000, 100_000)),
    Curve("spawn_waves", "spawn, in waves", (10, 100, 1000, 10_000, 100_000)),
]


def by_name(name: str) -> Operation:
    return next(o for o in OPERATIONS if o.name == name)


def all_worker_counts() -> list[int]:
    """1, and each power of two up to what the machine has."""
    cpus = len(os.sched_getaffinity(0))
    return [1 << k for k in range(cpus.bit_length())]
