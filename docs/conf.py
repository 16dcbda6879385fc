import functools
import inspect
import os
import pathlib
import re
import shutil
import sys
from importlib import metadata

import sphinx.builders
from sphinx.util.parallel import make_chunks


HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "tools"))

import write_notebooks  # noqa: E402


FAST = os.environ.get("PLENOPTAX_DOCS_FAST") == "1"

# Several processes (-j) take ten pages at a time, in the order of their names, so that one of them
# would execute most of the notebooks.
sphinx.builders.make_chunks = functools.partial(make_chunks, maxbatch=1)

project = "plenoptax"
author = "The plenoptax developers"
copyright = "the plenoptax developers"
release = metadata.version("plenoptax")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "_extra", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

# Sphinx reads only what is inside of its folder; the notebooks live beside it. Readers see neither
# the shorter form of a page nor what chooses it. The notebooks to download are copied as they are.
for folder in ("notebooks", "_extra"):
    shutil.rmtree(HERE / folder, ignore_errors=True)
downloads = HERE / "_extra" / "notebooks"
for folder in (HERE / "notebooks", downloads):
    folder.mkdir(parents=True)
for page in write_notebooks.FOLDER.glob("*.md"):
    text = write_notebooks.page_for_docs(page.read_text(), FAST)
    (HERE / "notebooks" / page.name).write_text(text)
    shutil.copy(page.with_suffix(".ipynb"), downloads)
html_extra_path = ["_extra"]

myst_enable_extensions = ["dollarmath", "deflist", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
# On file systems that do not tell capitals from small letters, one page would overwrite the other.
autosummary_filename_map = {
    "plenoptax.metamer": "plenoptax.metamer_function",
    "plenoptax.null": "plenoptax.null_function",
}
# Types stand beside the description of an argument; a signature with types is too long to read.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autoclass_content = "both"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = False
napoleon_attr_annotations = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 80
# `name` in a docstring links to what it names, where that has a page.
default_role = "py:obj"

nitpicky = True
nitpick_ignore_regex = [
    # Arguments and attributes in docstrings, which have no page of their own.
    ("py:obj", r".*"),
    # Types of other packages.
    ("py:class", r"(?!plenoptax).*"),
    # Abstract types and records that are not public.
    ("py:class", r"plenoptax\.(\w+\.)*_.*"),
]

html_theme = "pydata_sphinx_theme"
html_title = "plenoptax"
html_copy_source = True
html_show_sourcelink = True
html_sourcelink_suffix = ""
html_static_path = ["_static"]
html_css_files = ["pages.css"]
# The start page belongs to no group of pages, so it lists all groups.
html_sidebars = {
    "index": ["sidebar-groups"],
    "search": ["sidebar-groups"],
    "genindex": ["sidebar-groups"],
}
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc", "notebook-link", "sourcelink"],
}


def skip_fields(app, what, name, value, skip, options):
    """The fields of a named tuple stand in its docstring already."""
    return True if type(value).__name__ == "_tuplegetter" else None


def mark_arguments(app, what, name, value, options, lines):
    """Keep `batch` the argument from linking to `plenoptax.batch` the function."""
    try:
        arguments = set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return
    for index, line in enumerate(lines):
        lines[index] = re.sub(
            r"(?<![`:\w])`(\w+)`(?!`)",
            lambda match: f"`{match[0]}`" if match[1] in arguments else match[0],
            line,
        )


def list_names(app, docname, source):
    """List the names of all pages of the API, each with the first line of its docstring."""
    if docname != "api/index":
        return
    pages = re.search(r"```\{toctree\}\n:hidden:\n\n(.*?)```", source[0], re.DOTALL)[1].split()
    parts = []
    for page in pages:
        text = (HERE / "api" / f"{page}.md").read_text()
        names = re.findall(r"^   (plenoptax\.[\w.]+)$", text, re.MULTILINE)
        table = "\n   ".join([".. autosummary::", "", *names])
        parts.append(f"### {text.splitlines()[0][2:]}\n\n```{{eval-rst}}\n{table}\n```")
    source[0] = source[0].replace("<!-- every name -->", "\n\n".join(parts))


def print_seconds(app, error):
    """Print the seconds that each page took to run, the longest first."""
    pages = app.env.nb_metadata if error is None else {}
    seconds = {
        name: page["exec_data"]["runtime"] for name, page in pages.items() if "exec_data" in page
    }
    for name, runtime in sorted(seconds.items(), key=lambda pair: -(pair[1] or 0)):
        if runtime:
            print(f"{runtime:7.1f} s  {name}{'  more than 15 s' if runtime > 15 else ''}")


def setup(app):
    """Register what is ours."""
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", mark_arguments)
    app.connect("source-read", list_names)
    app.connect("build-finished", print_seconds)
