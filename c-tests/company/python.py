"""Beside CPython. Usage: python.py LIBRARY WORK.so HOW

While goroutines work: Python's signal handlers, its faulthandler, recursion
that is too deep, threads, and a child. HOW: "none"; "overflow" or "crash", how
a goroutine dies; or "python", a fault in a thread of Python's. With "first-" or
"last-" before that, faulthandler is enabled before or after the library is
loaded.
"""
import ctypes
import faulthandler
import os
import resource
import signal
import subprocess
import sys
import threading
import time

library, work, how = sys.argv[1:]
# Python's handler of faults is there before the library's, or comes after it.
order, _, how = how.rpartition("-")
if order == "first":
    faulthandler.enable()
lib = ctypes.CDLL(work)
lib.begin_all(library.encode())
if order == "last":
    faulthandler.enable()

seen = []
signal.signal(signal.SIGUSR2, lambda *args: seen.append(args))
signal.signal(signal.SIGCHLD, lambda *args: seen.append(args))


def deep(n):
    return deep(n + 1) + 1


def run(times):
    for _ in range(times):
        try:
            deep(0)
            raise SystemExit("no RecursionError")
        except RecursionError:
            pass
        time.sleep(0.001)


threads = [threading.Thread(target=run, args=(20,)) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(20):
    os.kill(os.getpid(), signal.SIGUSR2)
    time.sleep(0.001)
run(5)
for thread in threads:
    thread.join()
child = subprocess.run([sys.executable, "-c", "raise SystemExit(5)"])
assert child.returncode == 5
assert any(args[0] == signal.SIGUSR2 for args in seen)
assert any(args[0] == signal.SIGCHLD for args in seen)
sys.stdout.flush()
if how == "python":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler._sigsegv()
lib.die_by(how.encode())
assert lib.end_all() >= 100
print("both worked")
