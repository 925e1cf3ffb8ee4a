"""multiprocessing by fork, from a process that uses goroutines: Pool.map over
functions that do, and a Queue. usage: LIBGMPRT.so ROUNDS"""

import ctypes
import multiprocessing
import sys
from ctypes import POINTER, byref, c_int, c_size_t, c_void_p

gmp = ctypes.CDLL(sys.argv[1])
FN = ctypes.CFUNCTYPE(None, c_void_p)
gmp.gmp_go_with.argtypes = [c_void_p, FN, c_void_p, POINTER(c_void_p)]
gmp.gmp_join.argtypes = [c_void_p]
gmp.gmp_chan_make.restype = c_void_p
gmp.gmp_chan_make.argtypes = [c_size_t, c_size_t]
gmp.gmp_chan_send.argtypes = [c_void_p, c_void_p]
gmp.gmp_chan_recv.argtypes = [c_void_p, c_void_p]
gmp.gmp_chan_unref.argtypes = [c_void_p]


def square(number):
    """The square of a number, by a goroutine and a channel."""
    there = gmp.gmp_chan_make(ctypes.sizeof(c_int), 0)

    @FN
    def send(_):
        assert gmp.gmp_chan_send(there, byref(c_int(number * number))) == 0

    handle, got = c_void_p(), c_int()
    assert gmp.gmp_go_with(None, send, None, byref(handle)) == 0
    assert gmp.gmp_chan_recv(there, byref(got)) == 0
    assert gmp.gmp_join(handle) == 0
    gmp.gmp_chan_unref(there)
    return got.value


def put(queue, number):
    queue.put(square(number))


def main():
    fork = multiprocessing.get_context("fork")
    assert square(7) == 49
    for _ in range(int(sys.argv[2])):
        with fork.Pool(4) as pool:
            assert pool.map(square, range(20)) == [n * n for n in range(20)]
    queue = fork.Queue()
    workers = [fork.Process(target=put, args=(queue, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    assert sorted(queue.get() for _ in workers) == [0, 1, 4, 9]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert square(8) == 64
    print("ok")


main()
