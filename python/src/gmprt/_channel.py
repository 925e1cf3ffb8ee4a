"""Channels, select, and channels on which time passes."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Generic,
    Iterator,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from . import _core
from ._goroutine import _loop, _set, _span, go

T = TypeVar("T")


class Channel(_core.Channel, Generic[T]):
    """Carries objects from goroutine to goroutine.

    With capacity 0 each send waits for its receiver.
    """

    if TYPE_CHECKING:  # the core has these

        def send(self, value: T, timeout: Optional[float] = None) -> None:
            """Sends; Closed if the channel is, TimeoutError."""
            ...

        def recv(self, timeout: Optional[float] = None) -> T:
            """Receives; Closed once the channel is and its buffer is empty,
            TimeoutError."""
            ...

        def try_send(self, value: T) -> bool:
            """Sends if that need not wait; whether it did."""
            ...

        def try_recv(self) -> T:
            """Receives if that need not wait, else raises BlockingIOError."""
            ...

        def close(self) -> None:
            """Ends it: receivers get what is in the buffer, then Closed."""
            ...

        def __iter__(self) -> Iterator[T]:
            ...

        def __next__(self) -> T:
            ...

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<Channel {len(self)}/{self.capacity}{state}>"

    async def arecv(self) -> T:
        """recv for asyncio. If it is cancelled, nothing is received."""
        loop = _loop()
        # Each call lets the loop run, which goroutines could keep busy here,
        # and is where a cancelled task ends.
        if self._ready(False):
            await asyncio.sleep(0)
        while True:
            try:
                return self.try_recv()
            except BlockingIOError:
                pass
            future: asyncio.Future[None] = loop.create_future()
            wake = _waker(loop, future)
            self._watch(wake)
            try:
                return self.try_recv()
            except BlockingIOError:
                await future
            finally:
                self._unwatch(wake)

    async def asend(self, value: T) -> None:
        """send for asyncio.

        If it is cancelled, nothing is sent, unless a receiver took the value
        at that moment.
        """
        loop = _loop()
        if self._ready(True):
            await asyncio.sleep(0)
        future: asyncio.Future[None] = loop.create_future()
        offer = self._offer(value, _waker(loop, future))
        if offer is None:
            return
        try:
            await future
        except asyncio.CancelledError:
            # Also if it was taken: a task that went on would not hear again
            # of its cancel.
            offer.withdraw()
            raise
        if offer.withdraw() is False:
            raise _core.Closed("send on a closed channel")

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            try:
                value = await self.arecv()
            except _core.Closed:
                return
            yield value


def _waker(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]
) -> Any:
    def wake() -> None:
        try:
            loop.call_soon_threadsafe(_set, future)
        except RuntimeError:  # the loop is closed
            pass

    return wake


Case = Union[Channel[Any], Tuple[Channel[Any], Any], None]


def select(
    cases: Sequence[Case],
    timeout: Optional[float] = None,
    default: bool = False,
) -> Optional[Tuple[int, Any, bool]]:
    """Waits until one of the cases can run, and runs it.

    A case is a channel to receive from, ``(channel, value)`` to send, or None,
    which never runs. Returns the index of the case, what was received, and
    whether that channel is open; with `default` None if no case can run at
    once. TimeoutError.
    """
    return _core.select(list(cases), timeout, default)


def after(seconds: float) -> Channel[float]:
    """A channel on which one tick comes: the monotonic time by then."""
    ch: Channel[float] = Channel(1)
    _span(seconds)

    def tick() -> None:
        _core.sleep(seconds)
        ch.try_send(_core.now())

    go(tick, name="after")
    return ch


def ticker(period: float) -> Channel[float]:
    """A channel on which a tick comes every `period` seconds.

    A slow receiver misses some. close() stops the ticks, and so does the end of
    the channel.
    """
    if _span(period) == 0:
        raise ValueError("the period must be positive")
    ch: Channel[float] = Channel(1)
    go(_ticks, weakref.ref(ch), period, name="ticker")
    return ch


def _ticks(
    channel: Callable[[], Optional[Channel[float]]], span: float
) -> None:
    at = _core.now()
    while True:
        at = max(at + span, _core.now())
        _core.sleep(at - _core.now())
        ch = channel()
        if ch is None or ch.closed:
            return
        with suppress(_core.Closed):
            ch.try_send(_core.now())
        del ch
