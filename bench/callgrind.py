#!/usr/bin/env python3
"""Instructions of the hot paths, counted by callgrind.

    bench/callgrind.py                      a table, and instructions.tsv
    bench/callgrind.py yield pingpong       of these operations only
    bench/callgrind.py --functions yield    which functions they are in
    bench/callgrind.py --lines yield        which lines of src/
    bench/callgrind.py --locked yield       of these the locked ones
    bench/callgrind.py --cpp pingpong       by the header for C++
    bench/callgrind.py --co pingpong        by coroutines of that header

An operation of bench/callgrind/ops.c runs with N and with 2N rounds, on one
P; the difference, divided by N, is the price of a round: start and end of the
process cancel out. sysmon, which runs by the clock, does not count. All of it
is done twice, and both must agree within 1 %, but where host threads sleep,
and where objects are searched for.

Counted for each machine instruction, from whose address follows the rest: the
function and the line (by the debug information, and not by callgrind's view of
calls, which stack switches confuse), and what it is. "locked" are atomic
read-modify-writes, which cost as much as twenty others; "clock" are looks at
the clock, a system call below valgrind and some 20 ns without.

Another build of the library to compare with: --lib FOLDER, --base TSV.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "bench/callgrind"
BUILD = ROOT / "build/bench/callgrind"
RESULTS = ROOT / "build/bench/results"
# All operations divide 16,000 evenly among their goroutines.
UNIT = 16_000
ROUNDS = 2 * UNIT
# Where a mutex is handed over after a millisecond, only many say how often.
MORE = {"mutex8_yield": 4}
AGREE = 0.01
# How often threads sleep and wake is not the same in any two runs, nor how long
# the loader searches for an object by an address.
UNSTEADY = {"host_spawn_join", "panic_recover"}
# The machine's thread that watches by the clock.
SYSMON = "gmprt::sched::sysmon::sysmon"

# Where an instruction is: its object file and its address there.
Place = tuple[str, int]
Counts = collections.Counter[Place]


# --- Building and running ---------------------------------------------------

def build(lib: Path, folder: Path, cpp: str) -> Path:
    """Compiles the operations against a copy of the library in `lib`: another
    may be built there meanwhile."""
    program = folder / "ops"
    shutil.copy(lib / "libgmprt.so", folder / "libgmprt.so.0")
    (folder / "libgmprt.so").symlink_to("libgmprt.so.0")
    if cpp:
        standard = "c++20" if cpp == "co" else "c++17"
        compiler = [os.environ.get("CXX", "c++"), f"-std={standard}"]
        sources = [f"{SOURCES}-{cpp}/ops.cc"]
    else:
        compiler = [os.environ.get("CC", "cc"), "-std=c11"]
        sources = sorted(map(str, SOURCES.glob("*.c")))
    subprocess.run(
        [*compiler, "-O2", "-g", "-D_GNU_SOURCE",
         f"-I{ROOT / 'include'}", *sources, "-o", str(program),
         f"-L{folder}", "-lgmprt"],
        check=True)
    return program


def environment(folder: Path) -> dict[str, str]:
    """One P, which nobody takes away by the clock."""
    return os.environ | {"LD_LIBRARY_PATH": str(folder), "GMP_MAXPROCS": "1",
                         "GMPDEBUG": "handoff=0"}


def operations(program: Path, env: dict[str, str]) -> list[str]:
    out = subprocess.run([program, "list"], env=env, check=True, text=True,
                         stdout=subprocess.PIPE)
    return out.stdout.split()


class Failed(Exception):
    """An operation ended with an error."""


def run(program: Path, env: dict[str, str], operation: str,
        rounds: int) -> Counts:
    """How often each instruction runs in `rounds` rounds."""
    out = program.parent / "out"
    for old in out.parent.glob("out*"):
        old.unlink()
    command = ["valgrind", "--tool=callgrind", "--dump-instr=yes",
               "--separate-threads=yes", "--fair-sched=yes",
               f"--callgrind-out-file={out}", str(program), operation,
               str(rounds)]
    done = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.returncode}\n{done.stdout}")
    total: Counts = collections.Counter()
    # One file for each thread.
    for file in out.parent.glob("out-*"):
        counts = parse(file)
        if not any(function(place) == SYSMON for place in counts):
            total.update(counts)
    return total


def tried(program: Path, env: dict[str, str], operation: str,
          rounds: int) -> Counts:
    """The same; again where the machine was too slow for the sleepers."""
    for _ in range(2):
        try:
            return run(program, env, operation, rounds)
        except Failed:
            pass
    return run(program, env, operation, rounds)


def parse(file: Path) -> Counts:
    """Reads callgrind's format: self costs by address."""
    counts: Counts = collections.Counter()
    objects: dict[str, str] = {}
    current, address, skip = "?", 0, False
    for line in file.open():
        if line.startswith(("ob=", "cob=")):
            # A name comes with its number once.
            number, _, name = line.split("=", 1)[1].strip().partition(" ")
            name = objects.setdefault(number, name)
            if line.startswith("ob="):
                current = name
        elif line.startswith("calls="):
            skip = True
        elif line[0] in "0+-*":
            where, _, cost = line.split()
            if where.startswith("0x"):
                address = int(where, 16)
            elif where != "*":
                address += int(where)
            # After calls=, the costs of what is called: not ours.
            if not skip:
                counts[current, address] += int(cost)
            skip = False
    return counts


