"""Locks for goroutines and threads, made of semaphores.

None belongs to a goroutine or thread. A cancel does not end the wait for a
mutex without a timeout, so that clean-up code works.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from types import TracebackType
from typing import Callable, Deque, Generator, NoReturn, Optional, Type

from . import _core


class _Context:
    """What all of them have."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state_text()}>"

    def _state_text(self) -> str:
        raise NotImplementedError

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} belongs to one process: for another one, "
            "use those of multiprocessing"
        )


class _Lock(_Context):
    """A lock that a with statement locks and unlocks."""

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Locks; False if that takes longer than `timeout` seconds."""
        raise NotImplementedError

    def release(self) -> None:
        """Unlocks."""
        raise NotImplementedError

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.release()


class Mutex(_Lock):
    """A lock; not reentrant."""

    def __init__(self) -> None:
        self._token = _core.Semaphore(1, 1)

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Locks; False if that takes longer than `timeout` seconds."""
        return self._token.acquire(timeout, timeout is not None)

    def try_acquire(self) -> bool:
        """Locks if that need not wait; whether it did."""
        return self._token.try_acquire()

    def release(self) -> None:
        """Unlocks; RuntimeError if it is not locked."""
        self._token.release()

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._token.value == 0

    def _state_text(self) -> str:
        return "locked" if self.locked() else "unlocked"


class Semaphore(_Lock):
    """A counter of tokens; first come, first served."""

    def __init__(self, value: int = 1) -> None:
        self._tokens = _core.Semaphore(value)

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Takes a token; False if that takes longer than `timeout`."""
        return self._tokens.acquire(timeout)

    def try_acquire(self) -> bool:
        """Takes a token if that need not wait; whether it did."""
        return self._tokens.try_acquire()

    def release(self) -> None:
        """Gives a token, to the one that has waited longest."""
        self._tokens.release()

    @property
    def value(self) -> int:
        """How many tokens are there."""
        return self._tokens.value

    def _state_text(self) -> str:
        return str(self.value)


class Condition(_Lock):
    """A condition variable with its mutex."""

    def __init__(self, mutex: Optional[Mutex] = None) -> None:
        self.mutex: Mutex = mutex or Mutex()
        self._waiters: Deque[_core.Semaphore] = deque()

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Locks the mutex; False if that takes longer than `timeout`."""
        return self.mutex.acquire(timeout)

    def release(self) -> None:
        """Unlocks the mutex."""
        self.mutex.release()

    def _state_text(self) -> str:
        return f"{self.mutex._state_text()} {len(self._waiters)} waiting"

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Unlocks the mutex, waits for a notify, and locks it again.

        False if none came within `timeout` seconds.
        """
        token = _core.Semaphore(0, 1)
        self._waiters.append(token)
        try:
            self.mutex.release()
        except RuntimeError:
            self._waiters.remove(token)
            raise
        try:
            notified = token.acquire(timeout)
        except BaseException:
            self.mutex.acquire()
            self._leave(token)
            raise
        self.mutex.acquire()
        return notified or self._leave(token)

    def _leave(self, token: _core.Semaphore) -> bool:
        """Whether a notify has come meanwhile; the mutex is locked."""
        try:
            self._waiters.remove(token)
        except ValueError:
            return True
        return False

    def wait_for(
        self, predicate: Callable[[], bool], timeout: Optional[float] = None
    ) -> bool:
        """Waits until `predicate()` is true; False if that takes too long."""
        end = None if timeout is None else _core.now() + timeout
        while not predicate():
            left = None if end is None else end - _core.now()
            if left is not None and left <= 0 or not self.wait(left):
                return predicate()
        return True

    def notify(self, n: int = 1) -> None:
        """Wakes the `n` that have waited longest."""
        while n > 0 and self._waiters:
            self._waiters.popleft().release()
            n -= 1

    def notify_all(self) -> None:
        """Wakes all that wait."""
        self.notify(len(self._waiters))


class RWMutex(_Context):
    """A lock that many hold for reading, or one for writing.

    A writer that waits keeps new readers out.
    """

    def __init__(self) -> None:
        self._state = Condition()
        self._readers = 0
        self._writing = False
        self._writers = 0

    @contextmanager
    def reading(self) -> Generator[None, None, None]:
        """``with rw.reading():`` holds it for reading."""
        self.racquire()
        try:
            yield
        finally:
            self.rrelease()

    @contextmanager
    def writing(self) -> Generator[None, None, None]:
        """``with rw.writing():`` holds it for writing."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def racquire(self, timeout: Optional[float] = None) -> bool:
        """Locks it for reading; False if that takes too long."""
        with self._state:
            if not self._wait(
                lambda: not self._writing and self._writers == 0, timeout
            ):
                return False
            self._readers += 1
            return True

    def rrelease(self) -> None:
        """Ends one racquire(); RuntimeError if nobody reads."""
        with self._state:
            if self._readers == 0:
                raise RuntimeError("release of what is not locked")
            self._readers -= 1
            if self._readers == 0:
                self._state.notify_all()

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Locks it for writing; False if that takes too long."""
        with self._state:
            self._writers += 1
            try:
                if not self._wait(
                    lambda: not self._writing and self._readers == 0, timeout
                ):
                    return False
                self._writing = True
                return True
            finally:
                self._writers -= 1
                if not self._writing:
                    self._state.notify_all()

    def release(self) -> None:
        """Ends acquire(); RuntimeError if nobody writes."""
        with self._state:
            if not self._writing:
                raise RuntimeError("release of what is not locked")
            self._writing = False
            self._state.notify_all()

    def _state_text(self) -> str:
        if self._writing:
            return "writing"
        return f"{self._readers} reading" if self._readers else "unlocked"

    def _wait(
        self, ready: Callable[[], bool], timeout: Optional[float]
    ) -> bool:
        if timeout is not None:
            return self._state.wait_for(ready, timeout)
        _core.shield(True)
        try:
            return self._state.wait_for(ready)
        finally:
            _core.shield(False)


class WaitGroup(_Context):
    """A counter that one can wait for."""

    def __init__(self) -> None:
        self._zero = Condition()
        self._count = 0

    def add(self, delta: int = 1) -> None:
        """Adds to the counter; ValueError if it would be negative."""
        with self._zero:
            if self._count + delta < 0:
                raise ValueError("the counter would be negative")
            self._count += delta
            if self._count == 0:
                self._zero.notify_all()

    def done(self) -> None:
        """Takes one from the counter."""
        self.add(-1)

    def _state_text(self) -> str:
        return str(self._count)

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits until the counter is 0; False if that takes too long."""
        with self._zero:
            return self._zero.wait_for(lambda: self._count == 0, timeout)


class Once(_Context):
    """Calls a function once; others wait until that call has ended.

    A call that raises is not done: the next one calls again.
    """

    def __init__(self) -> None:
        self._mutex = Mutex()
        self._done = False

    def do(self, func: Callable[[], object]) -> None:
        """Calls `func()` if that has not been done, and waits for its end."""
        if self._done:
            return
        with self._mutex:
            if not self._done:
                func()
                self._done = True

    def _state_text(self) -> str:
        return "done" if self._done else "not done"
