"""Timers that call a function."""

from __future__ import annotations

from typing import Any, Callable, Optional

from . import _core
from ._goroutine import Goroutine, _span, go


class Timer:
    """Calls ``func(*args)`` on a goroutine after `seconds`.

    With a `period` it calls again and again; calls do not overlap.
    """

    def __init__(
        self,
        seconds: float,
        func: Callable[..., object],
        *args: Any,
        period: Optional[float] = None,
    ) -> None:
        if not callable(func):
            raise TypeError(f"Timer() needs a function, not {func!r}")
        if period is not None and _span(period) == 0:
            raise ValueError("the period must be positive")
        self._func = func
        self._args = args
        self._period = period
        self._pending = False
        # What the goroutine of the newest reset has got.
        self._turn: object = None
        self._wait: Optional[Goroutine[None]] = None
        self.reset(seconds)

    def __repr__(self) -> str:
        return f"<Timer {'pending' if self._pending else 'stopped'}>"

    def reset(self, seconds: float) -> None:
        """Makes it fire `seconds` from now, whatever it did before."""
        _span(seconds)
        self.stop()
        self._pending = True
        turn = self._turn = object()
        self._wait = go(self._run, turn, seconds, name="timer")

    def stop(self) -> bool:
        """Whether it was pending; a call that has begun goes on."""
        pending, self._pending = self._pending, False
        if pending and self._wait is not None:
            self._wait.cancel()
        return pending

    def _run(self, turn: object, seconds: float) -> None:
        _core.sleep(seconds)
        while self._turn is turn and self._pending:
            self._pending = self._period is not None
            _core.shield(True)
            try:
                self._func(*self._args)
            finally:
                _core.shield(False)
            if self._period is None:
                return
            _core.sleep(self._period)
