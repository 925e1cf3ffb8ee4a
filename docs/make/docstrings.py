"""The reference of C++ and of Python, as Markdown: what the comments of gmprt.hpp
and the docstrings of the package say, each with its declaration."""

import ast
import re
import textwrap

# --- Python -------------------------------------------------------------------


def signature(node, within=None):
    """A function's line, without the annotation of self."""
    text = ast.unparse(node.args)
    text = re.sub(r"^(self|cls)(, )?", "", text) if within else text
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    kind = "async def " if isinstance(node, ast.AsyncFunctionDef) else "def "
    return f"{kind}{node.name}({text}){result}"


def members(body):
    """The functions of a class, those for type checkers too."""
    for node in body:
        if isinstance(node, ast.If):
            yield from members(node.body)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def constructor(name, node):
    """How one makes an object of a class."""
    text = signature(node, name).removeprefix("def __init__")
    return name + text.removesuffix(" -> None")


def inherited(node, found):
    """The functions of a class, and those of its bases that are for the package
    alone."""
    seen = set()
    for part in [node, *(found.get(ast.unparse(b)) for b in node.bases)]:
        if part is not node and not (part and part.name.startswith("_")):
            continue
        for member in members(part.body):
            if member.name not in seen:
                seen.add(member.name)
                yield member


def told(node):
    """A docstring as Markdown; its examples are code."""
    text = re.sub(r":\w+:(?=`)", "", ast.get_docstring(node) or "")
    return re.sub(
        r"((?:^ *(?:>>>|\.\.\.).*\n?(?:^ *[^\s>.].*\n?)*)+)",
        lambda m: "```python\n" + textwrap.dedent(m[1]).rstrip() + "\n```\n",
        text,
        flags=re.M,
    ) if ">>>" in text else text


def python(root):
    """The page of the package gmprt."""
    folder = root / "python/src/gmprt"
    opening = ast.parse((folder / "__init__.py").read_text())
    listed = next(
        ast.literal_eval(node.value)
        for node in opening.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    found, made = {}, {}
    # What is in C is told of first, by a file for type checkers.
    for path in sorted(folder.glob("*.py*"), key=lambda p: (p.suffix == ".py", p)):
        for node in ast.parse(path.read_text()).body:
            for member in members(getattr(node, "body", [])):
                if member.name == "__init__":
                    made[node.name] = constructor(node.name, member)
            if hasattr(node, "name") and (ast.get_docstring(node) or
                                          node.name not in found):
                found[node.name] = node
    lines = ["# Python's classes and functions", ""]
    lines += ["[The guide](python.html) introduces them.", ""]
    listed = sorted(listed, key=str.lower)
    lines += [", ".join(f"[{n}](#gmprt{n.lower()})" for n in listed), ""]
    for name in listed:
        node = found[name]
        lines += [f"## gmprt.{name}", "", "```python"]
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            bases = ", ".join(b for b in bases if not b.startswith("_"))
            lines += [f"class {name}({bases})" if bases else f"class {name}"]
            by_hand = name in made and "Made by" not in told(node)
            lines += [made[name]] if by_hand else []
            lines += ["```", "", told(node), ""]
            for member in inherited(node, found):
                text = told(member)
                if text and not member.name.startswith("_"):
                    code = signature(member, name)
                    lines += ["```python", code, "```", "", text, ""]
        else:
            lines += [signature(node), "```", "", told(node), ""]
    return "\n".join(lines)


# --- C++ ----------------------------------------------------------------------


def code_of(line):
    """A line without comments and texts, whose braces do not count."""
    line = re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'', '""', line)
    return re.sub(r"//.*", "", line)


def declaration(lines):
    """The declaration that begins here: up to its body, initialisers or end."""
    text = ""
    for line in lines:
        if line.startswith("#"):
            continue
        text += code_of(line) + "\n"
        depth = 0
        for n, c in enumerate(text):
            depth += (c in "(<") - (c in ")>")
            if c in "{;" or c == ":" and depth == 0 and text[n + 1] in " \n" and (
                text[n - 1] != ":" and ")" in text[:n]
            ):
                return text[:n]
    return text


def without_templates(text):
    """A declaration without `template <...>`, whose brackets nest."""
    while match := re.match(r"\s*template\s*<", text):
        depth, end = 1, match.end()
        while depth:
            depth += {"<": 1, ">": -1}.get(text[end], 0)
            end += 1
        text = text[end:]
    return text


