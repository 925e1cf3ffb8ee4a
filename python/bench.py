#!/usr/bin/env python3
"""Microseconds for an operation, beside threading, a ThreadPoolExecutor, gevent
(if installed) and asyncio. The table in docs/python-internals.md comes from it.

usage: bench.py [WORD...]     the rows whose name has one of the words
"""

import asyncio
import hashlib
import importlib.util
import queue
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import gmprt

HAS_GEVENT = importlib.util.find_spec("gevent") is not None
if HAS_GEVENT:
    import gevent
    import gevent.queue

BIG = bytes(4 << 20)


def nothing():
    pass


def work(_):
    return hashlib.sha256(BIG).digest(), zlib.crc32(BIG)


# --- Create and join: one after the other -------------------------------------


def join_gmprt(n):
    for _ in range(n):
        gmprt.go(nothing).join()


def join_threading(n):
    for _ in range(n):
        thread = threading.Thread(target=nothing)
        thread.start()
        thread.join()


def join_pool(n):
    with ThreadPoolExecutor(4) as pool:
        for _ in range(n):
            pool.submit(nothing).result()


def join_gevent(n):
    for _ in range(n):
        gevent.spawn(nothing).join()


def join_asyncio(n):
    async def coroutine():
        pass

    async def main():
        for _ in range(n):
            await asyncio.ensure_future(coroutine())

    asyncio.run(main())


def join_from_goroutine(n):
    gmprt.go(join_gmprt, n).result()


# --- Ping-pong: a number goes there and comes back ----------------------------


def ping_gmprt(n):
    there, back = gmprt.Channel(), gmprt.Channel()

    def answer():
        for number in there:
            back.send(number)

    def ask():
        for number in range(n):
            there.send(number)
            back.recv()
        there.close()

    gmprt.go(answer)
    gmprt.go(ask).result()


def ping_threading(n):
    there, back = queue.SimpleQueue(), queue.SimpleQueue()

    def answer():
        for _ in range(n):
            back.put(there.get())

    thread = threading.Thread(target=answer)
    thread.start()
    for number in range(n):
        there.put(number)
        back.get()
    thread.join()


def ping_gevent(n):
    there, back = gevent.queue.Channel(), gevent.queue.Channel()

    def answer():
        for _ in range(n):
            back.put(there.get())

    greenlet = gevent.spawn(answer)
    for number in range(n):
        there.put(number)
        back.get()
    greenlet.join()


def ping_asyncio(n):
    async def main():
        there, back = asyncio.Queue(), asyncio.Queue()

        async def answer():
            for _ in range(n):
                await back.put(await there.get())

        task = asyncio.ensure_future(answer())
        for number in range(n):
            await there.put(number)
            await back.get()
        await task

    asyncio.run(main())


# --- Fan-in: each of n sends one number to one receiver -----------------------


def fan_gmprt(n):
    ch = gmprt.Channel()
    for number in range(n):
        gmprt.go(ch.send, number)
    for _ in range(n):
        ch.recv()


def fan_threading(n):
    q = queue.SimpleQueue()
    for number in range(n):
        threading.Thread(target=q.put, args=(number,)).start()
    for _ in range(n):
        q.get()


def fan_pool(n):
    q = queue.SimpleQueue()
    with ThreadPoolExecutor(4) as pool:
        for number in range(n):
            pool.submit(q.put, number)
        for _ in range(n):
            q.get()


def fan_gevent(n):
    ch = gevent.queue.Channel()
    for number in range(n):
        gevent.spawn(ch.put, number)
    for _ in range(n):
        ch.get()


def fan_asyncio(n):
    async def main():
        q = asyncio.Queue()
        tasks = [asyncio.ensure_future(q.put(i)) for i in range(n)]
        for _ in tasks:
            await q.get()

    asyncio.run(main())


# --- Work in C: sha256 and crc32 of 4 MiB, four at a time ---------------------


def work_gmprt(n):
    with gmprt.GoroutineExecutor(4) as executor:
        list(executor.map(work, range(n)))


def work_pool(n):
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(work, range(n)))


def work_alone(n):
    for i in range(n):
        work(i)


COLUMNS = ["gmprt", "threading", "ThreadPoolExecutor", "gevent", "asyncio"]
ROWS = [
    ("create and join", 3000, [
        join_gmprt, join_threading, join_pool, join_gevent, join_asyncio]),
    ("create and join, by a goroutine", 3000, [join_from_goroutine]),
    ("ping-pong", 5000, [
        ping_gmprt, ping_threading, None, ping_gevent, ping_asyncio]),
    ("fan-in of 10,000", 10_000, [
        fan_gmprt, fan_threading, fan_pool, fan_gevent, fan_asyncio]),
    ("sha256 and crc32 of 4 MiB, four at a time", 40, [
        work_gmprt, None, work_pool]),
    ("the same by one thread alone", 40, [None, work_alone]),
]


def best(function, n, rounds=3):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function(n)
        times.append(time.perf_counter() - start)
    return f"{min(times) / n * 1e6:,.1f}"


def main(words):
    print("| |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, n, functions in ROWS:
        if words and not any(word in name for word in words):
            continue
        cells = [
            best(f, n) if f and (HAS_GEVENT or "gevent" not in f.__name__)
            else "" for f in functions
        ]
        cells += [""] * (len(COLUMNS) - len(cells))
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
