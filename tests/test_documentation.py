import ast
import builtins
import importlib
import pathlib
import re
import tomllib

import pytest

import plenoptax


ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.md"))
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "_" not in page.parts[-2][:1])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def tool(monkeypatch):
    """Import a script of the folder `tools`."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_notebooks_are_those_of_their_pages(page, tool):
    written = page.with_suffix(".ipynb").read_text()
    assert written == tool("write_notebooks").as_file(page.read_text()), (
        "Run `python tools/write_notebooks.py`."
    )


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_notebooks_run_outside_of_the_documentation(page, tool):
    cells = tool("write_notebooks").notebook(page.read_text())["cells"]
    first, *rest = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert first.splitlines()[1].startswith("%pip install")
    code = "\n".join(rest)
    assert "DOCS_FAST" not in code
    nodes = list(ast.walk(ast.parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.ExceptHandler):
            bound.add(node.name)
        if isinstance(node, ast.arg):
            bound.add(node.arg)
    assert {node.id for node in names} - bound == set()


def test_fast_is_replaced_by_its_value(tool):
    remove_fast = tool("write_notebooks").remove_fast
    code = (
        "import jax\n\n# The short form.\nfast = os.environ.get('X') == '1'\n"
        "sizes, steps = (1, 2) if fast else (3, 4)\nif not fast:\n    # Large.\n    call(sizes)\n"
        "trained = not fast\nif fast:\n    small()\n"
    )
    long = "import jax\n\nsizes, steps = 3, 4\n# Large.\ncall(sizes)\ntrained = True\n"
    assert remove_fast(code, False).replace("\n\n\n", "\n\n").lstrip("\n") == long
    short = "import jax\n\nsizes, steps = 1, 2\ntrained = False\nsmall()\n"
    assert remove_fast(code, True).replace("\n\n\n", "\n\n").lstrip("\n") == short


def test_every_tutorial_is_in_a_list():
    text = (ROOT / "docs/tutorials.md").read_text() + (ROOT / "docs/start.md").read_text()
    for page in NOTEBOOKS:
        assert f"(notebooks/{page.name})" in text, page
        assert f"\nnotebooks/{page.stem}\n" in text, page


def test_images_have_alternative_texts():
    bare = {
        page.name: match[0]
        for page in [*PAGES, *NOTEBOOKS, ROOT / "README.md"]
        for match in re.finditer(r"!\[(.*?)\]\(.*?\)", page.read_text())
        if len(match[1]) < 20
    }
    assert bare == {}


def test_every_name_of_plenoptic_is_answered(tool):
    script = tool("write_plenoptic_names")
    text, missing, unneeded = script.write()
    assert (missing, unneeded) == ([], [])
    assert text == script.PAGE.read_text(), "Run `python tools/write_plenoptic_names.py`."


def test_a_name_of_plenoptic_without_an_answer_is_a_gap(tool, monkeypatch, tmp_path):
    script = tool("write_plenoptic_names")
    frozen = tmp_path / "names.json"
    frozen.write_text(
        '{"3.0.0": {"Metamer": {"arguments": ["image", "mood"], "members": {"sing": []}}}}'
    )
    monkeypatch.setattr(script, "FROZEN", frozen)
    _, missing, _ = script.write()
    assert missing == ["Metamer(mood)", "Metamer.sing"]


@pytest.mark.parity
def test_names_of_plenoptic_are_up_to_date(tool):
    pytest.importorskip("plenoptic")
    import json

    script = tool("freeze_plenoptic_names")
    now = {name: script.describe(value) for name, value in script.objects().items()}
    assert json.loads(script.FILE.read_text())["2.1.1"] == now


def test_files_have_the_version_of_the_package():
    version = plenoptax.__version__
    assert PROJECT["dynamic"] == ["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(
        rf"^## {version}, \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_constraints_are_the_lowest_versions():
    lines = (ROOT / "tools/lower_bounds.txt").read_text().splitlines()[1:]
    assert lines == [line.replace(">=", "==") for line in PROJECT["dependencies"]]


def test_extras_are_used():
    text = "".join(path.read_text() for path in [*PAGES, *ROOT.glob("*.md"), ROOT / ".ci/run"])
    mentioned = {
        name for names in re.findall(r"\[([a-z,]+)\]\"", text) for name in names.split(",")
    }
    # `tpu` is an extra of JAX.
    assert set(PROJECT["optional-dependencies"]) == mentioned - {"tpu"}
