"""Callbacks of ctypes on goroutines, in a process without the package."""

import sys

import pytest

import gmprt

BEGIN = """
import ctypes, os, signal, sys, threading, time
gmp = ctypes.CDLL(sys.argv[1])
fn = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def go(f):
    handle = ctypes.c_void_p()
    gmp.gmp_go_with(None, f, None, ctypes.byref(handle))
    return handle
"""


def test_a_join_runs_no_callback_on_the_main_thread(run):
    code = BEGIN + """
seen = set()
@fn
def callback(_): seen.add(threading.get_ident())
for _ in range(200): gmp.gmp_join(go(callback))
print(bool(seen), threading.get_ident() in seen)
"""
    out = run(code, gmprt.library())
    assert out.stdout == "True False\n", out.stderr


@pytest.mark.skipif(sys.version_info >= (3, 14),
                    reason="takes the thread's stack for the goroutine's")
def test_a_deep_callback_raises_recursion_error(run):
    code = BEGIN + """
x = []
for _ in range(100_000): x = [x]
@fn
def callback(_):
    try:
        repr(x)
    except RecursionError:
        print("RecursionError", flush=True)
gmp.gmp_join(go(callback))
"""
    out = run(code, gmprt.library())
    assert out.stdout == "RecursionError\n", out.stderr
