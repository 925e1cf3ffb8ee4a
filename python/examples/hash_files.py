#!/usr/bin/env python3
"""Hashes files on all cores: hashlib and zlib let the interpreter go while they
compute, so goroutines run them in parallel, as threads do.

usage: hash_files.py [--threads] FILE...

Prints the sha256, the crc32 and the name of each file, in their order. With
--threads a ThreadPoolExecutor does the same, to compare the time.
"""

import hashlib
import os
import sys
import time
import zlib
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import List, Tuple

import gmprt


def hash_file(path: str) -> Tuple[str, int]:
    with open(path, "rb") as file:
        data = file.read()
    return hashlib.sha256(data).hexdigest(), zlib.crc32(data)


def main(paths: List[str]) -> None:
    workers = len(os.sched_getaffinity(0))
    if paths[:1] == ["--threads"]:
        del paths[0]
        executor: Executor = ThreadPoolExecutor(workers)
    else:
        executor = gmprt.GoroutineExecutor(workers)
    if not paths:
        sys.exit(__doc__)
    start = time.monotonic()
    with executor:
        for path, (sha, crc) in zip(paths, executor.map(hash_file, paths)):
            print(f"{sha} {crc:08x} {path}")
    seconds = time.monotonic() - start
    print(f"{len(paths)} files in {seconds:.3f} s", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
