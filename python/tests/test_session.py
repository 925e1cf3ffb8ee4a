"""An interactive session at a terminal: top-level, repeated, interrupted."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from conftest import LIMIT

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|[\r\x01\x02]")


class Terminal:
    """A program at a terminal of its own, where Ctrl-C is a key."""

    def __init__(self, *argv, **env):
        self.master, slave = pty.openpty()
        self.seen = ""
        self.at = 0
        env = {**os.environ, **env, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def expect(self, text):
        """Reads until the program has written it, after what was found last."""
        end = time.monotonic() + LIMIT - 10
        while True:
            clean = ESCAPES.sub("", self.seen)
            found = clean.find(text, self.at)
            if found >= 0:
                self.at = found + len(text)
                return
            left = end - time.monotonic()
            if left < 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"no {text!r} in {clean!r}")
            try:
                self.seen += os.read(self.master, 65536).decode()
            except OSError:
                raise AssertionError(f"ended: no {text!r} in {clean!r}")

    def type(self, text):
        os.write(self.master, text.encode())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


# Each line says "wa" "its" when it begins to wait, which its echo does not.
WAITS = [
    "ch.recv()", "g.result()", "gmprt.sleep(1000)", "gmprt.select([ch])",
    "mutex.acquire()",
]


def session(terminal, prompt):
    def line(text, answer=None):
        terminal.expect(prompt)
        terminal.type(text + "\n")
        if answer is not None:
            terminal.expect(answer)

    line("import gmprt, signal")
    line("signal.signal(signal.SIGINT, signal.default_int_handler)", "andler")
    line("ch, mutex = gmprt.Channel(), gmprt.Mutex(); _ = mutex.acquire()")
    line("g = gmprt.go(ch.recv, name='stays')")
    for call in WAITS:
        line(f"print('wa' 'its'); {call}", "waits")
        time.sleep(0.1)  # the call begins
        terminal.type("\x03")
        terminal.expect("KeyboardInterrupt")
    line("g", "<Goroutine 'stays' ")  # an interrupt is nobody else's
    line("g.done()", "False")
    for n in range(5, 8):
        line(f"gmprt.go(lambda: {n} * 1111).result()", str(n * 1111))
    line("ch.send('hello'); g.result()", "'hello'")
    line("gmprt.go(lambda: 1 / 0).result()", "ZeroDivisionError")
    line("help(ch.recv)", "Receives; Closed once")
    return line


def test_python_at_a_terminal():
    with Terminal(sys.executable, "-q", "-i") as terminal:
        line = session(terminal, ">>> ")
        line("exit()")
        # 3.14 says so if an interrupt was not caught.
        assert terminal.process.wait(LIMIT) in (0, -signal.SIGINT)


def test_ipython_at_a_terminal(tmp_path):
    pytest.importorskip("IPython")
    with Terminal(
        sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner",
        "--colors=NoColor", "--HistoryManager.enabled=False",
        "--no-confirm-exit", IPYTHONDIR=str(tmp_path),
    ) as terminal:
        line = session(terminal, "]: ")
        line("await gmprt.go(lambda: 6 * 7)", "42")
        line("box = gmprt.Channel(1); await box.asend('x'); await box.arecv()",
             "'x'")
        line("print('wa' 'its'); await gmprt.go(ch.recv)", "waits")
        time.sleep(0.1)
        terminal.type("\x03")
        terminal.expect("KeyboardInterrupt")
        line("await gmprt.go(lambda: 6 * 9)", "54")
        line("exit")
        assert terminal.process.wait(LIMIT) == 0
