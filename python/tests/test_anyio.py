"""Cancel scopes of anyio, and timeouts of asyncio: in a scope that is cancelled
each wait ends, the next one too, and the goroutine that was waited for is
cancelled. A shield holds it off."""

import asyncio
import sys

import pytest

import gmprt

anyio = pytest.importorskip("anyio")

LONG = 60


def run(main):
    async def limited():
        with anyio.fail_after(LONG / 2):
            return await main()

    return anyio.run(limited, backend="asyncio")


def test_a_scope_ends_each_wait():
    async def main():
        ch = gmprt.Channel()
        g = gmprt.go(ch.recv)
        for wait in (lambda: g, ch.arecv, lambda: ch.asend(1)):
            with anyio.move_on_after(0.01) as scope:
                await wait()
            assert scope.cancelled_caught
        assert g.join(LONG) and g.cancelled()
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.01):
                async for _ in ch:
                    pass
        assert ch.try_send(1) is False  # nobody waits there any more
        with pytest.raises(BlockingIOError):
            ch.try_recv()

    run(main)


def test_a_cancel_is_level_triggered():
    async def main():
        empty, full = gmprt.Channel(), gmprt.Channel(9)
        full.send(1)
        ended = gmprt.go(int)
        ended.join()
        heard = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            # Also those that need not wait.
            for wait in (
                empty.arecv, lambda: empty.asend(1), full.arecv,
                lambda: full.asend(2), lambda: gmprt.go(empty.recv),
                lambda: ended,
            ):
                try:
                    await wait()
                except anyio.get_cancelled_exc_class():
                    heard.append(len(full))
        assert heard == [1] * 6 and scope.cancelled_caught is False

    run(main)


def test_a_shield_holds_a_cancel_off():
    async def main():
        with anyio.CancelScope() as scope:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                assert await gmprt.go(lambda: gmprt.sleep(0.01) or 42) == 42
                ch = gmprt.Channel(1)
                await ch.asend("x")
                assert await ch.arecv() == "x"
            with pytest.raises(anyio.get_cancelled_exc_class()):
                await ch.arecv()
            await anyio.sleep(LONG)
        assert scope.cancelled_caught

    run(main)


def test_a_task_group_cancels_goroutines():
    async def main():
        ch = gmprt.Channel()
        gs = [gmprt.go(ch.recv) for _ in range(5)]

        async def wait(g):
            await g

        async def fail():
            await anyio.sleep(0.01)
            raise KeyError("x")

        try:
            async with anyio.create_task_group() as tasks:
                for g in gs:
                    tasks.start_soon(wait, g)
                tasks.start_soon(fail)
        except BaseException as error:
            assert "KeyError" in repr(getattr(error, "exceptions", error))
        else:
            assert False
        assert all(g.join(LONG) and g.cancelled() for g in gs)

    run(main)


def test_a_group_waits_for_its_members_in_a_scope():
    async def main():
        cleaned = []

        def member():
            try:
                gmprt.Channel().recv()
            finally:
                with gmprt.shield():
                    gmprt.sleep(0.05)
                    cleaned.append(1)

        with anyio.move_on_after(0.01) as scope:
            async with gmprt.Group() as group:
                for _ in range(3):
                    group.go(member)
        assert scope.cancelled_caught and cleaned == [1] * 3

        def fail():
            raise KeyError("x")

        with pytest.raises(KeyError):
            async with gmprt.Group() as group:
                other = group.go(member)
                group.go(fail)
        assert other.cancelled()
        async with gmprt.Group() as group:
            gs = [group.go(lambda i=i: i) for i in range(5)]
        assert [g.result() for g in gs] == list(range(5))

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="has no timeout()")
def test_timeouts_and_task_groups_of_asyncio():
    async def main():
        ch = gmprt.Channel()
        for wait in (lambda: gmprt.go(ch.recv), ch.arecv,
                     lambda: ch.asend(1)):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await wait()
            assert asyncio.current_task().cancelling() == 0
        g = gmprt.go(ch.recv)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.wait_for(g, LONG))
                tasks.create_task(asyncio.wait_for(gmprt.go({}.pop, 1), LONG))
        assert g.join(LONG) and g.cancelled()
        assert await asyncio.gather(*map(gmprt.go, [int, str, list])) == [
            0, "", []]

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_a_cancelled_send_that_was_taken_ends_its_task():
    """A task that went on would never hear of its cancel again."""

    async def main():
        ch = gmprt.Channel()

        async def feed():
            while True:
                await ch.asend(1)

        for _ in range(50):
            task = asyncio.ensure_future(feed())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ch.recv()  # takes what the task offers, before it runs again
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, LONG)

    asyncio.run(main())


def test_goroutines_that_keep_a_channel_full_leave_the_loop_its_turns():
    async def main():
        ch = gmprt.Channel(100)

        def feed():
            while True:
                ch.send(1)

        g = gmprt.go(feed)
        with anyio.move_on_after(0.1) as scope:
            async for _ in ch:
                pass
        assert scope.cancelled_caught
        ch.close()
        assert isinstance(g.exception(LONG), gmprt.Closed)

    run(main)
