"""Makes gmprt(1) of what the command itself says with --help.

    command.py COMMAND VERSION OUT
"""

import os
import subprocess
import sys
from pathlib import Path


def help_of(command, *words):
    done = subprocess.run(
        [command, "help", *words], capture_output=True, text=True, check=True
    )
    return done.stdout.rstrip()


def shown(text):
    lines = text.replace("\\", "\\e").replace("-", "\\-").split("\n")
    return [".EX", *["\\&" + line for line in lines], ".EE"]


def main():
    command, version, out = sys.argv[1:]
    whole = help_of(command)
    listed = whole.partition("Commands:\n")[2].partition("\n\n")[0]
    names = [line.split()[0] for line in listed.split("\n")]
    date = os.environ.get("GMPRT_DATE", "")
    lines = [
        ".\\\" Made from `gmprt help` by docs/make/command.py.",
        f'.TH gmprt 1 "{date}" "gmprt {version}" "gmprt"',
        ".SH NAME",
        "gmprt \\- looks at programs with goroutines from outside",
        ".SH SYNOPSIS",
        ".B gmprt",
        ".I COMMAND",
        ".SH DESCRIPTION",
        *shown(whole),
    ]
    for name in names:
        if name != "help":
            lines += [f".SH {name.upper()}", *shown(help_of(command, name))]
    lines += [".SH SEE ALSO", "\\fBgmprt\\fP(7), \\fBgmp_dump\\fP(3)"]
    folder = Path(out) / "man1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gmprt.1").write_text("\n".join(lines) + "\n")


main()
