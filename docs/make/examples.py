"""Finds an example of each function.

It is the code in the header's comment, or else the shortest function of
docs/examples that calls the function, with the comment above it. The tests
compile all of these, and run those of docs/examples.
"""

import re
from pathlib import Path

FUNCTION = re.compile(
    r"^(/\*(?:(?!\*/).)*\*/\n)?(^[a-z][^\n;{}]*(?:\n [^\n;{}]*)?\)\n\{\n.*?^\}\n)",
    re.M | re.S,
)


def pieces(folder):
    """The functions of the programs: file, and text with its comment."""
    found = []
    for path in sorted(Path(folder).glob("*.c")):
        text = path.read_text()
        # The opening of the file belongs to no function.
        body = text[text.index("*/\n") + 3 :]
        for match in FUNCTION.finditer(body):
            found.append((path.name, (match[1] or "") + match[2]))
    return found


def calls(code, name):
    return re.search(rf"\b{name}\(", code)


class Examples:
    def __init__(self, folder):
        self.pieces = pieces(folder)

    def of(self, entry):
        """The code, and the file that has it, or None."""
        own = [b.text for b in entry.blocks if b.kind == "code"]
        if own:
            return own[0], None
        fitting = [p for p in self.pieces if calls(p[1], entry.name)]
        # What shows the function itself and is not main, which uses all.
        fitting.sort(key=lambda p: (" main(" in p[1], len(p[1])))
        if not fitting:
            return None
        file, code = fitting[0]
        return code.rstrip(), file
