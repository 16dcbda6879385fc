"""Messages of errors have one form: what must be, what was given, and what to do."""

import ast
import inspect
import pathlib
import re

import pytest

import plenoptax
from plenoptax import _replaced


ROOT = pathlib.Path(plenoptax.__file__).parent

# What is wrong with the content of a file is said as it is; whoever reads the file puts its name
# before it. The last two describe files that are read as they should be.
FAULTS_OF_FILES = {
    "_archive.py",
    "_packing.py",
    "data/_icc.py",
    "data/_load.py",
    "data/_netpbm.py",
    "data/_picture.py",
    "data/_pillow.py",
    "data/_png.py",
    "data/_read.py",
    "data/_tiff.py",
    "data/_tiff_codecs.py",
    "solve/_files.py",
    "synthesis/_saved.py",
}


def text_of(node):
    """The text of an expression, with ``{}`` for what is not known before the program runs."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return "{}"


def messages():
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            if getattr(node.exc.func, "id", None) in ("ValueError", "TypeError"):
                text = " ".join(map(text_of, node.exc.args))
                yield f"{file.relative_to(ROOT)}:{node.lineno}", text


MESSAGES = {
    place: text
    for place, text in messages()
    if place.partition(":")[0] not in FAULTS_OF_FILES and text.strip("{} ")
}


def test_there_are_messages_and_exceptions_are_files():
    assert len(MESSAGES) > 200
    assert all((ROOT / name).is_file() for name in FAULTS_OF_FILES)


@pytest.mark.parametrize("place", MESSAGES)
def test_a_message_says_what_must_be_and_what_was_given(place):
    text = MESSAGES[place]
    assert re.search(r"\bmust\b.*\bgot\b", text, re.DOTALL), text
    assert text.endswith((".", "{}")), text
    assert not re.search(r"\bshould\b|\bhas to\b|\bhave to\b|\bis wanted\b|; got", text), text


IMAGE = plenoptax.data.brick()[:, :16, :16]
PROBLEM = plenoptax.Metamer(IMAGE, plenoptax.models.Gaussian(3))


@pytest.mark.parametrize("name", _replaced.NAMES)
def test_names_of_plenoptic_answer_with_what_replaces_them(name):
    with pytest.raises(AttributeError, match=re.escape(f"Use {_replaced.NAMES[name]}.")):
        getattr(plenoptax, name)


@pytest.mark.parametrize("name", _replaced.ATTRIBUTES)
def test_attributes_of_plenoptic_answer_with_what_replaces_them(name):
    with pytest.raises(AttributeError, match=re.escape(f"Use {_replaced.ATTRIBUTES[name]}.")):
        getattr(PROBLEM, name)
    assert name not in dir(PROBLEM)


@pytest.mark.parametrize("name", _replaced.ARGUMENTS)
def test_arguments_of_plenoptic_answer_with_what_replaces_them(name):
    with pytest.raises(TypeError, match=re.escape(f"Use {_replaced.ARGUMENTS[name]}.")):
        plenoptax.metamer(IMAGE, plenoptax.models.Gaussian(3), **{name: 3})
    assert name not in inspect.signature(plenoptax.metamer).parameters


def test_unknown_names_are_named_as_python_does():
    with pytest.raises(AttributeError, match=r"'Metamer' has no attribute 'images'\.$"):
        PROBLEM.images  # noqa: B018
    with pytest.raises(TypeError, match="unexpected keyword argument 'steps'"):
        plenoptax.metamer(IMAGE, plenoptax.models.Gaussian(3), steps=3)