def name_of(text):
    text = without_templates(re.sub(r"\[\[.*?\]\]|GMPRT_\w+(\([^)]*\))?", "", text))
    for pattern in (
        r"^\s*(?:class|struct|namespace|enum class|enum|concept)\s+(\w+)",
        r"^\s*using\s+(\w+)",
        r"(operator\s*(?:\(\)|[^\s(]+|\w+))\s*\(",
        r"(~?\w+)\s*\(",
        r"(\w+)(?:<[^>]*>)?\s*(?:=|$)",
    ):
        if found := re.search(pattern, text):
            return found[1]
    return ""


def tidy(text):
    text = re.sub(r"\s*GMPRT_\w+(\([^)]*\))?", "", text)
    text = re.sub(r"\binline |\bconstexpr (?=explicit)", "", text)
    text = re.sub(r",\s*std::enable_if_t<.*?, int> = 0(?=>)", "", text, flags=re.S)
    return textwrap.dedent(text).strip()


# Bases in `detail` whose members are those of a public class.
SHOWN = {"sends": "sender", "receives": "receiver"}


class Scan:
    """Goes through gmprt.hpp: what each comment with three strokes is about."""

    def __init__(self, text):
        self.lines = text.splitlines()
        self.scopes = []  # depth of braces, name, and whether it is public
        self.depth = 0
        self.section = None
        self.entries = {}  # section: name: declarations and texts
        self.run()

    def hidden(self):
        shown = [n for n, scope in enumerate(self.scopes) if scope[1] in SHOWN]
        scopes = self.scopes[shown[0] :] if shown else self.scopes
        return any(not public for _, _, public in scopes)

    def scope(self, line):
        """Notes braces that begin and end, and access."""
        code = code_of(line)
        if access := re.match(r"\s*(public|private|protected):", code):
            depth, name, _ = self.scopes[-1]
            self.scopes[-1] = depth, name, access[1] == "public"
        opens = re.match(
            r"\s*(?:template.*>\s*)?(class|struct|namespace)\s+"
            r"(?:GMPRT_\w+(?:\([^)]*\))?\s+)?(?:\[\[\w+\]\]\s*)?(\w+)[^;]*$",
            code,
        )
        if opens:
            self.coming = opens[1], opens[2]
        for c in code:
            if c == "{":
                self.depth += 1
                if self.coming:
                    kind, name = self.coming
                    public = kind != "class" and name != "detail"
                    self.scopes.append((self.depth, name, public))
                    self.coming = None
            elif c == "}":
                if self.scopes and self.scopes[-1][0] == self.depth:
                    self.scopes.pop()
                self.depth -= 1
            elif c == ";":
                self.coming = None

    def entry(self, text, rest):
        code = declaration(rest)
        name = name_of(code)
        outer = [n for _, n, _ in self.scopes if n not in ("gmp", "detail")]
        if self.section and name and not self.hidden():
            section = self.entries.setdefault(self.section, {})
            full = "::".join(SHOWN.get(n, n) for n in [*outer, name])
            section.setdefault(full, []).append((tidy(code), text))

    def run(self):
        self.coming = None
        comment = []
        for n, line in enumerate(self.lines):
            if heading := re.match(r"// --- (.+?) -+$", line):
                self.section = heading[1]
            if told := re.match(r"\s*/// ?(.*)", line):
                comment.append(told[1])
                continue
            if comment:
                self.entry("\n".join(comment), self.lines[n:])
                comment = []
            self.scope(line)


def cpp(root):
    """The page of gmprt.hpp."""
    found = Scan((root / "include/gmprt.hpp").read_text()).entries
    lines = ["# C++'s classes and functions", ""]
    lines += ["[The guide](cpp.html) introduces them. All are in the namespace"]
    lines += ["`gmp`, in `gmprt.hpp`.", ""]
    for section, names in found.items():
        outer = [name for name in names if re.fullmatch(r"\w+", name)]
        links = ", ".join(f"[{name}](#gmp{name.lower()})" for name in outer)
        lines += [f"- {section}: {links}"] if links else []
    lines.append("")
    for section, names in found.items():
        lines += [f"## {section}", ""]
        for name, entries in names.items():
            lines += [f"### gmp::{name}", ""]
            for code, text in entries:
                text = re.sub(r"(?<![`\w])([*_<>])", r"\\\1", text)
                # Lines that are set off are code.
                text = re.sub(
                    r"(?:^ {4}.*(?:\n|$))+",
                    lambda m: "\n```cpp\n"
                    + textwrap.dedent(m[0]).replace("\\", "").rstrip()
                    + "\n```\n",
                    text,
                    flags=re.M,
                )
                lines += ["```cpp", code, "```", "", text, ""]
    return "\n".join(lines)
