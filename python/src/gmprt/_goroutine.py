"""Goroutines: start, wait, cancel.

The states of a Goroutine: it runs; then it has a result or an exception, and
its channel `_done` is closed, which wakes all that wait for it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import ctypes
import inspect
import math
import os
import sys
import threading
import traceback
from contextlib import contextmanager
from typing import (
    Any,
    Callable,
    Generator,
    Generic,
    List,
    NoReturn,
    Optional,
    TypeVar,
    Union,
)

from . import _core

T = TypeVar("T")

# The type of all functions of ctypes.
_CFunction: Any = ctypes.CFUNCTYPE(None).__mro__[1]

# As large as the stack of a thread, for which the interpreter's limits of
# recursion are made. What is not touched is no memory.
_stack_size = (8 << 20) - (64 << 10)

# By id: those that have not ended, and of these by number those that run.
_live: "dict[int, Goroutine[Any]]" = {}
_running: "dict[int, Goroutine[Any]]" = {}


class InvalidStateError(Exception):
    """The goroutine has not ended yet."""


class Lost(RuntimeError):
    """The goroutine is in the parent process, from which this one forked."""


def set_stack_size(size: int) -> int:
    """Sets the bytes of stack of goroutines that start from now on.

    Returns the size before. With less than the default of about 8 MiB, deep
    recursion in C code may end the process instead of raising RecursionError.
    """
    global _stack_size
    if not 64 << 10 <= size <= 1 << 30:
        raise ValueError("a stack has 64 KiB to 1 GiB")
    before, _stack_size = _stack_size, size
    return before


def excepthook(goroutine: Goroutine[Any], error: BaseException) -> None:
    """Reports an exception that nobody has fetched; replace it at will."""
    if sys is None or sys.stderr is None:
        return
    print(f"Exception in goroutine {goroutine.name}:", file=sys.stderr)
    traceback.print_exception(type(error), error, error.__traceback__)


class Goroutine(Generic[T]):
    """A function that runs beside others. Made by :func:`go`."""

    def __init__(
        self,
        func: Callable[..., T],
        args: Any,
        kwargs: Any,
        name: Optional[str],
        locked: bool = False,
    ) -> None:
        if not callable(func):
            raise TypeError(
                f"go() needs a function, not {func!r}: go(f, x), not go(f(x))"
            )
        if inspect.iscoroutinefunction(func):
            raise TypeError(
                f"{func!r} is async: go(asyncio.run, f(x)) runs it in a loop "
                "of its own"
            )
        self.name: str = name or getattr(func, "__qualname__", "") or repr(func)
        self._done: _core.Channel = _core.Channel()
        self._result: Optional[T] = None
        self._error: Optional[BaseException] = None
        self._fetched = False
        self._callbacks: List[Callable[[Goroutine[T]], object]] = []
        context = contextvars.copy_context()

        # Frames of a traceback refer to the frame of body, which must not
        # refer to the goroutine once it has ended.
        holder: List[Goroutine[T]] = [self]

        def body() -> None:
            goroutine = holder[0]
            me = _core.current()
            if me is not None:
                goroutine._g = me
                _running[me.goid] = goroutine
            try:
                _trace_as_threads()
                goroutine._result = context.run(func, *args, **kwargs)
            except BaseException as error:
                trace = error.__traceback__
                goroutine._error = error.with_traceback(
                    trace.tb_next if trace is not None else None
                )
                del error, trace
            finally:
                if me is not None:
                    _running.pop(me.goid, None)
                holder.clear()
                goroutine._finish()
                del goroutine

        # The body may run, and end, before start returns.
        _live[id(self)] = self
        try:
            self._g = _core.start(
                body, self._done, self.name, _stack_size, locked
            )
        except BaseException:
            del _live[id(self)]
            raise

    def __repr__(self) -> str:
        state = "running"
        if self.cancelled():
            state = "cancelled"
        elif self.done():
            state = f"failed: {self._error!r}" if self._error else "done"
        return f"<Goroutine {self.name!r} {self._g.goid} {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a goroutine belongs to one process: pickle its result"
        )

    def _finish(self) -> None:
        _live.pop(id(self), None)
        if not self._done.closed:
            self._done.close()
        # The thread that takes a callback off the list calls it, once.
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:
                break
            _call_back(callback, self)

    def __del__(self) -> None:
        error = getattr(self, "_error", None)
        if error is None or self._fetched:
            return
        if isinstance(error, (_core.Cancelled, SystemExit)):
            return
        hook = getattr(sys.modules.get("gmprt"), "excepthook", excepthook)
        hook(self, error)

    @property
    def goid(self) -> int:
        """Its number in dumps; 0 until it runs."""
        return self._g.goid

    def done(self) -> bool:
        """Whether it has ended."""
        if not self._done.closed:
            return False
        if id(self) in _live and self._g.failed is not None:
            self._error = self._g.failed
            self._finish()
        return True

    def running(self) -> bool:
        """Whether it has not ended; it may wait."""
        return not self.done()

    def cancelled(self) -> bool:
        """Whether it has ended by :class:`Cancelled`."""
        return self.done() and isinstance(self._error, _core.Cancelled)

    def cancel(self) -> bool:
        """Has each of its waits raise :class:`Cancelled` until it ends.

        False if it has ended already.
        """
        if self.done():
            return False
        self._g.cancel()
        return True

    def join(self, timeout: Optional[float] = None) -> bool:
        """Waits until it has ended; False if that takes too long."""
        if self.done():
            return True
        if self._g is _core.current():
            raise RuntimeError("a goroutine cannot join itself")
        try:
            self._done.recv(timeout)
        except _core.Closed:
            pass
        except TimeoutError:
            return False
        return self.done()

    def result(self, timeout: Optional[float] = None) -> T:
        """Waits for its result; raises the exception that it has raised.

        TimeoutError after `timeout` seconds.
        """
        if not self.join(timeout):
            raise TimeoutError(f"{self.name} has not ended yet")
        return self._take()

    def exception(
        self, timeout: Optional[float] = None
    ) -> Optional[BaseException]:
        """Waits until it has ended; what it has raised, or None."""
        if not self.join(timeout):
            raise TimeoutError(f"{self.name} has not ended yet")
        self._fetched = True
        return self._error

    def add_done_callback(
        self, callback: Callable[[Goroutine[T]], object]
    ) -> None:
        """Calls `callback(self)` when it has ended, on its goroutine."""
        self._callbacks.append(callback)
        if self._done.closed:
            try:
                self._callbacks.remove(callback)
            except ValueError:
                return
            _call_back(callback, self)

    def _take(self) -> T:
        self._fetched = True
        error = self._error
        if error is not None:
            try:
                raise error
            finally:
                del error
        return self._result  # type: ignore[return-value]

    def _ended_in_loop(self) -> asyncio.Future[None]:
        """A future of the running loop that is done once this has ended."""
        loop = _loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake(_: Goroutine[T]) -> None:
            try:
                loop.call_soon_threadsafe(_set, future)
            except RuntimeError:  # the loop is closed
                pass

        self.add_done_callback(wake)
        return future

    def __await__(self) -> Generator[Any, None, T]:
        try:
            yield from self._ended_in_loop()
        except asyncio.CancelledError:
            self.cancel()
            raise
        try:
            return self._take()
        except _core.Cancelled:
            raise asyncio.CancelledError from None


def _loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "it waits in an event loop of asyncio, and none runs here: use "
            "result(), recv() or send()"
        ) from None


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call_back(
    callback: Callable[[Goroutine[T]], object], goroutine: Goroutine[T]
) -> None:
    try:
        callback(goroutine)
    except Exception:
        traceback.print_exc()


def _trace_as_threads() -> None:
    """What threading.settrace() and setprofile() ask of new threads."""
    trace = getattr(threading, "_trace_hook", None)
    if trace is not None:
        sys.settrace(trace)
    profile = getattr(threading, "_profile_hook", None)
    if profile is not None:
        sys.setprofile(profile)


def go(
    func: Callable[..., T], *args: Any, name: Optional[str] = None, **kw: Any
) -> Goroutine[T]:
    """Starts a goroutine that calls ``func(*args, **kw)``.

    It runs in a copy of the caller's context, as an asyncio task does.
    """
    return Goroutine(func, args, kw, name)


def current() -> Optional[Goroutine[Any]]:
    """The goroutine that calls; None on a thread."""
    g = _core.current()
    return None if g is None else _running.get(g.goid)


def sleep(seconds: float) -> None:
    """Sleeps; other goroutines run."""
    _core.sleep(_span(seconds))


def _span(seconds: float) -> float:
    """Checks a time; TypeError or ValueError for the caller's mistake."""
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"a time of {seconds!r} seconds")
    return seconds


