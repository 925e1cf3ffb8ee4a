"""Channels, select, locks, groups and time."""

import threading
import time

import pytest

import gmprt


def test_closing_and_iteration():
    ch = gmprt.Channel(4)

    def produce():
        for i in range(10):
            ch.send(i)
        ch.close()

    gmprt.go(produce)
    assert list(ch) == list(range(10))
    with pytest.raises(gmprt.Closed):
        ch.recv()
    with pytest.raises(gmprt.Closed):
        ch.send(1)
    with pytest.raises(gmprt.Closed):
        ch.close()


def test_close_wakes_those_who_wait():
    for op in ("send", "recv"):
        ch = gmprt.Channel()
        g = gmprt.go(ch.send, 1) if op == "send" else gmprt.go(ch.recv)
        gmprt.sleep(0.01)
        ch.close()
        assert isinstance(g.exception(10), gmprt.Closed)


def test_timeouts_on_goroutines_and_threads():
    ch = gmprt.Channel()
    with pytest.raises(TimeoutError):
        ch.recv(0.01)
    with pytest.raises(TimeoutError):
        ch.send(1, timeout=0)
    assert isinstance(gmprt.go(ch.recv, 0.01).exception(10), TimeoutError)
    with pytest.raises(BlockingIOError):
        ch.try_recv()
    assert not ch.try_send(1)


def test_select():
    a, b = gmprt.Channel(1), gmprt.Channel(1)
    assert gmprt.select([a, b, None], default=True) is None
    b.send(5)
    assert gmprt.select([a, b]) == (1, 5, True)
    assert gmprt.select([a, (b, 6)]) == (1, None, True)
    assert b.recv() == 6
    g = gmprt.go(gmprt.select, [a, b])
    gmprt.sleep(0.01)
    a.close()
    assert g.result(10) == (0, None, False)
    with pytest.raises(TimeoutError):
        gmprt.select([b], timeout=0.01)
    with pytest.raises(TypeError):
        gmprt.select([42])


def test_all_arrives_once_between_threads_and_goroutines():
    for capacity in (0, 1, 7):
        ch, out = gmprt.Channel(capacity), gmprt.Channel(3)

        def produce(k):
            for i in range(200):
                ch.send(k * 200 + i)

        def consume():
            for x in ch:
                gmprt.select([(out, x)])

        gs = [gmprt.go(produce, k) for k in range(4)]
        ts = [threading.Thread(target=produce, args=(k,)) for k in range(4, 8)]
        cs = [gmprt.go(consume) for _ in range(3)]
        ct = threading.Thread(target=consume)
        for t in ts + [ct]:
            t.start()
        got = sorted(out.recv(30) for _ in range(1600))
        assert got == list(range(1600))
        for g in gs:
            g.result(10)
        ch.close()
        for c in cs:
            c.result(10)
        for t in ts + [ct]:
            t.join(10)


def test_mutex_excludes_over_waits():
    mutex, inside, most = gmprt.Mutex(), [0], [0]

    def body():
        for _ in range(20):
            with mutex:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                gmprt.yield_now()
                inside[0] -= 1

    gs = [gmprt.go(body) for _ in range(20)]
    body()
    for g in gs:
        g.result(30)
    assert most == [1]
    with pytest.raises(RuntimeError):
        mutex.release()
    with mutex:
        assert not mutex.acquire(0.01)


def test_rwmutex_condition_waitgroup_once_semaphore():
    rw, readers = gmprt.RWMutex(), gmprt.Semaphore(0)
    stop = gmprt.Channel()

    def read():
        with rw.reading():
            readers.release()
            stop.recv()

    gs = [gmprt.go(read) for _ in range(3)]
    for _ in gs:
        readers.acquire()
    assert not rw.acquire(0.01)
    w = gmprt.go(rw.acquire)
    for _ in gs:
        stop.send(None)
    assert w.result(10) and not rw.racquire(0.01)
    rw.release()
    assert rw.racquire(1)
    rw.rrelease()

    cond, state = gmprt.Condition(), [0]

    def waits():
        with cond:
            return cond.wait_for(lambda: state[0] == 1)

    g = gmprt.go(waits)
    gmprt.sleep(0.01)
    with cond:
        assert not cond.wait(0.01)
        state[0] = 1
        cond.notify_all()
    assert g.result(10)

    wg, once, calls = gmprt.WaitGroup(), gmprt.Once(), []
    wg.add(10)
    for _ in range(10):
        gmprt.go(lambda: (once.do(lambda: calls.append(1)), wg.done()))
    assert wg.wait(10) and calls == [1]
    with pytest.raises(ValueError):
        wg.done()


def test_group_cancels_the_others():
    ch = gmprt.Channel()

    def fail():
        gmprt.sleep(0.01)
        raise KeyError(1)

    with pytest.raises(KeyError):
        with gmprt.Group() as group:
            other = group.go(ch.recv)
            group.go(fail)
    assert other.cancelled()
    with gmprt.Group() as group:
        gs = [group.go(lambda i=i: i) for i in range(5)]
    assert [g.result() for g in gs] == list(range(5))


def test_time():
    start = time.monotonic()
    gmprt.go(gmprt.sleep, 0.05).result()
    assert time.monotonic() - start >= 0.05
    assert gmprt.after(0.01).recv(10) > start
    ticks = gmprt.ticker(0.01)
    assert ticks.recv(10) < ticks.recv(10)
    ticks.close()
    gone = gmprt.ticker(0.01)
    del gone
    end = time.monotonic() + 20
    while any(g.name == "ticker" for g in gmprt.goroutines()):
        assert time.monotonic() < end
        gmprt.sleep(0.01)
    fired = gmprt.Channel(10)
    timer = gmprt.Timer(0.01, fired.send, 1)
    assert fired.recv(10) == 1
    timer.reset(60)
    assert timer.stop() and not timer.stop()
    timer = gmprt.Timer(0.01, fired.send, 2, period=0.01)
    assert [fired.recv(10) for _ in range(3)] == [2, 2, 2]
    assert timer.stop()
