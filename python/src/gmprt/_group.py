"""Goroutines that fail and end together."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Type, TypeVar

from . import _core
from ._goroutine import Goroutine, go, shield

T = TypeVar("T")


class Group:
    """As asyncio.TaskGroup: the block ends when all members have ended.

    The first exception of a member, or of the block, cancels the others, and
    is raised at the end of the block; `errors` has all exceptions of members.
    KeyboardInterrupt in the wait at the end cancels the members too; a second
    one leaves the block without waiting for them.

    ``async with`` waits in an event loop: a task that is cancelled there cancels
    the members, and waits until they have ended.
    """

    def __init__(self) -> None:
        # Members of which `_ended` has not been told.
        self._members: Dict[Goroutine[Any], None] = {}
        self._cancelled = False
        self._over = False
        self.errors: List[BaseException] = []

    def __repr__(self) -> str:
        state = " ended" if self._over else ""
        return f"<Group of {len(self._members)}{state}>"

    def __enter__(self) -> Group:
        return self

    async def __aenter__(self) -> Group:
        return self

    def go(
        self,
        func: Callable[..., T],
        *args: Any,
        name: Optional[str] = None,
        **kw: Any,
    ) -> Goroutine[T]:
        """Starts a member; members may start further ones."""
        if self._over:
            raise RuntimeError("the group has ended; make another one")
        member = go(func, *args, name=name, **kw)
        self._members[member] = None
        member.add_done_callback(self._ended)
        if self._cancelled:
            member.cancel()
        return member

    def cancel(self) -> None:
        """Cancels all members, also those that start later."""
        self._cancelled = True
        for member in list(self._members):
            member.cancel()

    def _ended(self, member: Goroutine[Any]) -> None:
        """Takes an ended member's error: by the member or by __exit__, which
        may see the end before the member has called."""
        if self._members.pop(member, self) is self:
            return
        error = member.exception()
        if error is not None and not isinstance(error, _core.Cancelled):
            self.errors.append(error)
            self.cancel()

    def _join(self) -> Optional[BaseException]:
        """Waits for all members; what has interrupted that, if anything."""
        interrupted: Optional[BaseException] = None
        while True:
            member = next(iter(list(self._members)), None)
            if member is None:
                return interrupted
            try:
                with nullcontext() if interrupted is None else shield():
                    member.join()
            except BaseException as found:
                if interrupted is not None:
                    raise
                interrupted = found
                self.cancel()
            else:
                self._ended(member)

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is not None:
            self.cancel()
        try:
            interrupted = self._join()
        finally:
            self._over = True
        self._raise(error, interrupted)

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is not None:
            self.cancel()
        interrupted: Optional[BaseException] = None
        # As in asyncio.TaskGroup, a second cancel does not end this wait.
        while self._members:
            member = next(iter(self._members))
            try:
                await member._ended_in_loop()
            except asyncio.CancelledError as found:
                interrupted = interrupted or found
                self.cancel()
            else:
                self._ended(member)
        self._over = True
        self._raise(error, interrupted)

    def _raise(
        self,
        error: Optional[BaseException],
        interrupted: Optional[BaseException],
    ) -> None:
        """What the block raises, if not the `error` of its own."""
        if error is not None and not isinstance(error, _core.Cancelled):
            return
        try:
            if interrupted is not None:
                raise interrupted
            if self.errors:
                raise self.errors[0]
        finally:
            del interrupted, error
