"""Write a Jupyter notebook for each page of `notebooks/`, without outputs.

python tools/write_notebooks.py

`notebooks/NAME.md` is the source of a page, and `notebooks/NAME.ipynb` is made from it. The tests
compare the two. The notebook has no trace of the shorter form of a page, which the documentation
computes with `PLENOPTAX_DOCS_FAST=1`.
"""

import ast
import json
import pathlib
import re
import textwrap


FOLDER = pathlib.Path(__file__).resolve().parents[1] / "notebooks"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"((?::[^\n]*\n)*)\n?(.*)", re.DOTALL)
FAST = "fast"


def remove_fast(code, fast):
    """Replace the variable `fast` by its value, and leave out the branches that do not run."""
    changed = _remove_one(code, fast)
    while changed is not None:
        code = changed
        changed = _remove_one(code, fast)
    return code


def _remove_one(code, fast):
    """The code without one of the uses of `fast`, or None if it has none."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == FAST:
            return _without_definition(code, node)
        if isinstance(node, ast.Expr) and "jax_disable_most_optimizations" in ast.unparse(node):
            return _replace(code, node, "") if FAST in ast.unparse(node) else None
        if isinstance(node, ast.IfExp) and (value := _value(node.test, fast)) is not None:
            return _replace(code, node, _source(code, node.body if value else node.orelse))
        if isinstance(node, ast.If) and (value := _value(node.test, fast)) is not None:
            return _replace(code, node, _block(code, node.body if value else node.orelse, node))
        if isinstance(node, ast.UnaryOp | ast.Name) and (value := _value(node, fast)) is not None:
            return _replace(code, node, str(value))
    return None


def _value(test, fast):
    """The value of `fast` or `not fast`, or None for another expression."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _value(test.operand, fast)
        return None if inner is None else not inner
    return fast if isinstance(test, ast.Name) and test.id == FAST else None


def _source(code, node):
    """The source of an expression; a tuple needs its parentheses no longer."""
    text = ast.get_source_segment(code, node)
    return text.strip("()") if isinstance(node, ast.Tuple) else text


def _block(code, statements, node):
    """The statements of a branch, with their comments, indented like the `if` around them."""
    if not statements:
        return ""
    lines = code.splitlines()
    first = node.test.end_lineno
    if statements is node.orelse:
        first = lines.index(" " * node.col_offset + "else:", node.body[-1].end_lineno) + 1
    block = lines[first : statements[-1].end_lineno]
    return textwrap.indent(textwrap.dedent("\n".join(block)), " " * node.col_offset).lstrip(" ")


def _replace(code, node, text):
    """The code with other text for a node; a line that becomes empty is dropped."""
    lines = code.splitlines(keepends=True)
    before = "".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + "".join(lines[node.end_lineno :])
    if not text:
        before, after = before.rstrip(" "), after.removeprefix("\n")
    return before + text + after


def _without_definition(code, node):
    """The code without the definition of `fast` and the comment above it."""
    lines = code.splitlines(keepends=True)
    first = node.lineno - 1
    while lines[first - 1].startswith("#"):
        first -= 1
    return "".join(lines[:first] + lines[node.end_lineno :])


def split(text):
    """The parts of a page, in their order: pairs of "markdown" or "code" and the text."""
    body = text.split("---\n", 2)[2]
    start = 0
    for match in CELL.finditer(body):
        yield "markdown", body[start : match.start()].strip("\n")
        yield "code", match[1]
        start = match.end()
    yield "markdown", body[start:].strip("\n")


def page_for_docs(text, fast):
    """A page as the documentation shows it, without the variable `fast`."""
    first = "```{code-cell}\n:tags: [remove-cell]\n\n" + (
        f'import jax\n\njax.config.update("jax_disable_most_optimizations", {fast})\n```\n\n'
    )
    page = without_fast(text, fast)
    uses = "jax_disable_most_optimizations" in text
    return CELL.sub(lambda match: first + match[0], page, count=1) if uses else page


def without_fast(text, fast):
    """A page in which the variable `fast` has been replaced by its value in all cells."""
    page = CELL.sub(lambda match: match[0].replace(match[1], _cell(match[1], fast)), text)
    return page if re.search(r"\bos\.", page) else page.replace("import os\n", "", 1)


def _cell(code, fast):
    """A cell of a page, whose first lines may be options."""
    options, code = OPTIONS.match(code).groups()
    return f"{options}\n"[not options :] + remove_fast(code, fast).strip("\n") + "\n"


def _metadata(options):
    """The metadata of a cell of a notebook: a hidden cell of the page is folded."""
    tags = re.findall(r"[\w-]+", options.removeprefix(":tags:"))
    folded = {"jupyter": {"source_hidden": True}} if "hide-cell" in tags else {}
    return {"tags": tags, **folded} if tags else {}


def link(match):
    """A link for a reader of the notebook: to a notebook or picture, or the title of a page."""
    words, target = match.groups()
    if target.startswith("../images/"):
        return f"[{words}](../docs/{target.removeprefix('../')})"
    name = target.split("#")[0]
    if not name.endswith(".md"):
        return match[0]
    is_page = name.startswith("../")
    source = FOLDER.parent / "docs" / name.removeprefix("../") if is_page else FOLDER / name
    words = words or re.search(r"^# (.*)$", source.read_text(), re.MULTILINE)[1]
    return f"*{words}*" if is_page else f"[{words}]({source.stem}.ipynb)"


def install_line(text):
    """The cell that installs what the page imports."""
    extra = "[docs]" if "from flax" in text or "import flax" in text else ""
    return (
        f'# In a copy of the repository, in its folder notebooks.\n%pip install --quiet "..{extra}"'
    )


def notebook(text):
    """The notebook of a page, as a dictionary."""
    cells = []
    for kind, part in [("code", install_line(text)), *split(without_fast(text, fast=False))]:
        cell = {"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}}
        if kind == "code":
            options, part = OPTIONS.match(part.strip("\n")).groups()
            cell |= {"metadata": _metadata(options), "execution_count": None, "outputs": []}
        else:
            part = re.sub(r"\[([^\[\]]*)\]\(([^)\s]+)\)", link, part)
        if part:
            cells.append({**cell, "source": part.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def as_file(text):
    """The notebook of a page, as the text of its file."""
    return json.dumps(notebook(text), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for page in sorted(FOLDER.glob("*.md")):
        page.with_suffix(".ipynb").write_text(as_file(page.read_text()))
        print(page.with_suffix(".ipynb").name)
