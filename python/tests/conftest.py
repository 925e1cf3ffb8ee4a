"""Each test has a time of its own, and may run programs."""

import faulthandler
import os
import signal
import subprocess
import sys

import pytest

# Seconds; a busy machine gets more.
LIMIT = float(os.environ.get("GMPRT_LIMIT", "60"))


@pytest.fixture(autouse=True)
def limit():
    """Ends the process, with all frames, if a test hangs."""
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


class Ended:
    def __init__(self, process, stdout, stderr):
        self.returncode = process.returncode
        self.stdout = stdout
        self.stderr = stderr


def run_program(code, *args, env=None):
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", code, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )
    try:
        return Ended(process, *process.communicate(timeout=LIMIT - 5))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # which prints all frames
        raise AssertionError(f"hangs: {process.communicate()}") from None
    finally:
        process.kill()


@pytest.fixture
def run():
    """run(code, *args, env=None): a program of its own."""
    return run_program
