import ast
import inspect
import io
import json
import pathlib
import re
import tokenize
import types

import pytest

import plenoptax


ROOT = pathlib.Path(plenoptax.__file__).parent
SIGNATURES = json.loads((pathlib.Path(__file__).parent / "reference/signatures.json").read_text())

# Made by functions and shown in their examples.
RECORDS = {
    "Batched",
    "BatchedTrace",
    "BatchReport",
    "ComparisonReport",
    "CrossTable",
    "Detectability",
    "EigendistortionsReport",
    "Info",
    "Null",
    "Outcome",
    "Report",
    "Stage",
    "State",
    "Trace",
    "data.NaturalStatistics",
    "linalg.Complement",
    "linalg.Eigenpairs",
    "linalg.LanczosState",
    "linalg.PowerState",
    "linalg.Window",
    "loss.WeightedL2Norm",
    "models.LogPolarWindows",
    "metric.Agreement",
    "metric.Estimate",
    "metric.Evaluation",
    "stop.Window",
}
SHOWN_ELSEWHERE = {
    "linalg.AbstractSubspace": "linalg.Linear",
    "io.load_trace": "io.save",
    "plot.mad_imshow_all": "mad_competition_set",
    "plot.mad_loss_all": "mad_competition_set",
}

# Parameters of plenoptic for which there is nothing left to do.
DROPPED = {"cache_filt", "device", "map_location"}

# Where a signature differs from plenoptic's on purpose: the parameter, and what it is here.
DIFFERENT = {
    # By default the loss depends on the model.
    ("Metamer", "loss_function"): {"loss_function": None},
    ("metamer", "loss_function"): {"loss_function": None},
    ("MetamerCTF", "loss_function"): {"loss_function": None},
    ("metamer_ctf", "loss_function"): {"loss_function": None},
    # A result is shown, not an object that synthesizes.
    ("plot.metamer_representation_error", "metamer"): {"result": "required"},
    ("plot.synthesis_imshow", "synthesis_object"): {"result": "required"},
    ("plot.synthesis_loss", "synthesis_object"): {"result": "required"},
    ("plot.synthesis_status", "synthesis_object"): {"result": "required"},
    ("plot.synthesis_animate", "synthesis_object"): {"result": "required"},
    ("plot.synthesis_histogram", "synthesis_object"): {"result": "required"},
    # Small images would be stamps below their titles.
    ("plot.mad_imshow_all", "zoom"): {"zoom": None},
}

# plenoptic's class is a problem here, and a function of the same arguments that solves it.
ENTRY_FUNCTIONS = {
    "mad_competition": "MADCompetition",
    "metamer": "Metamer",
    "metamer_ctf": "MetamerCTF",
}


def public_objects():
    """Everything that the package offers, by its path: ``"models.Gaussian"``."""
    found = {}
    for name, value in public_members(plenoptax).items():
        if name in ("solve", "synthesis"):
            # Their names are those of the package itself.
            continue
        found |= flattened(name, value)
    return found


def flattened(name, value):
    """A public object by its path; of a module, all that it offers."""
    if not isinstance(value, types.ModuleType):
        return {name: value}
    found = {}
    for inner, member in public_members(value).items():
        found |= flattened(f"{name}.{inner}", member)
    return found


def public_members(module):
    file = pathlib.Path(module.__file__)
    stub = file.with_suffix(".pyi")
    tree = ast.parse((stub if stub.exists() else file).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname for alias in node.names if alias.asname == alias.name}
    return {name: getattr(module, name) for name in sorted(names) if not name.startswith("_")}


PUBLIC = public_objects()
CALLABLES = {
    name: value
    for name, value in PUBLIC.items()
    if callable(value) and not (isinstance(value, type) and issubclass(value, Exception))
}
SOURCES = {str(file.relative_to(ROOT)): file.read_text() for file in sorted(ROOT.rglob("*.py"))}


def parameters_of(function):
    return inspect.signature(function).parameters.values()


def functions_and_methods():
    for name, value in CALLABLES.items():
        yield name, value
        if isinstance(value, type):
            for attribute, method in vars(value).items():
                is_public = attribute == "__call__" or not attribute.startswith("_")
                method = getattr(method, "__func__", method)
                if is_public and inspect.isfunction(inspect.unwrap(method)):
                    yield f"{name}.{attribute}", method


def test_the_checks_see_the_public_names():
    seen = {"metamer", "run", "lbfgs", "models.Gaussian", "stop.LossChange", "loss.mse", "io.save"}
    assert seen <= set(PUBLIC)
    assert not {"loss.warnings", "stop.eqx", "solve.run"} & set(PUBLIC)


def test_docstrings_are_there():
    missing = [name for name, value in functions_and_methods() if not (value.__doc__ or "").strip()]
    assert missing == []


def test_docstrings_have_an_example():
    missing = [
        name
        for name, value in CALLABLES.items()
        if not re.search(r"Example:\n +>>>", value.__doc__)
        and not inspect.isabstract(value)
        and name not in RECORDS | set(SHOWN_ELSEWHERE)
    ]
    assert missing == []


