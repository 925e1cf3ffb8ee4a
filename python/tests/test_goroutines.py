"""Goroutines: results, exceptions, cancels, recursion, what a thread keeps."""

import contextvars
import ctypes
import sys
import threading
import traceback

import pytest

import gmprt


def test_result_and_exception_with_the_frames_of_the_callback():
    assert gmprt.go(lambda a, b: a * b, 6, b=7).result() == 42

    def deep():
        raise KeyError("x")

    g = gmprt.go(deep, name="failing")
    with pytest.raises(KeyError) as caught:
        g.result()
    names = [f.name for f in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "deep"
    assert isinstance(g.exception(), KeyError)


def test_what_nobody_fetches_is_reported(monkeypatch):
    seen = []
    monkeypatch.setattr(
        gmprt, "excepthook", lambda g, e: seen.append((g.name, e))
    )

    def fail():
        raise ValueError("lost")

    g = gmprt.go(fail)
    g.join()
    del g
    for _ in range(100):
        if seen:
            break
        gmprt.sleep(0.01)
    assert "fail" in seen[0][0] and str(seen[0][1]) == "lost"
    g = gmprt.go(fail)
    assert g.exception() is not None
    del g
    gmprt.sleep(0.01)
    assert len(seen) == 1


def test_cancel_is_level_triggered_and_a_shield_holds_it_off():
    ch = gmprt.Channel()
    seen = []

    def body():
        try:
            ch.recv()
        finally:
            with gmprt.shield():
                gmprt.sleep(0.001)
                seen.append("clean")
            try:
                gmprt.sleep(60)
            except gmprt.Cancelled:
                seen.append("again")

    g = gmprt.go(body)
    gmprt.sleep(0.01)
    assert g.cancel()
    with pytest.raises(gmprt.Cancelled):
        g.result()
    assert g.cancelled() and seen == ["clean", "again"]
    assert not g.cancel()


def nested(depth):
    x = []
    for _ in range(depth):
        x = [x]
    return x


@pytest.mark.parametrize("where", ["goroutine", "main"])
def test_recursion_error_stays_one(where):
    run = error_of
    if where == "goroutine":
        run = lambda f: gmprt.go(f).exception()

    def forever(n=0):
        return forever(n + 1)

    assert isinstance(run(forever), RecursionError)
    assert isinstance(run(lambda: repr(nested(100_000))), RecursionError)


def error_of(f):
    try:
        f()
    except BaseException as error:
        return error
    return None


def test_thread_locals_and_contexts_belong_to_goroutines():
    local = threading.local()
    var = contextvars.ContextVar("var", default=0)
    var.set(7)
    start = gmprt.Channel()

    def body(i):
        assert var.get() == 7
        local.x = i
        var.set(i)
        start.recv()
        return local.x, var.get()

    gs = [gmprt.go(body, i) for i in range(100)]
    for _ in gs:
        start.send(None)
    assert [g.result() for g in gs] == [(i, i) for i in range(100)]
    assert var.get() == 7 and not hasattr(local, "x")


@pytest.mark.skipif(not gmprt._core.states_move(), reason="states stay")
def test_goroutines_that_wait_hold_no_threads():
    ch = gmprt.Channel()
    before = gmprt.stats()["threads"]
    gs = [gmprt.go(ch.recv) for _ in range(2000)]
    while gmprt.stats()["goroutines_waiting"] < 2000:
        gmprt.sleep(0.01)
    assert gmprt.stats()["threads"] < before + 20
    for i in range(2000):
        ch.send(i)
    assert sum(g.result() for g in gs) == sum(range(2000))


def test_callbacks_of_ctypes_find_the_state_of_the_goroutine():
    local = threading.local()
    ch = gmprt.Channel()
    made = ctypes.CFUNCTYPE(ctypes.c_int)
    pymade = ctypes.PYFUNCTYPE(ctypes.c_int)

    def body():
        local.x = 5
        ch.recv()  # may move
        get = lambda: local.x + 0 * ch.recv()
        return made(get)() + pymade(get)()

    gs = [gmprt.go(body) for _ in range(50)]
    for _ in range(3 * 50):
        ch.send(1)
    assert [g.result(20) for g in gs] == [10] * 50


def test_settrace_of_threading_reaches_goroutines():
    seen = set()

    def trace(frame, event, arg):
        seen.add(frame.f_code.co_name)
        return None

    def traced():
        gmprt.sleep(0.001)

    threading.settrace(trace)
    try:
        gmprt.go(traced).result()
    finally:
        threading.settrace(None)
    assert "traced" in seen


def test_frames_of_goroutines_that_wait():
    ch = gmprt.Channel()

    def waits_here():
        ch.recv()

    g = gmprt.go(waits_here)
    gmprt.sleep(0.02)
    frame = sys._current_frames()[g._g.thread_id]
    assert frame.f_code.co_name == "waits_here"
    ch.send(None)
    g.result()


def test_run_in_c_waits_without_a_python_state():
    lib = ctypes.CDLL(gmprt.library())
    lib.gmp_chan_make.restype = ctypes.c_void_p
    g = gmprt.run_in_c(lib.gmp_yield)
    assert g.result(10) is None
