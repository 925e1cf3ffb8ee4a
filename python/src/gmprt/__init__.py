"""Goroutines for Python.

>>> import gmprt
>>> gmprt.go(lambda: 6 * 7).result()
42
"""

from ._channel import Channel, after, select, ticker
from ._core import Cancelled, Closed
from ._core import version as __version__
from ._executor import GoroutineExecutor
from ._goroutine import (
    Goroutine,
    InvalidStateError,
    Lost,
    current,
    excepthook,
    go,
    locked_thread,
    run_in_c,
    set_stack_size,
    shield,
    sleep,
    yield_now,
)
from ._group import Group
from ._inspect import dump, goroutines, library, maxprocs, stats, trace
from ._locks import Condition, Mutex, Once, RWMutex, Semaphore, WaitGroup
from ._timer import Timer

# Errors and pickles name what users import, not where it is written.
for _public in (
    Channel, Condition, Goroutine, GoroutineExecutor, Group, InvalidStateError,
    Lost, Mutex, Once, RWMutex, Semaphore, Timer, WaitGroup, trace,
):
    _public.__module__ = __name__
del _public

__all__ = [
    "Cancelled", "Channel", "Closed", "Condition", "Goroutine",
    "GoroutineExecutor", "Group", "InvalidStateError", "Lost", "Mutex",
    "Once", "RWMutex", "Semaphore", "Timer", "WaitGroup", "after", "current",
    "dump", "excepthook", "go", "goroutines", "library", "locked_thread",
    "maxprocs", "run_in_c", "select", "set_stack_size", "shield", "sleep",
    "stats", "ticker", "trace", "yield_now",
]