def yield_now() -> None:
    """Lets other goroutines run."""
    _core.yield_now()


@contextmanager
def shield() -> Generator[None, None, None]:
    """Inside, a cancel does not interrupt the goroutine."""
    _core.shield(True)
    try:
        yield
    finally:
        _core.shield(False)


@contextmanager
def locked_thread() -> Generator[None, None, None]:
    """Inside, the goroutine stays on its thread, which runs nothing else.

    For what belongs to a thread: threading.RLock over a wait, sqlite3, GUIs.
    """
    _core.lock_thread(True)
    try:
        yield
    finally:
        _core.lock_thread(False)


def run_in_c(
    func: Any, argument: Union[int, None, Any] = None
) -> Goroutine[None]:
    """Starts a goroutine that calls a C function, `void f(void *argument)`.

    `func` is its address or a function of ctypes. The C function may wait in
    the library: the goroutine has no Python state meanwhile.
    """
    address = _address(func)
    number = argument if isinstance(argument, int) else _pointer(argument)

    def call() -> None:
        _core.call_c(address, number)
        del keep[:]

    keep = [func, argument]
    return go(call, name="run_in_c")


def _address(func: Any) -> int:
    if not isinstance(func, int):
        if not isinstance(func, (_CFunction, ctypes.c_void_p)):
            raise TypeError(
                f"run_in_c() needs a function of ctypes or an address, "
                f"not {func!r}"
            )
        func = ctypes.cast(func, ctypes.c_void_p).value or 0
    if func == 0:
        raise ValueError("a null function")
    return int(func)


def _pointer(argument: Any) -> int:
    if argument is None:
        return 0
    return ctypes.cast(argument, ctypes.c_void_p).value or 0


def _after_fork() -> None:
    """The goroutines of the parent are not in the child."""
    _core.in_child()
    me = _core.current()
    for goroutine in list(_live.values()):
        if goroutine._g is not me:
            goroutine._fetched = True
            goroutine._error = Lost(f"{goroutine.name} is in the parent")
            goroutine._finish()
    for goid in list(_running):
        if me is None or goid != me.goid:
            del _running[goid]


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_core.finalize)
