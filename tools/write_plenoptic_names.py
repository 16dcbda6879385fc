"""Write `docs/plenoptic_names.md`: each name of plenoptic, with its replacement in plenoptax.

python tools/write_plenoptic_names.py

The names, methods and arguments of plenoptic are those of `tests/reference/plenoptic_names.json`
(`tools/freeze_plenoptic_names.py` made it). A name that plenoptax has too is found by itself. All
others are answered in `tools/plenoptic_replacements.toml`. The script fails if an answer is missing
or not needed.
"""

import inspect
import json
import pathlib
import re
import sys
import tomllib

import plenoptax
from plenoptax import _replaced


ROOT = pathlib.Path(__file__).resolve().parents[1]
FROZEN = ROOT / "tests/reference/plenoptic_names.json"
ANSWERS = ROOT / "tools/plenoptic_replacements.toml"
PAGE = ROOT / "docs/plenoptic_names.md"
HEAD = """\
# Names of plenoptic

This table has every public function, class, method, attribute and argument of plenoptic
{versions}. `same` means the same name, in the namespace of the same name, for the same thing. A
name that changed between plenoptic 1 and 2 is listed under its newer name. A name that begins
with a dot is a method or an attribute of the class above it. The last column has the arguments
that plenoptax has not, or has under another name; all others are the same.

`plx` is `plenoptax`, `result` is what a function of synthesis returns, `found` is what
`plx.eigendistortions` returns, `problem` is `result.problem`, and `model` is a model.
[](migration.md) explains the differences and has code.

`python tools/write_plenoptic_names.py` writes this table, and a test fails if a name has no
answer.

| plenoptic | versions | plenoptax | arguments |
| --- | --- | --- | --- |
"""


def merged(frozen):
    """The frozen names of all versions, under the newest path of each."""
    newest = max(frozen)
    leaves = {}
    for path in frozen[newest]:
        leaves.setdefault(path.split(".")[-1], []).append(path)
    found = {}
    for version in sorted(frozen):
        for path, entry in frozen[version].items():
            matches = leaves.get(path.split(".")[-1], [])
            matches = [path] if path in frozen[newest] else matches
            name = next((one for one in matches if "loss" in one), *matches[:1] or [path])
            row = found.setdefault(name, {"versions": {}, "arguments": [], "members": {}})
            row["versions"][version] = path
            row["arguments"] += [one for one in entry["arguments"] if one not in row["arguments"]]
            for member, arguments in entry.get("members", {}).items():
                known = row["members"].setdefault(member, [])
                known += [one for one in arguments if one not in known]
    return dict(sorted(found.items(), key=lambda pair: (pair[0].lower(), pair[0])))


def find(path):
    """The object of plenoptax at a path, or None."""
    value = plenoptax
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            return None
    return value


def own_arguments(value):
    """The names of the arguments of an object of plenoptax."""
    try:
        return set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return set()


class Table:
    """The rows of the table, the gaps, and the answers that were used."""

    def __init__(self):
        self.answers = tomllib.loads(ANSWERS.read_text())
        self.rows, self.gaps, self.used = [], [], set()

    def answer(self, kind, *keys):
        """The first of several keys that has an answer of a kind."""
        for key in keys:
            if key in self.answers[kind]:
                self.used.add((kind, key))
                return self.answers[kind][key]
        return None

    def describe(self, name, arguments, known):
        """The replacements of the arguments that plenoptax does not have under the same name."""
        texts = []
        for argument in arguments:
            if argument in known:
                continue
            keys = f"{name}({argument})", f".{name.split('.')[-1]}({argument})", f"({argument})"
            answer = self.answer("arguments", *keys) or _replaced.ARGUMENTS.get(argument)
            if answer is None:
                self.gaps.append(f"{name}({argument})")
            texts.append(f"`{argument}`: {answer}")
        return "; ".join(texts)

    def add(self, shown, name, versions, arguments, keys, value):
        """Add the row of a name, whose object of plenoptax is `value` or None."""
        ours = self.answer("names", *keys) or ("same" if value is not None else None)
        if ours is None:
            self.gaps.append(name)
            ours = ""
        if match := re.match(r"`plx\.([\w.]+)(`|\()", ours):
            value = find(match[1])
            if value is None:
                self.gaps.append(f"{name}: {ours}")
        # The text that replaces a name by none of ours answers for the arguments too.
        is_call = match is None or match[2] == "`"
        what = ""
        if value is not None and is_call:
            what = self.describe(name, arguments, own_arguments(value))
        self.rows.append(f"| {shown} | {versions} | {ours} | {what} |")


def versions_of(entry):
    """The versions that have a name, with its earlier path."""
    paths = entry["versions"]
    last = list(paths.values())[-1]
    earlier = dict.fromkeys(path for path in paths.values() if path != last)
    also = "".join(f", as `{path}` before 2" for path in earlier)
    short = [version.removesuffix(".0") for version in paths]
    return ", ".join(short) + also


def write():
    """The text of the page, the gaps, and the answers that nothing needed."""
    frozen = json.loads(FROZEN.read_text())
    table = Table()
    for name, entry in merged(frozen).items():
        versions, value = versions_of(entry), find(name)
        table.add(f"`{name}`", name, versions, entry["arguments"], [name], value)
        for member, arguments in entry["members"].items():
            full = f"{name}.{member}"
            its = None if value is None else getattr(value, member, None)
            its = value if its is None and member in own_arguments(value) else its
            table.add(f"`.{member}`", full, "", arguments, [full, f".{member}"], its)
    unused = {
        (kind, key) for kind, answers in table.answers.items() for key in answers
    } - table.used
    text = HEAD.format(versions=", ".join(sorted(frozen))) + "\n".join(table.rows) + "\n"
    return text, table.gaps, sorted(unused)


if __name__ == "__main__":
    page, missing, unneeded = write()
    PAGE.write_text(page)
    print(f"{page.count(chr(10))} lines")
    if missing or unneeded:
        sys.exit(f"No answer for {missing}. Not needed: {unneeded}")
