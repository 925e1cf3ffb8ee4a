"""Beside an event loop, and executors."""

import asyncio
import gc
import hashlib
import weakref

import pytest

import gmprt


def test_await_a_goroutine():
    async def main():
        assert await gmprt.go(lambda: 42) == 42
        with pytest.raises(KeyError):
            await gmprt.go({}.__getitem__, 1)
        g = gmprt.go(gmprt.Channel().recv)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(g, 0.02)
        assert g.join(10) and g.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize("capacity", [0, 3])
def test_channels_between_loop_and_goroutines(capacity):
    async def main():
        there, back = gmprt.Channel(capacity), gmprt.Channel(capacity)

        def square():
            for x in there:
                back.send(x * x)
            back.close()

        async def feed():
            for i in range(100):
                await there.asend(i)
            there.close()

        gmprt.go(square)
        task = asyncio.ensure_future(feed())
        assert [x async for x in back] == [i * i for i in range(100)]
        await task
        ch = gmprt.Channel(capacity)
        got = asyncio.ensure_future(ch.arecv())
        await asyncio.sleep(0.01)
        await ch.asend("x")
        assert await got == "x"
        got = asyncio.ensure_future(ch.arecv())
        await asyncio.sleep(0.01)
        ch.close()
        with pytest.raises(gmprt.Closed):
            await got

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_receive_that_is_cancelled_leaves_nothing():
    async def main():
        ch = gmprt.Channel(1)
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ch.arecv(), 0.001)
        lists = [o for o in gc.get_referents(ch) if isinstance(o, list)]
        assert not any(lists)
        ch.send(1)
        assert await ch.arecv() == 1

    asyncio.run(main())


def test_executor():
    async def main(executor):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, hashlib.sha256, b"x")

    with gmprt.GoroutineExecutor(4) as executor:
        more = executor.map(lambda x: x + 1, range(50))
        assert list(more) == list(range(1, 51))
        digest = asyncio.run(main(executor)).hexdigest()
        assert digest == hashlib.sha256(b"x").hexdigest()
        future = executor.submit(int, "no number")
        assert isinstance(future.exception(10), ValueError)
        gc.collect()
        gc.disable()
        try:
            ref = weakref.ref(future)
            del future
            while executor._running._count:
                gmprt.sleep(0.001)
            assert ref() is None  # without the collector of cycles
        finally:
            gc.enable()
    with pytest.raises(RuntimeError):
        executor.submit(int)
