"""No reference is lost and none is kept. Also a program for a debug build of
Python, which counts all references."""

import gc
import sys
import weakref

import gmprt


class Thing:
    pass


def churn(n):
    """`n` goroutines in channels: half send, some are cancelled or left."""
    ch, out = gmprt.Channel(), gmprt.Channel(n)
    refs = []

    def relay():
        out.send(ch.recv())

    relays = [gmprt.go(relay) for _ in range(n // 2)]
    senders = []
    for _ in range(n // 2):
        thing = Thing()
        refs.append(weakref.ref(thing))
        senders.append(gmprt.go(ch.send, thing))
    for g in relays + senders:
        g.result()
    assert len({id(out.recv()) for _ in relays}) <= n // 2
    thing = Thing()
    thing.channel = gmprt.Channel(1)
    thing.channel.send(thing)  # a cycle through a buffer
    refs.append(weakref.ref(thing))
    left = [gmprt.go(gmprt.Channel().send, thing) for _ in range(100)]
    for g in left:
        g.cancel()
        g.join()
    late = [gmprt.go(gmprt.select, [ch], 0) for _ in range(100)]
    for g in late:
        assert isinstance(g.exception(), TimeoutError)
    return refs


def settle():
    while gmprt.stats()["goroutines"] > 0:
        gmprt.sleep(0.001)
    gc.collect()


def test_ten_thousand_goroutines_leave_nothing():
    refs = churn(10_000)
    settle()
    assert not any(r() is not None for r in refs)


def main():
    """Prints how many references are more after 10,000 goroutines."""
    for n in (1000, 1000, 10_000):
        before = sys.gettotalrefcount()
        churn(n)
        settle()
    print(sys.gettotalrefcount() - before)


if __name__ == "__main__":
    main()