# --- What is at an address --------------------------------------------------

@functools.cache
def symbols(obj: str) -> list[tuple[int, int, str]]:
    """The functions of an object file: address, end, name."""
    found: dict[int, tuple[int, str]] = {}
    for flags in ["-SC"], ["-SC", "-D"]:
        out = subprocess.run(["nm", *flags, obj], text=True,
                             stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL).stdout
        for line in out.splitlines():
            match = re.match(r"(\w+) (\w+) [tTwWiV] (.*)", line)
            if match:
                name = re.sub(r"::h[0-9a-f]{16}$|@.*", "", match[3])
                start = int(match[1], 16)
                found.setdefault(start, (start + int(match[2], 16), name))
    return sorted((start, *rest) for start, rest in found.items())


@functools.cache
def function(place: Place) -> str:
    """The function that an instruction is in, after inlining."""
    obj, address = place
    at = bisect.bisect_right(symbols(obj), (address, sys.maxsize, ""))
    if at:
        _, end, name = symbols(obj)[at - 1]
        if address < end:
            return name
    return f"? of {Path(obj).name}"


@functools.cache
def kinds(obj: str) -> dict[int, str]:
    """The instructions of an object file that are not like others."""
    found: dict[int, str] = {}
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", obj],
                         text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL).stdout
    for line in out.splitlines():
        match = re.match(r"\s*([0-9a-f]+):\t(.*)", line)
        if not match:
            continue
        address = int(match[1], 16)
        if re.match(r"lock |xchg .*\(", match[2]):
            found[address] = "locked"
        elif match[2].startswith("syscall"):
            clock = "clock_gettime" in function((obj, address))
            found[address] = "clock" if clock else "syscalls"
    return found


def sources(places: list[Place]) -> dict[Place, tuple[str, str]]:
    """Function and line of src/ for each address: where it was inlined from,
    and for other objects the function only."""
    result = {p: (function(p), Path(p[0]).name) for p in places}
    objects = {obj for obj, _ in places if "libgmprt" in obj}
    for obj in objects:
        addresses = [a for o, a in places if o == obj]
        out = subprocess.run(
            ["addr2line", "-aifC", "-e", obj], text=True, check=True,
            input="\n".join(map(hex, addresses)), stdout=subprocess.PIPE)
        for block in re.split(r"^0x", out.stdout, flags=re.M)[1:]:
            lines = block.splitlines()
            frames = list(zip(lines[1::2], lines[2::2]))
            ours = next((f for f in frames if in_src(f[1])), None)
            if ours:
                name = re.sub(r"::h[0-9a-f]{16}$|<.*", "", ours[0])
                where = (name.split("::")[-1], in_src(ours[1]))
                result[obj, int(lines[0], 16)] = where
    return result


def in_src(line: str) -> str:
    """`src/…:12` of the path of a file of ours, else nothing."""
    match = re.search(r"(?:^|/)((?:src|asm)/[^ ]*:[\d?]+)", line)
    ours = match and not line.startswith(("/rustc", "/root/.cargo"))
    return match[1] if match and ours and (ROOT / match[1].split(":")[0]
                                           ).exists() else ""


# --- What is told -----------------------------------------------------------

@dataclass
class Price:
    """What a round costs."""

    operation: str
    each: dict[Place, float]
    spread: float
    total: float = field(init=False)

    def __post_init__(self) -> None:
        self.total = sum(self.each.values())

    def of_library(self) -> float:
        return sum(n for p, n in self.each.items() if "libgmprt" in p[0])

    def of_kind(self, kind: str) -> float:
        some = sum(n for p, n in self.each.items()
                   if kinds(p[0]).get(p[1]) == kind)
        # Start and end differ by a few from run to run.
        return max(some, 0.0)

    def row(self) -> list[str]:
        return [self.operation, f"{self.total:.1f}",
                f"{self.of_library():.1f}", f"{self.of_kind('locked'):.2f}",
                f"{self.of_kind('syscalls'):.3f}",
                f"{self.of_kind('clock'):.3f}", f"{self.spread:.4f}"]


COLUMNS = ["operation", "instructions", "library", "locked", "syscalls",
           "clock", "spread"]


def measure(program: Path, env: dict[str, str], operation: str, rounds: int,
            times: int) -> Price:
    """The price of a round, from the run with the smallest total."""
    found: list[dict[Place, float]] = []
    rounds *= MORE.get(operation, 1)
    for _ in range(times):
        few = tried(program, env, operation, rounds)
        many = tried(program, env, operation, 2 * rounds)
        many.subtract(few)
        found.append({p: n / rounds for p, n in many.items() if n})
    totals = [sum(f.values()) for f in found]
    least = min(range(times), key=totals.__getitem__)
    return Price(operation, found[least], max(totals) / min(totals) - 1)


