"""Write the public names of the installed plenoptic, with their methods and arguments.

python tools/freeze_plenoptic_names.py

Adds the version that Python imports to `tests/reference/plenoptic_names.json`. Run it with 2.1.1,
and with each of 1.1.0, 1.2.0 and 1.4.0, unpacked from its wheel to a folder that `PYTHONPATH`
names. A name is public if no part of its path begins with an underscore. If an object has several
paths, the shortest counts.
"""

import importlib
import inspect
import json
import pathlib
import pkgutil
import types

import plenoptic


# Short names of packages of plenoptic 1.x, which its users write.
ROOMS = {"simulate": "simul", "synthesize": "synth"}
FILE = pathlib.Path(__file__).resolve().parents[1] / "tests/reference/plenoptic_names.json"


def modules():
    """All public modules, those with the shortest names first."""
    found = [plenoptic]
    for info in pkgutil.walk_packages(plenoptic.__path__, "plenoptic."):
        parts = info.name.split(".")
        if parts[-1] != "conftest" and not any(part.startswith("_") for part in parts):
            found.append(importlib.import_module(info.name))
    return found


def is_of_plenoptic(value):
    """Whether plenoptic defines a function or a class."""
    kinds = type | types.FunctionType
    return isinstance(value, kinds) and value.__module__.startswith("plenoptic")


def objects():
    """Each public function and class, by its shortest path."""
    shortest = {}
    for module in modules():
        room, *rest = module.__name__.split(".")[1:] or [""]
        room = ".".join([ROOMS.get(room, room), *rest])
        for name in dir(module):
            value = getattr(module, name, None)
            if name.startswith("_") or not is_of_plenoptic(value):
                continue
            path = f"{room}.{name}".lstrip(".")
            before = shortest.get(id(value), (path, value))[0]
            key = min((before.count("."), len(before), before), (path.count("."), len(path), path))
            shortest[id(value)] = key[2], value
    return dict(sorted(shortest.values(), key=lambda pair: pair[0]))


def arguments(function):
    """The names of the arguments of a function or a class; a warning has none of its own."""
    if isinstance(function, type) and issubclass(function, Warning):
        return []
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and parameter.name != "self"
    ]


def members(value):
    """The public methods and properties of a class that plenoptic defines, with arguments."""
    found = {}
    for name in dir(value):
        member = inspect.getattr_static(value, name)
        function = getattr(member, "__func__", member)
        if name.startswith("_"):
            continue
        if isinstance(member, property) and is_of_plenoptic(member.fget):
            found[name] = []
        elif is_of_plenoptic(function):
            found[name] = arguments(function)
    return found


def describe(value):
    """What is frozen of a function or a class."""
    entry = {"arguments": arguments(value)}
    if isinstance(value, type):
        entry["members"] = members(value)
    return entry


if __name__ == "__main__":
    frozen = json.loads(FILE.read_text()) if FILE.exists() else {}
    found = {name: describe(value) for name, value in objects().items()}
    frozen[plenoptic.__version__] = found
    versions = []
    for version, names in sorted(frozen.items()):
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(names[name])}" for name in names)
        versions.append(f"{json.dumps(version)}: {{\n{lines}\n}}")
    FILE.write_text("{\n" + ",\n".join(versions) + "\n}\n")
    print(f"{plenoptic.__version__}: {len(found)} names")
