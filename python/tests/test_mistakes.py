"""Each mistake is a Python exception that says what to do."""

import ast
import copy
import ctypes
import gc
import inspect
import os
import pickle
import re
import signal
import sys

import pytest

import gmprt

NAN = float("nan")
ch = gmprt.Channel()


@pytest.mark.parametrize("call, error, says", [
    (lambda: gmprt.go(), TypeError, "func"),
    (lambda: gmprt.go(42), TypeError, "needs a function"),
    (lambda: gmprt.go(print()), TypeError, r"go\(f, x\), not go\(f\(x\)\)"),
    (lambda: gmprt.go(asynchronous), TypeError, "go.asyncio.run, f.x.. runs"),
    (lambda: asynchronous().send(None), RuntimeError, "none runs here: use"),
    (lambda: ch.arecv().send(None), RuntimeError, "none runs here: use"),
    (lambda: ch.asend(1).send(None), RuntimeError, "none runs here: use"),
    (lambda: pickle.dumps(ch), TypeError, "multiprocessing.Queue"),
    (lambda: copy.deepcopy(ch), TypeError, "multiprocessing.Queue"),
    (lambda: pickle.dumps(gmprt.go(len, "x")), TypeError, "its result"),
    (lambda: copy.copy(gmprt.go(len, "x")), TypeError, "its result"),
    (lambda: pickle.dumps(gmprt.Mutex()), TypeError, "of multiprocessing"),
    (lambda: pickle.dumps(gmprt.WaitGroup()), TypeError, "of multiprocessing"),
    (lambda: gmprt.go(len, name=5), TypeError, "str"),
    (lambda: gmprt.go(len, name="a\0b"), ValueError, "null"),
    (lambda: gmprt.Channel("x"), TypeError, "integer"),
    (lambda: gmprt.Channel(1.5), TypeError, "integer"),
    (lambda: gmprt.Channel(-1), ValueError, "negative"),
    (lambda: gmprt.Channel(2**70), OverflowError, "large"),
    (lambda: ch.send(), TypeError, "value"),
    (lambda: ch.recv("x"), TypeError, "number"),
    (lambda: ch.recv(NAN), ValueError, "not a number"),
    (lambda: gmprt.select(5), TypeError, "iterable"),
    (lambda: gmprt.select([(ch,)]), TypeError, "a case of select"),
    (lambda: gmprt.select([(1, 2)]), TypeError, "a case of select"),
    (lambda: gmprt.select([None] * 65537), ValueError, "65536 cases"),
    (lambda: gmprt.select([ch], timeout="x"), TypeError, "number"),
    (lambda: gmprt.sleep(None), TypeError, "number"),
    (lambda: gmprt.sleep(-1), ValueError, "-1 seconds"),
    (lambda: gmprt.sleep(NAN), ValueError, "nan seconds"),
    (lambda: gmprt.after("x"), TypeError, "number"),
    (lambda: gmprt.ticker(0), ValueError, "positive"),
    (lambda: gmprt.Timer(-1, print), ValueError, "-1 seconds"),
    (lambda: gmprt.Timer(1, 5), TypeError, "needs a function"),
    (lambda: gmprt.Semaphore(-1), ValueError, "value"),
    (lambda: gmprt.Semaphore("x"), TypeError, "integer"),
    (lambda: gmprt.Mutex().release(), RuntimeError, "not locked"),
    (lambda: gmprt.RWMutex().release(), RuntimeError, "not locked"),
    (lambda: gmprt.RWMutex().rrelease(), RuntimeError, "not locked"),
    (lambda: gmprt.Condition().wait(), RuntimeError, "not locked"),
    (lambda: gmprt.WaitGroup().done(), ValueError, "negative"),
    (lambda: gmprt.Once().do(5), TypeError, "callable"),
    (lambda: gmprt.GoroutineExecutor(0), ValueError, "greater than 0"),
    (lambda: gmprt.run_in_c("puts"), TypeError, "a function of ctypes"),
    (lambda: gmprt.run_in_c(0), ValueError, "null function"),
    (lambda: gmprt.run_in_c(ctypes.CFUNCTYPE(None)()), ValueError, "null"),
    (lambda: gmprt.go(gmprt.sleep, 0.1).result("x"), TypeError, "number"),
    (lambda: gmprt.go(gmprt.sleep, 0.1).result(0), TimeoutError, "not ended"),
    (lambda: gmprt.go(gmprt._core.shield, False).result(), RuntimeError,
     "no shield to leave"),
    (lambda: gmprt.go(gmprt._core.lock_thread, False).result(), RuntimeError,
     "not locked to its thread"),
    (lambda: gmprt.set_stack_size(1), ValueError, "64 KiB"),
    (lambda: gmprt.maxprocs(-1), ValueError, "maxprocs"),
    (lambda: gmprt.dump("x"), TypeError, "file"),
    (lambda: gmprt.dump(9999), OSError, "descriptor"),
    (lambda: gmprt.trace("/none/x").__enter__(), OSError, "No such file"),
    (lambda: gmprt.trace.save(1), OSError, "Errno"),
    (lambda: gmprt.go(lambda: gmprt.current().join()).result(), RuntimeError,
     "itself"),
    (lambda: ended_group().go(len), RuntimeError, "has ended"),
    (lambda: closed().send(1), gmprt.Closed, "closed"),
    (lambda: closed().try_send(1), gmprt.Closed, "closed"),
    (lambda: closed().recv(), gmprt.Closed, "closed"),
    (lambda: closed().try_recv(), gmprt.Closed, "closed"),
    (lambda: closed().close(), gmprt.Closed, "closed"),
    (lambda: gmprt.select([(closed(), 1)]), gmprt.Closed, "closed"),
])
def test_a_mistake_says_what_it_is(call, error, says):
    with pytest.raises(error, match=says):
        call()