def test_exceptions_to_the_examples_are_needed():
    assert RECORDS | set(SHOWN_ELSEWHERE) <= set(CALLABLES)
    for name, elsewhere in SHOWN_ELSEWHERE.items():
        assert elsewhere in CALLABLES, name


def test_randomness_is_a_key():
    names = {
        (name, parameter.name)
        for name, value in functions_and_methods()
        for parameter in parameters_of(value)
    }
    other = re.compile(r"^(rng|prng|seed|random_state|generator)$")
    assert [pair for pair in names if other.match(pair[1])] == []


def test_keys_are_keyword_only():
    loose = [
        name
        for name, value in functions_and_methods()
        for parameter in parameters_of(value)
        # The loop calls a problem's own initial_image with a key and nothing else.
        if parameter.name == "key" and not name.endswith(".initial_image")
        # Their fields are filled by functions, not by users.
        if name not in RECORDS
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    assert loose == []


def default_of(parameter):
    """A default as signatures.json has it."""
    if parameter.default is parameter.empty:
        return "required"
    default = getattr(parameter.default, "__name__", parameter.default)
    return list(default) if isinstance(default, tuple) else default


def wanted_signature(name):
    wanted = {}
    for parameter, default in SIGNATURES[ENTRY_FUNCTIONS.get(name, name)].items():
        if parameter not in DROPPED:
            # A default that could be changed by accident is None here.
            default = None if default == {} else default
            wanted |= DIFFERENT.get((name, parameter), {parameter: default})
    return wanted


SHARED = sorted(CALLABLES.keys() & (SIGNATURES.keys() | ENTRY_FUNCTIONS.keys()))


@pytest.mark.parametrize("name", SHARED)
def test_signatures_are_those_of_plenoptic(name):
    ours = {
        parameter.name: default_of(parameter)
        for parameter in parameters_of(CALLABLES[name])
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    wanted = wanted_signature(name)
    assert list(ours) == list(wanted)
    assert ours == wanted


def test_differences_from_plenoptic_are_needed():
    for name, parameter in DIFFERENT:
        if name in CALLABLES:
            assert parameter in SIGNATURES[ENTRY_FUNCTIONS.get(name, name)], (name, parameter)


@pytest.mark.parity
def test_signatures_of_plenoptic_are_up_to_date():
    pytest.importorskip("plenoptic")
    from .reference.make_signatures import describe, public_callables

    now = json.loads(json.dumps({name: describe(value) for name, value in public_callables()}))
    assert now == SIGNATURES


def docstring_lines(tree):
    """The numbers of the lines that docstrings take."""
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            lines |= set(range(first.lineno, first.end_lineno + 1))
    return lines


def code_lines(source):
    """The numbers of the lines that are neither blank, nor comment, nor docstring."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    skipped |= {tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(ast.parse(source))


def test_files_are_short():
    lengths = {path: source.count("\n") for path, source in SOURCES.items()}
    assert {path: length for path, length in lengths.items() if length > 600} == {}


def test_functions_are_short():
    long = {}
    for path, source in SOURCES.items():
        tree = ast.parse(source)
        docstrings = docstring_lines(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                first = min(part.lineno for part in (node, *node.decorator_list))
                lines = set(range(first, node.end_lineno + 1)) - docstrings
                if len(lines) > 60:
                    long[f"{path}:{node.name}"] = len(lines)
    assert long == {}


def test_every_public_name_has_a_page():
    folder = pathlib.Path(__file__).parents[1] / "docs" / "api"
    text = "".join(page.read_text() for page in folder.glob("*.md"))
    listed = set(re.findall(r"^(?:   |\.\. py:data:: )plenoptax\.([\w.]+)$", text, re.MULTILINE))
    assert listed - set(PUBLIC) == set()
    shown = {id(PUBLIC[name]) for name in listed}
    assert {name for name, value in PUBLIC.items() if id(value) not in shown} == set()


def classes_of_the_package():
    """For each class by name: its bases, and for each of its methods whether it is concrete."""
    found = {}
    for source in SOURCES.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                methods = {
                    part.name: "abc.abstractmethod" not in map(ast.unparse, part.decorator_list)
                    for part in node.body
                    if isinstance(part, ast.FunctionDef)
                }
                found[node.name] = {ast.unparse(base) for base in node.bases}, methods
    return found


def test_classes_are_abstract_or_final():
    classes = classes_of_the_package()
    bases = {base for names, _ in classes.values() for base in names if base in classes}
    assert {"AbstractProblem", "AbstractStop", "AbstractParametrization"} <= bases
    assert {base for base in bases if not base.strip("_").startswith("Abstract")} == set()


def test_concrete_methods_are_not_overridden():
    classes = classes_of_the_package()

    def ancestors(name):
        for base in classes[name][0] & classes.keys():
            yield base
            yield from ancestors(base)

    overridden = {
        f"{name}.{method} of {base}"
        for name, (_, methods) in classes.items()
        for base in ancestors(name)
        for method in methods
        # Noise says by default that it has no coordinates, and that any response suits it.
        if classes[base][1].get(method) and base != "AbstractNoise"
    }
    assert overridden == set()
