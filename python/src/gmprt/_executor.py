"""An executor whose workers are goroutines."""

from __future__ import annotations

import concurrent.futures
from types import TracebackType
from typing import Any, Callable, Optional, Set, Type, TypeVar

from . import _core
from ._goroutine import Goroutine, current, go
from ._locks import WaitGroup

T = TypeVar("T")


class GoroutineExecutor(concurrent.futures.Executor):
    """Runs each call on a goroutine, at most `max_workers` at a time.

    A with block that KeyboardInterrupt or a cancel ends cancels the calls.
    """

    def __init__(self, max_workers: Optional[int] = None) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._tokens = (
            None if max_workers is None else _core.Semaphore(max_workers)
        )
        self._running = WaitGroup()
        self._futures: Set[concurrent.futures.Future[Any]] = set()
        self._working: Set[Goroutine[Any]] = set()
        self._shut = False

    def submit(  # type: ignore[override,unused-ignore]
        self, fn: Callable[..., T], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[T]:
        """Has a goroutine call ``fn(*args, **kwargs)``."""
        if self._shut:
            raise RuntimeError("cannot submit after shutdown()")
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        # The traceback of an exception refers to the frame of work, which must
        # not refer to the future that has the exception.
        holder = [future]

        def work() -> None:
            if self._tokens is not None:
                # Not ended by a cancel: the future has to be told.
                self._tokens.acquire(None, False)
            future = holder.pop()
            me = current()
            try:
                if me is not None:
                    self._working.add(me)
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(fn(*args, **kwargs))
                    except BaseException as error:
                        future.set_exception(error)
            finally:
                if self._tokens is not None:
                    self._tokens.release()
                self._futures.discard(future)
                if me is not None:
                    self._working.discard(me)
                del future, me
                self._running.done()

        self._running.add()
        self._futures.add(future)
        try:
            _started: Goroutine[None] = go(work, name="executor")
        except BaseException:
            self._futures.discard(future)
            self._running.done()
            raise
        return future

    def __repr__(self) -> str:
        state = " shut down" if self._shut else ""
        return f"<GoroutineExecutor {len(self._futures)} calls{state}>"

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False
    ) -> None:
        """Takes no more calls, and waits for those that it has taken.

        With `cancel_futures` those that have not begun are cancelled.
        """
        self._shut = True
        if cancel_futures:
            for future in list(self._futures):
                future.cancel()
        if wait:
            self._running.wait()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        interrupted = error is not None and not isinstance(error, Exception)
        if interrupted:
            for goroutine in list(self._working):
                goroutine.cancel()
        self.shutdown(cancel_futures=interrupted)
