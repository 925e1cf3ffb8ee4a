#!/bin/sh
# Runs test commands one after the other, and adds up their results.
#
#     setup/count.sh DIRECTORY COMMAND...
#
# libtest does not know skipped tests: a test that returns early has passed. So
# a test that cannot run here, or not all of it, writes a line to the file
# $GMPRT_SKIPS: its name, the reason, and the things of setup/need.sh that are
# missing, with tabs between them. This script counts such a test as skipped.
#
# The last line has the sums; the output of the commands is in
# DIRECTORY/test.log. Fails if a command has failed, or if a test was skipped
# and GMPRT_NO_SKIPS=1 is set.
set -u
here=$(dirname "$0")
directory=$1
shift
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
log=$directory/test.log
failures=$directory/test.failures
export GMPRT_SKIPS="$directory/test.skips"
: >"$log" && : >"$failures" && : >"$GMPRT_SKIPS"

for command; do
    { sh -c "$command" 2>&1 || echo "$command" >>"$failures"; } | tee -a "$log"
done

# Prints "failed NAME" for each test that failed, and then the sums.
add_up() {
    awk '
        / Running / {
            binary = $2 == "unittests" ? "lib" : $2
            sub(/.*\//, "", binary)
            sub(/\.rs$/, "", binary)
        }
        /^test .* \.\.\. FAILED$/ { print "failed", binary "::" $2 }
        /^test result:/ { passed += $4; failed += $6; ignored += $8 }
        END { print "sums", passed + 0, failed + 0, ignored + 0 }' "$log"
}

names=$(add_up | sed -n 's/^failed //p')
set -- $(add_up | sed -n 's/^sums //p')
passed=$1 failed=$2 ignored=$3

# A test that skipped a part and then failed counts as failed.
skipped=$(cut -f 1 "$GMPRT_SKIPS" | sort -u | grep -c -v -x -F "$names")
passed=$((passed - skipped))

if [ -n "$names" ]; then
    echo "failed:"
    printf '%s\n' "$names" | sed 's/^/    /'
fi
if [ -s "$GMPRT_SKIPS" ]; then
    echo "skipped:"
    sort -u "$GMPRT_SKIPS" | awk -F '\t' '{ print "    " $1 ": " $2 }'
    things=$(cut -f 3 "$GMPRT_SKIPS" | tr ' ' '\n' | sort -u)
    if [ -n "$things" ]; then
        echo "to have them run, too, paste this line:"
        "$here/need.sh" --line $things
    fi
fi
[ "$ignored" = 0 ] || echo "ignored: the $ignored long ones, of make stress"
verdict=ok
if [ -s "$failures" ]; then
    verdict=FAILED
    sed 's/^/failed command: /' "$failures"
elif [ "$skipped" != 0 ] && [ "${GMPRT_NO_SKIPS:-}" = 1 ]; then
    verdict=FAILED
fi
echo "test result: $verdict. $passed passed; $failed failed;" \
    "$ignored ignored; $skipped skipped" | tee "$directory/test.sum"
[ "$verdict" = ok ]
