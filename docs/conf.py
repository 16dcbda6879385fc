import functools
import pathlib
import shutil
from importlib import metadata

import sphinx.builders
from sphinx.util.parallel import make_chunks


HERE = pathlib.Path(__file__).parent

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
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

# Sphinx reads only what is inside of its folder; the notebooks live beside it.
shutil.rmtree(HERE / "notebooks", ignore_errors=True)
shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks", ignore=shutil.ignore_patterns(".*"))

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
# The docstrings say what goes in, in words; of a class Sphinx would show the types of its fields.
autodoc_typehints = "none"
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
]

html_theme = "pydata_sphinx_theme"
html_title = "plenoptax"
html_show_sourcelink = False
# Only the API has pages beneath its pages.
html_sidebars = {
    page: []
    for page in ("install", "how_it_works", "migration", "reproducibility", "design", "notebooks/*")
}
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}


def skip_fields(app, what, name, value, skip, options):
    """The fields of a named tuple stand in its docstring already."""
    return True if type(value).__name__ == "_tuplegetter" else None


def setup(app):
    """Register what is ours."""
    app.connect("autodoc-skip-member", skip_fields)
