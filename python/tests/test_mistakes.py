"""Each mistake is a Python exception that says what to do."""

import gc
import os
import signal

import pytest

import gmprt

NAN = float("nan")
ch = gmprt.Channel()


@pytest.mark.parametrize("call, error, says", [
    (lambda: gmprt.go(), TypeError, "func"),
    (lambda: gmprt.go(42), TypeError, "needs a function"),
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
