#!/usr/bin/env python3
"""Microseconds for an operation, beside threading, a ThreadPoolExecutor, gevent
(if installed) and asyncio. The figures in docs/python.md come from it.

usage: bench.py [WORD...]     the rows whose name has one of the words
       bench.py --blocked [N] what N that all wait cost: 100,000, and each peer
                              in a process of its own
"""

import asyncio
import hashlib
import importlib.util
import os
import queue
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

# A peer that is measured in its own process has nothing of ours in it.
if sys.argv[1:2] != ["--blocked-one"] or sys.argv[2] == "gmprt":
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


# --- Many that wait: each receives one number, and adds it up ------------------


def blocked_gmprt(n):
    ch = gmprt.Channel()
    gs = [gmprt.go(ch.recv) for _ in range(n)]
    while gmprt.stats()["goroutines_waiting"] < n:
        gmprt.sleep(0.01)
    yield
    for number in range(n):
        ch.send(number)
    yield sum(g.result() for g in gs)


def blocked_gevent(n):
    ch = gevent.queue.Channel()
    greenlets = [gevent.spawn(ch.get) for _ in range(n)]
    gevent.sleep(0)
    yield
    for number in range(n):
        ch.put(number)
    gevent.joinall(greenlets)
    yield sum(g.value for g in greenlets)


def blocked_threading(n):
    q, results = queue.SimpleQueue(), []
    threads = [
        threading.Thread(target=lambda: results.append(q.get()), daemon=True)
        for _ in range(n)
    ]
    for thread in threads:
        thread.start()
    yield
    for number in range(n):
        q.put(number)
    for thread in threads:
        thread.join()
    yield sum(results)


def blocked_asyncio(n):
    loop = asyncio.new_event_loop()
    q = asyncio.Queue()
    tasks = [loop.create_task(q.get()) for _ in range(n)]
    loop.run_until_complete(asyncio.sleep(0))
    yield

    async def feed():
        for number in range(n):
            await q.put(number)
        return sum(await asyncio.gather(*tasks))

    yield loop.run_until_complete(feed())


def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file
                    if line.startswith(field))


def blocked_one(name, n):
    before, start = status("VmRSS"), time.perf_counter()
    steps = globals()[f"blocked_{name}"](n)
    next(steps)
    made, held = time.perf_counter() - start, status("VmRSS") - before
    threads, start = status("Threads"), time.perf_counter()
    assert next(steps) == n * (n - 1) // 2
    woken = time.perf_counter() - start
    print(f"| {name} | {n:,} | {threads:,} | {held / n:.1f} KiB "
          f"| {made:.1f} s | {woken:.1f} s |")
    sys.stdout.flush()
    os._exit(0)  # a hundred thousand of anything take long to put away


def blocked(n):
    print("| | waiting | threads | memory each | made in | woken in |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in "gmprt", "gevent", "asyncio", "threading":
        if name == "gevent" and not HAS_GEVENT:
            print("| gevent | is not installed |")
            continue
        one = [sys.executable, __file__, "--blocked-one", name, str(n)]
        ended = subprocess.run(one, stderr=subprocess.PIPE, text=True)
        if ended.returncode != 0:
            why = ended.stderr.strip().splitlines()[-1:] or ["it was killed"]
            print(f"| {name} | cannot: {why[0]} |")
        sys.stdout.flush()


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
    if words[:1] == ["--blocked"]:
        return blocked(int((words[1:] or ["100000"])[0]))
    if words[:1] == ["--blocked-one"]:
        return blocked_one(words[1], int(words[2]))
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
