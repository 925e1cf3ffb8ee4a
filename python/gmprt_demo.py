#!/usr/bin/env python3
"""Two hundred Python callbacks, each on a goroutine of its own, all blocked
in a channel at once; then each gets a number and sends back its square.

usage: gmprt_demo.py [LIBGMPRT.so]
"""

import ctypes
import os
import pathlib
import sys
from ctypes import POINTER, byref, c_int, c_size_t, c_uint64, c_void_p

CALLBACKS = 200
BUILT = pathlib.Path(__file__).parent.parent / "build" / "lib" / "libgmprt.so.0"

# CDLL lets go of the interpreter lock in every call, so that a callback that
# blocks in a channel leaves the interpreter to the others.
gmp = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else str(BUILT))

FN = ctypes.CFUNCTYPE(None, c_void_p)


def declare(name, restype, *argtypes):
    function = getattr(gmp, name)
    function.restype = restype
    function.argtypes = argtypes


def checked(rc):
    """For calls that return 0 or a negative errno."""
    if rc < 0:
        raise OSError(-rc, os.strerror(-rc))
    return rc


declare("gmp_go_with", checked, c_void_p, FN, c_void_p, POINTER(c_void_p))
declare("gmp_join", checked, c_void_p)
declare("gmp_chan_make", c_void_p, c_size_t, c_size_t)
declare("gmp_chan_send", checked, c_void_p, c_void_p)
declare("gmp_chan_recv", checked, c_void_p, c_void_p)
declare("gmp_chan_unref", None, c_void_p)
declare("gmp_goid", c_uint64)


def go(fn):
    """Starts fn on a goroutine; its handle, for gmp_join."""
    handle = c_void_p()
    gmp.gmp_go_with(None, fn, None, byref(handle))
    return handle


def main():
    numbers = gmp.gmp_chan_make(ctypes.sizeof(c_int), 0)
    squares = gmp.gmp_chan_make(ctypes.sizeof(c_int), 0)
    blocked = gmp.gmp_chan_make(1, CALLBACKS)
    goids = set()

    @FN
    def callback(_):
        goids.add(gmp.gmp_goid())
        number = c_int()
        gmp.gmp_chan_send(blocked, b"!")
        gmp.gmp_chan_recv(numbers, byref(number))
        square = c_int(number.value**2)
        gmp.gmp_chan_send(squares, byref(square))

    goroutines = [go(callback) for _ in range(CALLBACKS)]
    for _ in goroutines:  # no number is sent before all ask for one
        gmp.gmp_chan_recv(blocked, None)

    for n in range(CALLBACKS):
        gmp.gmp_chan_send(numbers, byref(c_int(n)))
    got = []
    square = c_int()
    for _ in range(CALLBACKS):
        gmp.gmp_chan_recv(squares, byref(square))
        got.append(square.value)

    # The callback and the interpreter must outlive the goroutine, which is
    # still on its way out when it has sent its result.
    for goroutine in goroutines:
        gmp.gmp_join(goroutine)
    for channel in (numbers, squares, blocked):
        gmp.gmp_chan_unref(channel)

    if sorted(got) != [n**2 for n in range(CALLBACKS)]:
        sys.exit("wrong squares")
    print(f"{len(goids)} callbacks blocked at once, {len(got)} squares right")


if __name__ == "__main__":
    main()