async def asynchronous():
    await gmprt.go(len, "x")


def closed():
    ch = gmprt.Channel(1)
    ch.close()
    return ch


def ended_group():
    with gmprt.Group() as group:
        pass
    return group


def test_go_in_a_handler_of_signals_and_in_a_destructor():
    ch = gmprt.Channel()
    before = signal.signal(
        signal.SIGUSR1, lambda *_: gmprt.go(ch.send, "handler")
    )
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert ch.recv(20) == "handler"
    finally:
        signal.signal(signal.SIGUSR1, before)

    class Last:
        def __del__(self):
            gmprt.go(ch.send, "destructor")

    last = Last()
    last.cycle = last
    del last
    gc.collect()
    assert ch.recv(20) == "destructor"


def test_go_and_waits_at_the_end_of_the_interpreter(run):
    code = """
import atexit
def late():
    for call in (lambda: gmprt.go(len), lambda: g.join(), lambda: ch.recv(9)):
        try:
            call()
        except RuntimeError as error:
            print("shutting down" in str(error))
atexit.register(late)  # called after what gmprt has registered
import gmprt
ch = gmprt.Channel()
g = gmprt.go(ch.recv)
class Last:
    def __del__(self):
        try:
            self.go(len)
        except RuntimeError as error:
            print("shutting down" in str(error))
last = Last()
last.go = gmprt.go
"""
    out = run(code)
    assert (out.stdout, out.returncode) == ("True\n" * 4, 0), out.stderr


def test_a_subinterpreter_is_refused(run):
    code = """
import sys
try:
    import _xxsubinterpreters as sub
except ImportError:
    import _interpreters as sub
code = '''
try:
    import gmprt
except ImportError as error:
    import os
    os.write(1, str(error).encode())
'''
sub.run_string(sub.create(), code)
"""
    out = run(code)
    assert "interpreter" in out.stdout, out.stderr


def test_go_in_the_child_of_a_fork(run):
    code = """
import gmprt, os
ch = gmprt.Channel()
g = gmprt.go(ch.recv)
gmprt.sleep(0.05)
pid = os.fork()
if pid == 0:
    try:
        g.result()
    except gmprt.Lost as error:
        print(error, flush=True)
    print(gmprt.go(lambda: 6 * 7).result(20), flush=True)
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""
    out = run(code)
    lines = out.stdout.splitlines()
    assert lines == ["Channel.recv is in the parent", "42", "0"], out.stderr


def test_what_there_is_says_what_it_is():
    ch, mutex, group = gmprt.Channel(3), gmprt.Mutex(), gmprt.WaitGroup()
    ch.send(1)
    with mutex:
        assert repr(mutex) == "<Mutex locked>"
    group.add(2)
    assert [repr(x) for x in (
        ch, closed(), mutex, gmprt.RWMutex(), group, gmprt.Once(),
        gmprt.Semaphore(2), gmprt.Condition(), gmprt.Group(), ended_group(),
        gmprt.GoroutineExecutor(2),
    )] == [
        "<Channel 1/3>", "<Channel 0/1 closed>", "<Mutex unlocked>",
        "<RWMutex unlocked>", "<WaitGroup 2>", "<Once not done>",
        "<Semaphore 2>", "<Condition unlocked 0 waiting>", "<Group of 0>",
        "<Group of 0 ended>", "<GoroutineExecutor 0 calls>",
    ]
    g = gmprt.go(int, "x", name="fails")
    assert isinstance(g.exception(), ValueError)
    assert re.fullmatch(r"<Goroutine 'fails' \d+ failed: ValueError.*>", repr(g))
    g = gmprt.go(ch.send, 1, name="waits")
    g = gmprt.go(gmprt.Channel().recv, name="waits")
    assert re.fullmatch(r"<Goroutine 'waits' \d+ running>", repr(g))
    g.cancel()
    g.join()
    assert re.fullmatch(r"<Goroutine 'waits' \d+ cancelled>", repr(g))


def test_all_that_is_public_is_documented():
    for name in gmprt.__all__:
        thing = getattr(gmprt, name)
        assert thing.__doc__, name
        if not isinstance(thing, type) or issubclass(thing, BaseException):
            continue
        assert thing.__module__ == "gmprt"
        for method, member in vars(thing).items():
            if not method.startswith("_"):
                assert inspect.getdoc(member), f"{name}.{method}"


def test_the_texts_for_editors_are_those_of_help():
    tree = ast.parse(inspect.getsource(sys.modules["gmprt._channel"]))
    texts = {
        f.name: inspect.cleandoc(ast.get_docstring(f) or "")
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef) and hasattr(gmprt._core.Channel,
                                                      f.name)
    }
    words = {name: text.split() for name, text in texts.items() if text}
    assert set(words) == {"send", "recv", "try_send", "try_recv", "close"}
    for name, text in words.items():
        assert getattr(gmprt.Channel, name).__doc__.split() == text