def table(prices: list[Price], base: dict[str, float]) -> None:
    print(f"{'operation':16} {'instr':>8} {'library':>8} {'locked':>7} "
          f"{'syscalls':>8} {'clock':>6} {'spread':>7}" +
          ("    base  ratio" if base else ""))
    for p in prices:
        line = (f"{p.operation:16} {p.total:8.1f} {p.of_library():8.1f} "
                f"{p.of_kind('locked'):7.2f} {p.of_kind('syscalls'):8.3f} "
                f"{p.of_kind('clock'):6.3f} {p.spread:7.2%}")
        if p.operation in base:
            was = base[p.operation]
            line += f" {was:7.1f} {p.total / was:6.3f}"
        print(line)


def breakdown(price: Price, view: str, top: int) -> None:
    """Where the instructions of a round are: by functions, by lines, or by
    lines those that are locked."""
    where = sources(list(price.each))
    sums: collections.Counter[str] = collections.Counter()
    locked: collections.Counter[str] = collections.Counter()
    for place, n in price.each.items():
        name, line = where[place]
        line = line.split(":")[0] if view == "functions" else line
        key = f"{line:30} {name}"
        sums[key] += n
        if kinds(place[0]).get(place[1]) == "locked":
            locked[key] += n
    print(f"\n{price.operation}: {price.total:.1f} instructions, by {view}\n"
          f"{'instr':>8} {'share':>6} {'locked':>6}")
    order = locked if view == "locked" else sums
    for key, n in order.most_common(top):
        if n < 0.005:
            break
        mark = f"{locked[key]:6.2f}" if locked[key] else " " * 6
        share = sums[key] / price.total
        print(f"{sums[key]:8.1f} {share:6.1%} {mark}  {key}")


def read_base(file: Path) -> dict[str, float]:
    rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
    return {row[0]: float(row[1]) for row in rows}


def write(prices: list[Price], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [COLUMNS] + [p.row() for p in prices]
    file.write_text("".join("\t".join(row) + "\n" for row in rows))


VIEWS = {"functions": "the functions that an operation is in",
         "lines": "the lines of src/ that it is in",
         "locked": "the lines with locked instructions"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("operations", nargs="*")
    for view, text in VIEWS.items():
        parser.add_argument(f"--{view}", metavar="OP", action="append",
                            default=[], help=text)
    parser.add_argument("--top", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=ROUNDS,
                        help=f"N, a multiple of {UNIT}")
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--lib", type=Path, default=ROOT / "build/lib",
                        help="the folder of libgmprt.so")
    parser.add_argument("--base", type=Path, help="an older table")
    for name in ("cpp", "co"):
        parser.add_argument(f"--{name}", dest="cpp", action="store_const",
                            const=name, default="",
                            help=f"the operations of bench/callgrind-{name}")
    parser.add_argument("--out", type=Path,
                        default=RESULTS / "instructions.tsv")
    return parser.parse_args()


def count(args: argparse.Namespace, program: Path,
          env: dict[str, str]) -> int:
    """Does what the arguments say."""
    base = read_base(args.base) if args.base else {}
    views = {view: getattr(args, view) for view in VIEWS}
    looked_at = sum(views.values(), [])
    known = operations(program, env)
    wanted = args.operations or looked_at or known
    unknown = set(wanted + looked_at) - set(known)
    if unknown:
        sys.exit(f"no such operation: {' '.join(sorted(unknown))}")
    prices: dict[str, Price] = {}
    failed: list[str] = []
    for op in dict.fromkeys(wanted + looked_at):
        try:
            prices[op] = measure(program, env, op, args.rounds, args.times)
        except Failed as e:
            failed.append(op)
            print(e, file=sys.stderr)
    table(list(prices.values()), base)
    for view, ops in views.items():
        for op in filter(prices.__contains__, ops):
            breakdown(prices[op], view, args.top)
    if not looked_at:
        write(list(prices.values()), args.out)
    unsure = [op for op, p in prices.items()
              if p.spread > AGREE and op not in UNSTEADY]
    if unsure:
        print(f"runs differ by over {AGREE:.0%}: {' '.join(unsure)}",
              file=sys.stderr)
    return 1 if unsure or failed else 0


def main() -> int:
    args = arguments()
    if args.rounds % UNIT:
        sys.exit(f"--rounds: not a multiple of {UNIT}")
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: please install it")
    lib = args.lib.resolve()
    BUILD.mkdir(parents=True, exist_ok=True)
    # A folder of its own, so that several may run beside one another.
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        program = build(lib, folder, args.cpp)
        return count(args, program, environment(folder))


if __name__ == "__main__":
    sys.exit(main())
