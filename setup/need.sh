#!/bin/sh
# The tools that a machine needs, and their installation: for the Makefile, the
# CI and the tests.
#
#     setup/need.sh THING... [-- WISH...]  installs them if they are missing
#     setup/need.sh --missing THING...     prints the missing ones
#     setup/need.sh --line THING...        prints the line that installs them
#
# A THING or WISH is a command, a header that the C compiler finds, a library of
# a sanitizer, or a package for Python, which lands in build/venv. For root on
# Debian the first form installs them. For any other user, and if the
# installation fails, it prints the one line to paste. It fails if a THING is
# then missing; without a WISH the caller goes on and reports it. It also fails
# if CC compiles for a system that the library is not for.
#
# With SETUP=look nothing is installed, for root neither.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)

# The Debian packages, each with the things that it brings.
table='
gcc                     cc gcc libasan.so libtsan.so liblsan.so
binutils                ar ld nm objcopy readelf
libc6-dev               stdio.h
g++                     c++ g++
abigail-tools           abidw
chromium                chromium
clang                   clang clang++
cmake                   cmake
curl                    curl
debhelper               dh
debootstrap             debootstrap
dh-python               dh_python3
default-jre-headless    java
faketime                faketime
gdb                     gdb
git                     git
golang-go               go
libboost-fiber-dev      boost/fiber/all.hpp
libclang-rt-dev         libclang_rt.tsan-x86_64.a
libcurl4-openssl-dev    curl/curl.h
libgc-dev               gc/gc.h
libgmp-dev              gmp.h
libmimalloc-dev         mimalloc.h
libsqlite3-dev          sqlite3.h
lintian                 lintian
llvm                    llvm-symbolizer
man-db                  mandb
meson                   meson
musl-tools              musl-gcc
ninja-build             ninja
nodejs                  node
pkg-config              pkg-config
python3                 python3
python3-dbg             python3-dbg
python3-dev             Python.h
python3-markdown-it     python3-markdown-it
python3-venv            anyio ipython markdown-it mypy perfetto pyright pytest setuptools
redis-tools             redis-check-rdb
util-linux              taskset
valgrind                valgrind
wrk                     wrk
'

# Prints the package that brings $1; nothing if Debian has none.
package_of() {
    printf '%s' "$table" | while read -r package things; do
        case " $things " in *" $1 "*) echo "$package" ;; esac
    done
}

# The packages for Python, and the versions that are wanted.
wheels='
markdown-it-py==3.0.0   markdown-it
perfetto==0.59.1        perfetto
setuptools==80.9.0      setuptools
pytest==8.3.5           pytest
mypy==1.15.0            mypy
anyio==4.9.0            anyio
ipython==8.37.0         ipython
pyright==1.1.414        pyright
'
venv=$root/build/venv

# Prints the package for Python that brings $1; nothing if it is none.
wheel_of() {
    printf '%s' "$wheels" | while read -r wheel thing; do
        [ "$1" != "$thing" ] || echo "$wheel"
    done
}

# The required version of Rust, and a test whether the cargo $1 has it.
rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
has_rust() {
    version=$("$1" --version 2>/dev/null | awk '{ print $2 }')
    [ -n "$version" ] && [ "$rust" = "$(
        printf '%s\n' "$rust" "$version" | sort -V | head -n 1)" ]
}

has() {
    case $1 in
    libclang_rt*) [ -e "$(clang -print-runtime-dir 2>/dev/null)/$1" ] ;;
    lib*.so) gcc -print-file-name="$1" 2>/dev/null | grep -q / ;;
    Python.h) python3 -c 'import os, sysconfig
os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ;;
    *.h) echo "#include <$1>" | ${CC:-cc} -E -x c - >/dev/null 2>&1 ;;
    *.hpp) echo "#include <$1>" | ${CXX:-c++} -E -x c++ - >/dev/null 2>&1 ;;
    *cargo) has_rust "$1" ;;
    perfetto) "$venv/bin/python" -c \
        'import perfetto.protos.perfetto.trace.perfetto_trace_pb2' \
        2>/dev/null ;;
    setuptools) "$venv/bin/python" -c \
        'import setuptools as s; int(s.__version__.split(".")[0]) > 76 or s.x' \
        2>/dev/null ;;
    anyio | mypy | pyright | pytest) "$venv/bin/python" -c "import $1" \
        2>/dev/null ;;
    ipython) "$venv/bin/python" -c 'import IPython' 2>/dev/null ;;
    markdown-it) "$venv/bin/python" -c 'import markdown_it' 2>/dev/null ;;
    python3-markdown-it) /usr/bin/python3 -c 'import markdown_it' \
        2>/dev/null ;;
    python3) python3 -c 'import ctypes' 2>/dev/null ;; # not in the smallest
    *) command -v "${1%% *}" >/dev/null 2>&1 ;;
    esac
}

