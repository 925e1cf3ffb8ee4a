"""Seeing inside: numbers, dumps, timelines."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import IO, Any, Dict, List, Optional, Union

from . import _core
from ._goroutine import Goroutine, _running


def stats() -> Dict[str, int]:
    """The runtime in numbers; gmp_stats in gmp.h explains them."""
    return _core.stats()


def dump(
    file: Union[int, IO[Any], None] = None,
    *,
    each: bool = False,
    json: bool = False,
    system: bool = False,
    stacks: bool = False,
) -> None:
    """Writes what all goroutines do, by default to stderr."""
    to: Union[int, IO[Any]] = (sys.stderr or 2) if file is None else file
    if not isinstance(to, int):
        if not hasattr(to, "fileno"):
            raise TypeError(f"dump() needs a file, not {to!r}")
        to.flush()
        to = to.fileno()
    _core.dump(to, each | json << 1 | system << 2 | stacks << 3)


def goroutines() -> List[Goroutine[Any]]:
    """The goroutines that run Python code, or wait in it."""
    return list(_running.values())


class trace:
    """Writes a timeline for ui.perfetto.dev.

    Without a path the newest events stay in memory until save().
    """

    def __init__(
        self, path: Union[str, "os.PathLike[str]", None] = None
    ) -> None:
        self._path = path

    def __enter__(self) -> trace:
        _core.trace_start(self._path)
        return self

    def __exit__(self, *error: object) -> None:
        _core.trace_stop()

    @staticmethod
    def save(file: Union[int, IO[bytes]]) -> None:
        """Writes the newest events, while a trace without a path is on."""
        _core.trace_save(file)

    @staticmethod
    def mark(text: str) -> None:
        """Makes a mark on the track of the caller."""
        _core.trace_mark(text)


def maxprocs(n: Optional[int] = None) -> int:
    """How many goroutines may run at once; sets it to `n` if given."""
    if n is not None and n < 1:
        raise ValueError("maxprocs must be at least 1")
    return _core.maxprocs(n or 0)


def library() -> str:
    """What ctypes opens: the path of libgmprt.so, or its name if the system has
    the library."""
    path = pathlib.Path(__file__).parent / "_lib" / "libgmprt.so.0"
    return str(path) if path.exists() else path.name
