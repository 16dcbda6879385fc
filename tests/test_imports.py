import ast
import importlib
import os
import pathlib
import subprocess
import sys

import pytest

import plenoptax


ROOT = pathlib.Path(plenoptax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# A room may import the rooms above its own line, never one on its own line or below.
HOUSE = (
    ("_function", "_progress", "_replaced", "_types", "_warnings", "_writing"),
    ("_answers", "_axes", "_placement", "_precision", "_rules", "_safe", "_scale", "_tree"),
    ("_archive", "_compiled", "_threads", "_traces", "_words"),
    ("_packing",),
    ("process", "linalg"),
    ("loss", "regularize", "parametrize", "stop", "data"),
    # Models answer for their own loss, and for what they know of photographs.
    ("models", "validate", "solve"),
    # Some metrics are distances between layers of a network.
    ("metric",),
    ("synthesis",),
    ("io", "plot"),
    ("cli",),
    ("__init__", "__main__"),
)
FLOORS = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms}

# What a room may import of another though that room's face does not show it.
PRIVATE_IMPORTS = {
    # The command line writes an image, a figure and numbers at once.
    ("cli", "data._save"),
    # States are written in solve, because checkpoints need it; io is their public face.
    ("io", "solve._files"),
    ("io", "solve._parts"),
    ("io", "solve._probe"),
    ("io", "synthesis._parts"),
    ("io", "synthesis._saved"),
    # The searches of a batch share one progress bar, and end together at Ctrl-C.
    ("synthesis", "linalg._solve"),
    # An entry function goes on from a checkpoint, and says what it started from.
    ("synthesis", "solve._files"),
    ("synthesis", "solve._optimizer"),
    ("synthesis", "solve._parts"),
    # Texture statistics are measured on spectra, with the masks of the pyramid.
    ("models", "process._fourier"),
    ("models", "process._steerable_masks"),
    # Features and networks are public packages of their own. Metrics have weights beside those of
    # the networks, and DISTS has a VGG16 with another pooling.
    ("metric", "models.features"),
    ("metric", "models.networks"),
    ("metric", "models.networks._networks"),
    ("metric", "models.networks._steps"),
    ("metric", "models.networks._tables"),
    ("metric", "models.networks._weights"),
    # The texture model plots its statistics; nobody else plots them like that.
    ("models", "plot._color_portilla_simoncelli"),
    ("models", "plot._portilla_simoncelli"),
}

RUN_TIME_DEPENDENCIES = {
    "cloudpickle",
    "equinox",
    "imageio",
    "jax",
    "jaxlib",
    "jaxtyping",
    "matplotlib",
    "numpy",
    "optax",
    "PIL",  # the module of pillow
    "pooch",
    "requests",  # of pooch
    "safetensors",  # of the extra nets
    "tifffile",
    "tqdm",
}


def module_of(file):
    """The path of a module inside the package: ``("solve", "_run")``."""
    return file.relative_to(ROOT).with_suffix("").parts


def is_module(parts):
    path = ROOT.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def inner_imports(file):
    """The modules of this package that a file imports, and whether inside of a function."""
    tree = ast.parse(file.read_text())
    nested = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    package = module_of(file)[:-1]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - (node.level - 1)]
        base += tuple(node.module.split(".")) if node.module else ()
        for alias in node.names:
            target = (*base, alias.name)
            yield (target if is_module(target) else base), node in nested


def imports_between_rooms():
    for file in FILES:
        room = module_of(file)[0]
        for target, is_nested in inner_imports(file):
            if target[:1] != (room,):
                yield room, target, is_nested


def outer_imports(file):
    """The names of the modules that a file imports from outside of this package."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def test_the_checks_see_the_imports():
    edges = {(room, target) for room, target, _ in imports_between_rooms()}
    assert ("synthesis", ("data",)) in edges
    assert ("solve", ("stop",)) in edges
    assert ("__main__", ("cli",)) in edges
    assert ("io", ("solve", "_files")) in edges
    assert "equinox" in set(outer_imports(ROOT / "stop.py"))


def test_imports_go_down():
    upward = [
        (room, target)
        for room, target, is_nested in imports_between_rooms()
        # A model that shows its own representation imports plot inside of the method.
        if not (room == "models" and target[:1] == ("plot",) and is_nested)
        and (not target or FLOORS[target[0]] >= FLOORS[room])
    ]
    assert upward == []


def test_rooms_are_entered_by_their_face():
    entered = {
        (room, ".".join(target)) for room, target, _ in imports_between_rooms() if len(target) > 1
    }
    assert entered == PRIVATE_IMPORTS


def test_nothing_but_the_dependencies_is_imported():
    allowed = RUN_TIME_DEPENDENCIES | set(sys.stdlib_module_names)
    names = {name for file in FILES for name in outer_imports(file)}
    assert {name for name in names if name.split(".")[0] not in allowed} == set()
    assert {name for name in names if name.startswith(("jax._src", "jax.interpreters"))} == set()


def test_faces_only_reexport():
    for file in [*ROOT.rglob("*/__init__.py"), ROOT / "__init__.pyi"]:
        docstring, *statements = ast.parse(file.read_text()).body
        assert isinstance(docstring, ast.Expr), file
        for statement in statements:
            if isinstance(statement, ast.AnnAssign):
                assert ast.unparse(statement) == "__version__: str"
                continue
            assert isinstance(statement, ast.ImportFrom), file
            assert statement.level >= 1, file
            assert all(alias.asname == alias.name for alias in statement.names), file


def test_names_are_imported_on_first_use_and_known_to_type_checkers():
    listed = {}
    for statement in ast.parse((ROOT / "__init__.pyi").read_text()).body:
        if isinstance(statement, ast.ImportFrom):
            listed |= {alias.name: statement.module for alias in statement.names}
    names = {name: room for room, names in plenoptax._NAMES.items() for name in names}
    assert listed == names | dict.fromkeys(plenoptax._ROOMS)
    assert set(listed) <= set(dir(plenoptax))
    for name, room in listed.items():
        module = importlib.import_module(f"plenoptax.{room or name}")
        assert getattr(plenoptax, name) is (getattr(module, name) if room else module)
    with pytest.raises(AttributeError, match=r"no attribute 'metamers'\.$"):
        plenoptax.metamers  # noqa: B018


def test_importing_the_package_imports_nothing_else():
    script = (
        "import sys; before = set(sys.modules); import plenoptax\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "['plenoptax']\n", done.stderr


def test_files_inside_of_rooms_are_private():
    public = [file for file in FILES if len(module_of(file)) > 1 and file.name[0] != "_"]
    assert public == []


def test_import_starts_no_backend_and_loads_no_matplotlib():
    script = (
        "import sys, plenoptax, jax\n"
        "[getattr(plenoptax, name) for name in dir(plenoptax)]\n"
        "names = ('matplotlib', 'imageio', 'pooch', 'PIL', 'tifffile')\n"
        "print([m for m in names if m in sys.modules])\n"
        "jax.devices()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "bogus"},
    )
    assert done.stdout == "[]\n", done.stderr
    # Asking for the backend is what fails, so importing did not ask for it.
    assert "bogus" in done.stderr
