#!/bin/sh
# The linker of the shared library, as rustc sees it: gives each symbol its
# version, which rustc cannot, and calls the C compiler.
#
# rustc lists the exported symbols in a file for the linker. Here each gets the
# version that packaging/debian/libgmprt0.symbols has for it, and a new one that
# of Cargo.toml. So a program that needs a newer library hears so from the
# loader, and each of two libraries in one process is asked for its own symbols.
#
# Rejected: a second list beside rustc's. One linker takes the first of the two,
# and another one refuses them.
set -eu
export LC_ALL=C
root=$(dirname "$0")/..
new=$(sed -n 's/^version = "\([0-9]*\.[0-9]*\).*/\1/p' "$root/Cargo.toml" |
    head -n 1)
list=
for argument; do
    case $argument in *--version-script=*) list=${argument#*=} ;; esac
done
if [ -n "$list" ]; then
    awk -v new="GMPRT_$new" '
        FNR == NR { if (split($1, s, "@") == 2) version[s[1]] = s[2]; next }
        /^ *[A-Za-z0-9_]+;$/ {
            gsub(/[ ;]/, "")
            print ($0 in version ? version[$0] : new), $0
        }
    ' "$root/packaging/debian/libgmprt0.symbols" "$list" | sort -V | awk '
        $1 != now { if (now) print "}" before ";"; before = now ? " " now : ""
                    now = $1; print now " {\n  global:" }
        { print "    " $2 ";" }
        END { print "  local: *;\n}" before ";" }
    ' >"$list.versions"
    mv "$list.versions" "$list"
fi
# As in make and in the crate cc: a name, and perhaps words for the compiler.
exec ${CC:-cc} "$@"