missing() {
    for thing; do
        has "$thing" || printf '%s\n' "${thing%% *}"
    done
}

packages() {
    for thing; do
        package_of "$thing"
    done | sort -u
}

# Prints the line to paste, and one more for each thing without a package.
line() {
    packages=$(packages "$@" | tr '\n' ' ')
    command="apt-get update && apt-get install -y ${packages% }"
    if [ -z "$packages" ]; then
        :
    elif ! command -v apt-get >/dev/null; then
        echo "    # what Debian calls ${packages% }"
    elif [ "$(id -u)" = 0 ]; then
        echo "    $command"
    elif command -v sudo >/dev/null; then
        echo "    sudo sh -c '$command'"
    else
        echo "    su -c '$command'"
    fi
    for thing; do
        wheel=$(wheel_of "$thing")
        [ -z "$wheel" ] || echo "    python3 -m venv build/venv &&" \
            "build/venv/bin/pip install $wheel"
    done
    for thing; do
        case $thing in
        *cargo) echo "    # Rust $rust or newer, which comes with rustup" ;;
        *) [ -n "$(package_of "$thing")" ] || echo "    # $thing" ;;
        esac
    done
}

# --- Installing ---------------------------------------------------------------

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
        -o DPkg::Lock::Timeout=120 "$@" \
        </dev/null >>"$log" 2>&1
}

# Fetches the lists of packages only if needed. If the packages cannot be
# installed together, installs as many as possible.
install() {
    [ -n "$*" ] || return
    log=$(mktemp)
    echo "setup: installing $*"
    if ! apt install "$@"; then
        fresh=yes
        apt -o APT::Update::Error-Mode=any update || fresh=
        if ! apt install "$@" && [ -n "$fresh" ]; then
            for package; do
                apt install "$package"
            done
        fi
    fi
    [ -z "$(missing $lacking)" ] || grep '^E:' "$log" | sort -u | head -n 3 >&2
    rm -f "$log"
}

# Fetches the packages for Python, which needs no root.
fetch() {
    for thing; do
        wheel=$(wheel_of "$thing")
        [ -n "$wheel" ] || continue
        echo "setup: fetching $wheel"
        python3 -m venv "$venv" >/dev/null 2>&1 &&
            "$venv/bin/python" -m pip --disable-pip-version-check install \
                --quiet --retries 5 --timeout 20 "$wheel" >/dev/null 2>&1
    done
}

# Refuses a compiler that makes programs for another system than the library's,
# before cargo or the assembler fails at some detail. build.rs does the same for
# Rust's target.
system='
#if __has_include(<features.h>)
#include <features.h>
#endif
#if !defined __x86_64__ || defined __ILP32__ || !defined __linux__ || \
    !defined __GLIBC__ && __has_include(<features.h>)
#error another system
#endif'
refuse_others() {
    set -- ${CC:-cc}
    command -v "$1" >/dev/null || return 0
    printf '%s\n' "$system" | "$@" -E -x c - >/dev/null 2>&1 && return 0
    echo "setup: gmprt is for x86-64 Linux with glibc, and $* compiles for" \
        "another system: take another compiler with make CC=NAME" >&2
    return 1
}

make_sure() {
    refuse_others || return 1
    needs= wishes= wished=
    for thing; do
        if [ "$thing" = -- ]; then
            wished=yes
        elif ! has "$thing" && [ -n "$wished" ]; then
            wishes="$wishes ${thing%% *}"
        elif ! has "$thing"; then
            needs="$needs ${thing%% *}"
        fi
    done
    lacking="$needs $wishes"
    [ -n "${lacking# }" ] || return 0
    if [ "${SETUP:-}" != look ]; then
        fetch $lacking
        needs=$(missing $needs)
        lacking=$(missing $lacking)
    fi
    if [ -n "$lacking" ] && [ "$(id -u)" = 0 ] && [ "${SETUP:-}" != look ] &&
        command -v apt-get >/dev/null; then
        install $(packages $lacking)
        fetch $lacking
        needs=$(missing $needs)
        lacking=$(missing $lacking)
    fi
    [ -n "$lacking" ] || return 0
    {
        echo "setup: not here:" $lacking
        echo "setup: to install it, paste this line:"
        line $lacking
        if [ -z "${needs# }" ]; then
            echo "setup: going on without; what needs it is left out"
        fi
    } >&2
    [ -z "${needs# }" ]
}

case ${1:-} in
--missing) shift && missing "$@" ;;
--line) shift && line "$@" ;;
*) make_sure "$@" ;;
esac
