"""Prints the part of Debian's copyright file that is about the crates.

    licences.py CRATE...

Each CRATE is the folder of one, such as vendor/libc. The licence is what its
Cargo.toml says, and the holders are those that its licence files name. A licence
whose text is known neither here nor to Debian ends the run with an error.
"""

import re
import sys
import tomllib
from pathlib import Path

# SPDX's names that Debian has another one for.
RENAMED = {"MIT": "Expat", "LGPL-2.1-or-later": "LGPL-2.1+"}
# These are in packaging/debian/copyright.
TOLD = {"Expat", "Apache-2.0"}
# What Debian has the text of, by the name of the file.
COMMON = {"MPL-2.0": "MPL-2.0", "LGPL-2.1+": "LGPL-2.1"}
LLVM = "Apache-2.0 with LLVM exception"
# The file of a crate that has the text.
FILES = {
    "0BSD": "LICENSE-0BSD",
    LLVM: "LICENSE-Apache-2.0_WITH_LLVM-exception",
    "BSD-2-Clause": "LICENSE-BSD",
    "Unicode-3.0": "LICENSE-UNICODE",
    "Unlicense": "UNLICENSE",
    "Zlib": "LICENSE-ZLIB.md",
}
# "Copyright (c) 2014 NAME", and neither prose nor Apache's "[yyyy] [name]".
HOLDER = re.compile(
    r"^\W*copyright\s+(?:\(c\)|©|(?=\d{4}))\s*(\w.*[a-z].*?)[\s.]*$", re.I | re.M
)


def expression(spdx):
    """The licences as Debian writes them, and their names."""
    text = re.sub(r"\s*/\s*", " or ", spdx)
    text = re.sub(r"\bOR\b", "or", re.sub(r"\bAND\b", "and", text))
    text = text.replace(" WITH LLVM-exception", " with LLVM exception")
    for name, other in RENAMED.items():
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", other, text)
    # (a or b) and c: a comma does what the brackets do.
    bracket = re.fullmatch(r"\((.*)\) and (.*)", text)
    text = f"{bracket[1]}, and {bracket[2]}" if bracket else text
    return text, re.split(r",? (?:or|and) ", text)


def holders(folder, authors):
    """Who the licence files of a crate name, or else its authors."""
    found = []
    for path in sorted(folder.iterdir()):
        if re.match(r"(un)?licen[sc]e|copy", path.name, re.I) and path.is_file():
            for holder in HOLDER.findall(path.read_text(errors="replace")):
                if holder not in found:
                    found.append(holder)
    return found or authors or [f"The authors of {folder.name}"]


def indented(text):
    lines = (f" {line.rstrip()}" if line.strip() else " ." for line in text)
    return "\n".join(lines)


def main():
    needed = {}
    for folder in map(Path, sys.argv[1:]):
        package = tomllib.loads((folder / "Cargo.toml").read_text())["package"]
        licence, names = expression(package["license"])
        for name in names:
            if name not in TOLD:
                needed.setdefault(name, []).append(folder)
        who = holders(folder, package.get("authors", []))
        print(f"\nFiles: {folder}/*")
        print("Copyright: " + "\n           ".join(who))
        print(f"License: {licence}")
    for name, folders in sorted(needed.items()):
        print(f"\nLicense: {name}")
        if name in COMMON:
            place = f"/usr/share/common-licenses/{COMMON[name]}"
            print(f" On Debian systems, the text of this licence is in\n {place}.")
            continue
        paths = [f / FILES.get(name, "?") for f in folders]
        path = next((p for p in paths if p.exists()), None)
        if path is None:
            sys.exit(f"licences.py: {folders[0]}: no text of {name}")
        text = path.read_text()
        if name == LLVM:
            # Debian has the text of the licence, and wants it to be named only.
            place = "/usr/share/common-licenses/Apache-2.0"
            print(f" On Debian systems, the text of Apache-2.0 is in\n {place}.\n .")
            text = text[text.index("--- LLVM Exceptions") :]
        print(indented(text.strip().splitlines()))


if __name__ == "__main__":
    main()
